"""docs/words.md: what a result file names is explained there, and every word it explains is in use. Networks are not
spoken of as persons, neither in the pages nor in --help."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import click
import pytest

from filterscope.cli import cli
from filterscope.pictures.picture import Scores, Status

HOME = Path(__file__).resolve().parents[1]
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|\n").split(" | ")]
    for line in (HOME / "docs" / "words.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| word |")
]
WORDS = [row[0] for row in ROWS]
WRITTEN = sorted(
    str(path.relative_to(HOME))
    for folder in ("start", "how-to")
    for path in (HOME / "docs" / folder).glob("*.md")
)
PLACES = ["README.md", "docs/design.md", "docs/atlas-format.md", "docs/benchmarks.md", *WRITTEN]
TEXT = "\n".join((HOME / place).read_text(encoding="utf-8") for place in PLACES).lower()


def test_scores_and_statuses_are_explained():
    """Everything that a report says of a picture."""
    names = {one.name.replace("_", " ") for one in fields(Scores)} | set(get_args(Status))
    assert names <= set(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_is_in_use(word):
    """A word that the other pages no longer have leaves this page too."""
    assert re.search(rf"\b{word}", TEXT), word


def test_rows_are_whole():
    """Each word once, with the literature's word and one sentence."""
    assert len(set(WORDS)) == len(WORDS)
    for row in ROWS:
        assert len(row) == 3, row
        assert row[1], row
        assert row[2].endswith("."), row


PERSONS = re.compile(
    r"\b(sees|saw|hears?|heard|feels?|listens? to|speaks?|tells?|told|asleep|sleeps|sleeping|wakes?|likes)\b"
)
PAGES = [*PLACES, "docs/words.md", "docs/networks.md", "CONTRIBUTING.md", "SECURITY.md"]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_plain(page):
    """Every page that a person reads first."""
    assert PERSONS.findall((HOME / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", ["", *cli.commands])
def test_help_is_plain(name):
    """Of the group and of each command."""
    command = cli.commands.get(name, cli)
    assert PERSONS.findall(command.get_help(click.Context(command, info_name=name))) == []
