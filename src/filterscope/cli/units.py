"""Commands about units and photographs: examples, label."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from filterscope.cli.options import (
    Drawing,
    drawing_options,
    json_option,
    quiet_option,
    resize_option,
    weights_option,
)
from filterscope.cli.output import save_and_report
from filterscope.sides import Size

if TYPE_CHECKING:
    from PIL import Image

    from filterscope.api import Asked
    from filterscope.networks import Network
    from filterscope.target import Target

SHOWN = 20  # labels that are printed; the file has all

images_option = click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of pictures, with its subfolders.",
)


@click.command()
@click.argument("net")
@click.argument("layer", metavar="LAYER...", nargs=-1, required=True)
@images_option
@resize_option
@click.option("--fresh", is_flag=True, help="Compute again even if the cache has the result.")
@click.option(
    "--by-class", is_flag=True,
    help="Also the classes that excite each unit most, with the best pictures of each; DIR's subfolders are the classes.",
)  # fmt: skip
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder for a sheet: each unit's drawn picture and its best photographs, cropped to where the unit responds.",
)
@click.option(
    "--count", metavar="N", type=click.IntRange(1, 40), default=9, show_default=True,
    help="Photographs of each unit on the sheet.",
)  # fmt: skip
@drawing_options(recipe="auto", sized=False)
@weights_option
@json_option
@quiet_option
def examples(
    net: str, layer: tuple[str, ...], images: Path, size: Size | None, fresh: bool, by_class: bool, out: Path | None,
    count: int, drawing: Drawing, weights: str | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Find the pictures in a folder that excite each unit most.

    Prints each unit's mean, 99th percentile and largest activation, and its best picture; --json has its forty best, its
    selectivity and its sparsity. The result is cached by the weights' hash. From then on `show` reports excitations: a
    picture's activation over the largest found here. (tiny-vgg16 keeps the values that ship with it.) Files that are no
    pictures are skipped, with a line for each.

    The sheet of --out shows photographs cropped to the unit's effective receptive field (Luo et al. 2016: where the gradient
    of the unit's largest value is considerable), dark outside of it, and before them the picture that is drawn of the unit;
    --recipe and the options behind it say how.

    LAYER is a layer, or '*' for all. LAYER:3,7 prints these units only.

    \b
    filterscope examples tiny-vgg16 block3_conv1 --images photographs
    filterscope examples tiny-vgg16 block5_conv3:3,7 --images photographs --out out
    filterscope examples tiny-vgg16 predictions:lion --images photographs --by-class --out out
    """
    from filterscope.report import check_folder

    if out is not None:
        check_folder(out)
    recipe = drawing.ask_recipe()
    from filterscope.commands.examples import example_rows
    from filterscope.measure.examples import example_sheet, find_examples, require_folders, unit_rows
    from filterscope.networks import open_network

    network = open_network(net, weights=weights)
    found = find_examples(
        network, layer, images, size=size, fresh=fresh, shown=False if quiet else None,
        on_skip=lambda path, why: click.echo(f"left out: {why}", err=True),
    )  # fmt: skip
    if by_class:
        require_folders(next(iter(found.values())))
    targets = [t for text in layer if text != "*" for t in network.targets(text)]
    if out is not None:
        from filterscope.api import Asked

        for name in dict.fromkeys(t.layer for t in targets):
            own = [t for t in targets if t.layer == name]
            asked = Asked(network, [*own], recipe, drawing.run, False if quiet else None, None)
            sheet = example_sheet(
                network, found[name], [t.unit for t in own], images, pictures=_drawn(asked, own), size=size, count=count,
                by_class=by_class,
            )  # fmt: skip
            _save(network, found[name].digest, own, sheet, out, quiet)
    rows = {name: unit_rows(own, by_class=by_class) for name, own in found.items()}
    if as_json:
        click.echo(json.dumps(example_rows(network, layer, rows), indent=1))
    elif not quiet:
        for target in targets:
            row = rows[target.layer][target.unit]
            numbers = f"mean {row['mean']:.4g}  p99 {row['p99']:.4g}  best {row['best']:.4g}"
            click.echo(f"{target!s:24} {numbers}  {row['top'][0] if row['top'] else 'no picture excites it'}")
            for one in row.get("classes", ()):
                click.echo(f"    {one['class']:20} mean {one['mean']:.4g}  {one['top'][0]}")
        total = sum(len(f.best) for f in found.values())
        click.echo(
            f"{total} units of {len(found)} layers over {len(next(iter(found.values())).images)} pictures"
        )


def _drawn(asked: Asked, targets: Sequence[Target]) -> dict[int, Image.Image]:
    """The picture of each unit, of several facets the first."""
    drawn = [picture for picture in asked.pictures() if not picture.facet]
    return {target.unit: picture.to_pil() for target, picture in zip(targets, drawn, strict=True)}


def _save(
    network: Network, images: str, targets: Sequence[Target], sheet: Image.Image, out: Path, quiet: bool
) -> None:
    """Write a layer's sheet, and its row in the report."""
    name, units = targets[0].layer, [t.unit for t in targets]
    path = out / f"{name.replace('/', '.')}-examples.png"
    shown = [f"examples {network.weights.sha256} {images} {name}:{unit}" for unit in units]
    save_and_report(sheet, path, shown, {"kind": "examples", "layer": name, "units": units}, quiet)


@click.command()
@click.argument("net")
@click.argument("layer", metavar="LAYER...", nargs=-1, required=True)
@images_option
@click.option(
    "--vocabulary",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Text file with a word or phrase on each line.",
)
@click.option(
    "--encoder",
    required=True,
    metavar="NAME",
    help="NAME or NAME:PRETRAINED of open_clip (extra: clip), or FILE.py:FACTORY, which is run.",
)
@resize_option
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV file to write [descriptions.csv].",
)
@weights_option
@json_option
@quiet_option
def label(
    net: str, layer: tuple[str, ...], images: Path, vocabulary: Path, encoder: str, size: Size | None, out: Path | None,
    weights: str | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Find the word of a vocabulary that fits each unit best.

    A word fits a unit if an encoder of images and words, CLIP say, gives it to the photographs that excite the unit
    most, and not to others: soft-WPMI, as Oikarinen and Weng 2023 publish it (CLIP-Dissect). A thousand photographs
    or more are best. The CSV file has the columns layer, unit, description and similarity; `filterscope atlas NET
    --labels FILE` puts its words beside the units' pictures.

    LAYER is a layer, or '*' for all. LAYER:3,7 labels these units only.

    \b
    filterscope label tiny-vgg16 block5_conv3 --images photographs --vocabulary words.txt --encoder ViT-B-32:openai
    filterscope label tiny-vgg16 '*' --images photographs --vocabulary words.txt --encoder own.py:make_encoder
    """
    from filterscope.files import check_writable
    from filterscope.measure.labels import read_vocabulary

    read_vocabulary(vocabulary)
    out = out or Path("descriptions.csv")
    check_writable(out.parent)
    from filterscope.measure.dissect import label_units
    from filterscope.networks import open_network

    network = open_network(net, weights=weights)
    found = label_units(
        network, layer, images, vocabulary, encoder, size=size, out=out, progress=False if quiet else None
    )
    if as_json:
        click.echo(json.dumps(found.rows, indent=1))
    elif not quiet:
        for row in found.rows[:SHOWN]:
            click.echo(f"{row['layer']}:{row['unit']:<6} {row['description']:24} {row['similarity']:.4g}")
        rest = len(found) - SHOWN
        click.echo(f"{f'... and {rest} more: ' if rest > 0 else ''}{len(found)} units in {out}")
