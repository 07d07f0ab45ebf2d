"""The command that draws a whole network: atlas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from filterscope.cli.options import (
    Drawing,
    alpha_option,
    drawing_options,
    json_option,
    quiet_option,
    weights_option,
)
from filterscope.errors import ArgumentError, WorkError

if TYPE_CHECKING:
    from filterscope.concept import How
    from filterscope.recipe import Recipe

SHOWN = 20  # units that are not ok, printed at the end; the report has all


@click.command()
@click.argument("net")
@click.option(
    "--out",
    metavar="DIR",
    default="atlas",
    show_default=True,
    help="Folder or fsspec address: s3://bucket/atlas, gs://..., memory://...",
)
@click.option("--layers", metavar="L,...", help="Layers to draw [all with units worth a picture].")
@click.option(
    "--images",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of natural images, with its subfolders, for excitations and each unit's best forty.",
)
@click.option(
    "--concepts",
    metavar="FILE",
    help="Draw the concepts of this file or folder, at each layer of --layers [at the layer that it names].",
)
@click.option(
    "--how",
    type=click.Choice(["dot", "cosine", "latent"]),
    default="dot",
    show_default=True,
    help="With --concepts: by the product with each direction, the cosine to it, or an autoencoder's latent.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Folder for this network in DIR: letters, digits, . _ + - [the network's name].",
)
@click.option("--retry", is_flag=True, help="Draw failed and dead units again; dead ones from other noise.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Draw everything again if the existing atlas was drawn differently, instead of refusing.",
)
@click.option(
    "--on", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where to draw."
)
@click.option("--address", metavar="ADDRESS", help="Address of a Ray cluster [a new one on this machine].")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Number of Ray workers [as many as fit]."
)
@click.option(
    "--judge",
    metavar="NET",
    help="Another network, by whose features each picture's legibility is measured on --images.",
)
@click.option("--judge-weights", metavar="FILE", help="Weights of the judge, as --weights for NET.")
@click.option(
    "--encoder",
    metavar="NAME",
    help="Encoder by which the clarity of each unit's examples is measured, as for `filterscope label` [the judge].",
)
@click.option(
    "--labels",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV file of units' labels (layer, unit, description, similarity), as `filterscope label` and CLIP-Dissect write.",
)
@click.option(
    "--map",
    "layer",
    metavar="LAYER",
    help="Instead draw an activation atlas of this layer: the activations for --images as a map.",
)
@click.option(
    "--grid",
    metavar="N,...",
    default="15",
    show_default=True,
    help="Cells a side of the map; several are its levels of detail, as 10,20,40.",
)
@alpha_option
@drawing_options(recipe="auto")
@weights_option
@json_option
@quiet_option
def atlas(
    net: str, out: str, layers: str | None, images: Path | None, concepts: str | None, how: How, name: str | None,
    retry: bool, overwrite: bool,
    on: str, address: str | None, workers: int | None, alpha: bool, judge: str | None,
    judge_weights: str | None, encoder: str | None, labels: Path | None, layer: str | None, grid: str,
    drawing: Drawing, weights: str | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Draw every unit of every layer, as pages for a browser.

    Each layer is drawn with the recipe that suits it, unless --recipe names one for all. An estimate of the time comes
    first: robust takes several times as long as sharp. The same command resumes a run that was interrupted. If recipe,
    seed, precision, weights or images differ from those of the existing atlas, it lists the differences and changes
    nothing.

    With --labels and no other option but --out, --name and --weights, labels are added to the pictures that are there, and
    nothing is drawn.

    \b
    filterscope atlas tiny-vgg16 --out out/atlas --layers block1_conv1,block1_conv2
    filterscope atlas tiny-vgg16 --out out/atlas --labels descriptions.csv
    filterscope atlas tiny-vgg16 --concepts nmf.npy --layers block4_conv3
    filterscope atlas vgg16 --out s3://bucket/vgg16 --images photographs --on ray --address auto

    With --map, one place of each image is laid out by its activations (UMAP, extra umap; else t-SNE, extra concepts), and
    each cell of the grid with 6 activations or more is drawn from their mean, by `natural` unless another recipe is named:
    an activation atlas (Carter et al. 2019), as a page that pans and zooms.

    \b
    filterscope atlas tiny-vgg16 --map block4_conv3 --images photographs --grid 8,16 --out out/map
    """
    if judge_weights is not None and judge is None:
        raise click.UsageError("--judge-weights needs --judge NET")
    given = click.get_current_context().get_parameter_source
    if layer is None and given("grid") is ParameterSource.COMMANDLINE:
        raise ArgumentError("--grid is of a map: name its layer with --map LAYER")
    grids = read_grids(grid)
    recipe = drawing.ask_recipe() if layer is None else recipe_of_map(drawing)
    names = None if layers is None else [part.strip() for part in layers.split(",") if part.strip()]
    if names == []:
        raise ArgumentError("--layers names no layer")
    if on != "ray" and (address is not None or workers is not None):
        raise ArgumentError("--address and --workers are for --on ray")
    from filterscope.atlas.plan import check_name
    from filterscope.atlas.storage.store import open_store

    if name is not None:
        check_name(name)
    store = open_store(out)
    from filterscope.atlas.run.request import AtlasRequest
    from filterscope.atlas.run.run import make_atlas
    from filterscope.networks import open_network

    def on_message(line: str) -> None:
        if not quiet:
            click.echo(f"filterscope: {line}", err=True)

    request = AtlasRequest(
        names, recipe, drawing.run, weights=weights, images=images, name=name,
        retry=retry, overwrite=overwrite, on=on, address=address, workers=workers, alpha=alpha,
        judge=None if judge is None else open_network(judge, weights=judge_weights), encoder=encoder, labels=labels,
        concepts=concepts, how=how,
    )  # fmt: skip
    shown = False if quiet else None
    if layer is None:
        summary = make_atlas(net, store, request, progress=shown, on_message=on_message)
    else:
        from filterscope.atlas.run.mapping import MapRequest, make_map

        summary = make_map(
            net, store, MapRequest(layer, request, grids), progress=shown, on_message=on_message
        )
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    elif not quiet:
        (_tell if layer is None else print_map)(summary)
    if summary["failed"]:
        raise WorkError(f"{summary['failed']} units failed; the same command with --retry draws them again")


