"""`filterscope explain`: from a photograph to the channels that led a network to its answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from filterscope.cli.options import (
    Drawing,
    drawing_options,
    json_option,
    out_option,
    quiet_option,
    weights_option,
)
from filterscope.cli.output import ready, require_picture

if TYPE_CHECKING:
    from filterscope.explanation import Explanation


@click.command()
@click.argument("net")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("target", required=False)
@click.option(
    "--layers", metavar="LAYER,...",
    help="Layers to look at [three: the last of each of the three smallest map sizes before TARGET].",
)  # fmt: skip
@click.option(
    "--against", metavar="TARGET2",
    help="Explain how far TARGET is above TARGET2, the difference of their logits.",
)  # fmt: skip
@click.option(
    "--count", metavar="K", type=click.IntRange(1, 1000), default=4, show_default=True,
    help="Channels per layer that raise TARGET most; half as many that lower it are added.",
)  # fmt: skip
@click.option(
    "--integrate", metavar="N", type=click.IntRange(2, 1024),
    help="Take the mean gradient over N steps from the layer at 0 to its activations (integrated gradients).",
)  # fmt: skip
@click.option(
    "--groups", metavar="N", type=click.IntRange(1, 64),
    help="Also N groups of channels that are active together (extra: concepts).",
)  # fmt: skip
@click.option(
    "--atlas", metavar="DIR",
    help="Atlas of NET whose pictures and examples are taken; what it lacks is drawn.",
)  # fmt: skip
@click.option(
    "--pictures/--no-pictures", default=True, help="Draw what excites each channel, or leave that out."
)
@drawing_options(
    recipe="auto",
    recipes="auto (robust or sharp, as suits the unit, in 32 steps unless --steps is given), or one of `show`.",
)
@weights_option
@out_option
@json_option
@quiet_option
def explain(
    net: str, image: Path, target: str | None, layers: str | None, against: str | None, count: int,
    integrate: int | None, groups: int | None, atlas: str | None, pictures: bool, drawing: Drawing,
    weights: str | None, out: Path, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Show what in a photograph led a network to its answer, and through which channels.

    TARGET is a class by name, LAYER:UNIT or another target; without it the most probable class. For each layer the channels
    that raised its logit most, and those that lowered it, are listed by the sum over space of activation times gradient
    (Olah et al. 2018), each with a picture of what excites it, where in the photograph it is active and relevant, and the
    photographs that excite it most if `filterscope examples` has looked them up. A curve checks that the logit falls faster
    without these channels than without others.

    The result is one page that opens in a browser, a sheet and report.json.

    \b
    filterscope explain tiny-vgg16 photo.jpg
    filterscope explain efficientnet-lite0 photo.jpg tench --against goldfish --count 3
    filterscope explain tiny-vgg16 photo.jpg --layers block4_conv3,block5_conv3 --groups 4 --integrate 32
    filterscope explain tiny-vgg16 photo.jpg --atlas atlas --json
    """
    require_picture(image)
    from filterscope.pictures.reading import read_photograph

    photograph = read_photograph(image)
    for note in () if quiet else photograph.notes:
        click.echo(f"filterscope: {note}", err=True)
    network = ready(net, weights, out)
    from filterscope.explanation import explain as find
    from filterscope.recipe import parse_settings

    options: dict[str, Any] = {
        "recipe": drawing.recipe, "steps": drawing.steps, "size": drawing.size, "seed": drawing.seed,
        "precision": drawing.precision, "device": drawing.device, "settings": parse_settings(drawing.settings),
        "progress": False if quiet else None,
    }  # fmt: skip
    found = find(
        network, photograph, target, layers=layers, against=against, count=count, integrate=integrate, groups=groups,
        atlas=atlas, pictures=pictures, **options,
    )  # fmt: skip
    page = found.save(out)
    if as_json:
        click.echo(json.dumps(found.report(saved=True), indent=1))
    elif not quiet:
        _print_found(found)
        click.echo(f"written to {page}")


def _print_found(found: Explanation) -> None:
    """A line for the answer, and one for each layer's check and channel."""
    from filterscope.explanation.words import amount, plain, share_text

    click.echo(f"{found.title}: {amount(found)}")
    for layer in found.layers:
        click.echo(f"{layer.layer} (area over random {layer.check.area:.2f})")
        for channel in layer.channels:
            raises = max(channel.votes, key=lambda name: channel.votes[name], default="")
            most = raises and raises not in found.names and channel.votes[raises] > 0
            more = f"  raises {raises} most" if most else ""
            click.echo(f"  {channel.unit:>5}  {plain(share_text(channel.share)):>8}{more}")
