"""The one error of the training commands."""

import click


class TrainingError(click.ClickException):
    """What a person can put right: shown as one line, exit status 1."""