def read_grids(text: str) -> tuple[int, ...]:
    """The cells a side that --grid names; ArgumentError for anything but whole numbers."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise ArgumentError(f"--grid is a number of cells a side, or several as 10,20,40 (got {text!r})")
    return tuple(int(part) for part in parts)


def recipe_of_map(drawing: Drawing) -> Recipe:
    """The recipe of a map's cells: the one that was named on the command line, else the map's own."""
    from filterscope.atlas.run.mapping import map_recipe
    from filterscope.recipe import parse_settings

    named = click.get_current_context().get_parameter_source("recipe") is ParameterSource.COMMANDLINE
    settings = parse_settings(drawing.settings)
    return map_recipe(
        drawing.recipe if named else None, steps=drawing.steps, size=drawing.size, settings=settings
    )


def print_map(summary: dict[str, Any]) -> None:
    """Say what came of a map."""
    counts = ", ".join(f"{summary[key]} {key}" for key in ("ok", "no-gain", "dead", "failed") if summary[key])
    cells = ", ".join(f"{count} of {grid} x {grid}" for grid, count in summary["cells"].items())
    click.echo(
        f"{summary['images']} images laid out by {summary['layout']}; cells: {cells}; "
        f"{summary['pictures']} pictures ({summary['drawn']} of them drawn now): {counts}"
    )
    click.echo(summary["page"])


def _tell(summary: dict[str, Any]) -> None:
    worst = sorted(summary["not_ok"], key=lambda row: ("failed", "dead", "no-gain").index(row["status"]))
    for row in worst[:SHOWN]:
        click.echo(f"{row['target']:24} {row['class_name'] or '':16} {row['status']:8} {row['reason']}")
    rest = len(worst) - SHOWN
    if rest > 0:
        click.echo(f"... and {rest} more in report.json")
    counts = ", ".join(f"{summary[key]} {key}" for key in ("ok", "no-gain", "dead", "failed") if summary[key])
    click.echo(
        f"{summary['pictures']} pictures in {summary['out']} ({summary['drawn']} of them drawn now): {counts}"
    )
