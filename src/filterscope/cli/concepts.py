"""The command that finds concepts of a layer in images: concepts."""

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
from filterscope.cli.output import Output, ready, say_kept


@click.command()
@click.argument("net")
@click.argument("layer")
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of pictures; its subfolders are the classes, if it has two or more.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    default=25,
    show_default=True,
    help="How many concepts.",
)
@click.option(
    "--crop",
    type=click.FloatRange(0.05, 1),
    metavar="SHARE",
    default=0.3,
    show_default=True,
    help="Side of a crop, as a share of the picture's shorter side.",
)
@click.option(
    "--importance",
    type=click.Choice(["sobol", "gradient", "none"]),
    default="sobol",
    show_default=True,
    help="How a class's dependence on each concept is measured: Sobol's total indices, or gradient times concept.",
)
@drawing_options(recipe="auto")
@weights_option
@out_option
@json_option
@quiet_option
def concepts(
    net: str, layer: str, images: Path, count: int, crop: float, importance: str, drawing: Drawing, weights: str | None,
    out: Path, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Find concepts of a layer in images, and draw them.

    The layer's values for crops of the images are taken apart into directions and weights that are not negative (CRAFT,
    Fel et al. 2023; extra: concepts). Writes LAYER.concepts.safetensors, which `concept(LAYER, FILE, 17)` and
    `atlas --concepts FILE` read, a picture of each concept, concepts.png with the crops in which each weighs most, a page,
    and report.json with each one's importance for the classes.

    \b
    filterscope concepts tiny-vgg16 block4_conv3 --images photographs --count 10
    filterscope concepts efficientnet-lite0 blocks.6.0.bn2.act --images photographs --importance gradient
    filterscope show tiny-vgg16 "concept(*, out/block4_conv3.concepts.safetensors, 3)"
    """
    from filterscope.factorization.finding import Request, find
    from filterscope.files import check_writable

    request = Request(count, crop, importance, drawing.seed)  # type: ignore[arg-type]
    recipe = drawing.ask_recipe()
    check_writable(out)
    network = ready(net, weights, out)
    from filterscope.drawing.choice import count_pictures
    from filterscope.factorization.concepts import FoundConcepts
    from filterscope.rerun import remember_concepts

    found = find(
        network, layer, images, request, shown=False if quiet else None,
        on_skip=lambda path, why: click.echo(f"left out: {why}", err=True),
    )  # fmt: skip
    goals = found.goals(found.write(out))
    remember_concepts(goals)
    output = Output(out, of=count_pictures(network, goals, recipe), quiet=quiet)
    from filterscope.cli.options import Film

    with output:
        output.draw(
            network, [*goals], recipe, drawing.run, lambda picture: picture.stem, film=Film(0, "webp", 12.0)
        )
    drawn = FoundConcepts(found, output.pictures)
    page = drawn.finish(out, on_moved=lambda moved: say_kept(moved, quiet))
    if as_json:
        click.echo(json.dumps(drawn.report(), indent=1))
    elif not quiet:
        for number, name in enumerate(found.names):
            click.echo(f"{number:4} {name:24} {found.factors.share[number]:6.1%} of what is explained")
        if found.why_not and importance != "none":
            click.echo(f"no importance: {found.why_not}")
        click.echo(
            f"{found.count} concepts in {out}: {found.file_name}, concepts.png, report.json, {page.name}"
        )
