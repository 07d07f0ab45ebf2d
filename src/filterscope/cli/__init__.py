"""The command line. Nothing here imports torch or Keras before a command needs them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from filterscope._version import __version__
from filterscope.cli.atlas import atlas
from filterscope.cli.concepts import concepts
from filterscope.cli.drawing import demo, ladder, rerun, show
from filterscope.cli.explaining import explain
from filterscope.cli.failures import exit_status, print_whatever
from filterscope.cli.looking import classify, kernels, layers, models
from filterscope.cli.photographs import accentuate, caricature, dream, invert, locate
from filterscope.cli.units import examples, label
from filterscope.cli.viewing import compare, view
from filterscope.cli.wires import wires
from filterscope.cli.wording import log_in_flags
from filterscope.openmp import shorten_spinning


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: filterscope show tiny-vgg16 block3_conv1",
)
@click.version_option(__version__, prog_name="filterscope")
def cli() -> None:
    """Draw what the units of a trained image network respond to.

    For any unit (a filter, a neuron, a class) filterscope computes, by gradient ascent, an image
    that maximises its activation.

    NET is a network. tiny-vgg16 ships with the package; `filterscope models` lists the others.

    TARGET is LAYER (16 units), LAYER:3,7,0-15, LAYER:* (all), LAYER:goldfish (a class) or
    LAYER:30@14,14 (one neuron by row and column, drawn without jitter, padding, zoom, rotation
    and crops).
    """


for command in (
    models, layers, show, ladder, dream, invert, caricature, accentuate, locate, explain, kernels, wires, classify, examples,
    label, concepts, atlas, view, compare, rerun, demo,
):  # fmt: skip
    cli.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 the work failed, 2 wrong arguments, 130 interrupted.

    Whatever goes wrong is said in one line, where it came from under --verbose alone.
    """
    shorten_spinning()
    print_whatever()
    args = None if argv is None else list(argv)
    with log_in_flags():
        return exit_status(lambda: cli.main(args=args, prog_name="filterscope", standalone_mode=False))
