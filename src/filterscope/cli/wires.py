"""The command that follows a unit's weights: wires."""

from __future__ import annotations

import json
from pathlib import Path

import click

from filterscope.cli.options import (
    Drawing,
    drawing_options,
    json_option,
    out_option,
    quiet_option,
    weights_option,
)
from filterscope.cli.output import ready


@click.command()
@click.argument("net")
@click.argument("target")
@click.option(
    "--count",
    type=click.IntRange(1, 64),
    metavar="N",
    default=8,
    show_default=True,
    help="How many units that excite it, and how many that inhibit it.",
)
@drawing_options(recipe="auto")
@weights_option
@out_option
@json_option
@quiet_option
def wires(
    net: str, target: str, count: int, drawing: Drawing, weights: str | None, out: Path, as_json: bool, quiet: bool
) -> None:  # fmt: skip
    """Find which units of the layer before feed a unit.

    TARGET is one unit, LAYER:UNIT. Its expanded weights are the product of all kernels between the activations of the
    layer before and its own (batch norms and shortcuts included, a pool of the largest value as a mean): Voss et al. 2021,
    "Visualizing Weights". A unit's strength is the L2 norm of its kernel; it excites if the kernel's sum is above 0, else it
    inhibits. The strongest of both are drawn, with their kernels, as a sheet and a page.

    \b
    filterscope wires tiny-vgg16 block4_conv2:7
    filterscope wires efficientnet-lite0 blocks.3.1.bn2.act:12 --count 4 --out out/wires
    """
    from filterscope.expression import parse

    recipe, selection = drawing.ask_recipe(), parse(target)
    network = ready(net, weights, out)
    from filterscope.api import Asked
    from filterscope.wires.wires import trace_wires

    goals = network.objectives(selection, seed=drawing.seed)
    asked = Asked(network, goals, recipe, drawing.run, False if quiet else None, None)
    found = trace_wires(asked, count)
    page = found.save(out)
    if as_json:
        click.echo(json.dumps(found.report(), indent=1))
    elif not quiet:
        for wire in found.rows:
            name = wire.picture.class_name if wire.picture else None
            click.echo(
                f"{wire.target!s:24} {name or '':16} {wire.sign}{wire.strength:.4g}  sum {wire.sum:.4g}"
            )
        click.echo(f"{len(found.rows) + 1} pictures in {out}: wires.png, report.json, {page.name}")
