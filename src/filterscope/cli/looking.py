"""Commands about networks and images: models, layers, kernels, classify, examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from filterscope.cli.options import (
    json_option,
    out_option,
    quiet_option,
    resize_option,
    verbose_option,
    weights_option,
)
from filterscope.cli.output import require_picture, save_and_report
from filterscope.sides import Size
from filterscope.table import aligned

if TYPE_CHECKING:
    from filterscope.networks.input_spec import InputSpec


@click.command()
@verbose_option
@json_option
@quiet_option
def models(as_json: bool, quiet: bool) -> None:
    """List the networks that open by name."""
    from filterscope.catalog import list_models

    rows = list_models().rows
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if quiet:
        return
    click.echo(
        aligned(
            ["name", "classes", "weights"], [[row[k] for k in ("name", "classes", "weights")] for row in rows]
        )
    )
    click.echo(
        "\nAlso torchvision:NAME and timm:NAME (downloaded by these libraries), FILE.keras, FILE.pt2 (torch.export),\n"
        "FILE.py:FACTORY (your own code, which is run; its checkpoint with --weights FILE), and in Python any Keras\n"
        "model or torch module."
    )


@click.command()
@click.argument("net")
@weights_option
@json_option
@quiet_option
def layers(net: str, weights: str | None, as_json: bool, quiet: bool) -> None:
    """List a network's layers.

    The columns are name, kind, output shape, units, parameters, receptive field in pixels, and whether it is trained.
    """
    from filterscope.commands.looking import list_layers
    from filterscope.networks import open_network

    network = open_network(net, weights=weights)
    rows = list_layers(network).rows
    if as_json:
        for row in rows:
            row |= {"input": _as_json(network.input)} if row["kind"] == "InputLayer" else {}
        click.echo(json.dumps(rows, indent=1))
        return
    if quiet:
        return
    click.echo(f"{network.name}: {network.input}")
    trained = {True: "yes", False: "random" if network.random else "no", None: "not known"}
    lines = [
        [
            row["name"],
            row["kind"],
            " x ".join(map(str, row["output_shape"])),
            f"{row['units']}",
            f"{row['parameters']:,}",
            f"{row['receptive_field'] or 'all'}",
            trained[row["trained"]] if row["parameters"] else "-",
        ]
        for row in rows
    ]
    head = ["layer", "kind", "output shape", "units", "parameters", "receptive field", "trained"]
    click.echo(aligned(head, lines))
    if tokens := list(dict.fromkeys(name.rpartition("@")[2] for name in network.tokens)):
        click.echo(f"\nTokens beside the picture's places: {', '.join(tokens)} (LAYER:UNIT@{tokens[0]})")


@click.command()
@click.argument("net")
@click.argument("layer")
@weights_option
@out_option
@json_option
@quiet_option
def kernels(net: str, layer: str, weights: str | None, out: Path, as_json: bool, quiet: bool) -> None:
    """Draw a convolution's weights.

    The first layer gives colour pictures, deeper layers grey slices. The whole layer has one scale, with 0 as mid-grey.
    LAYER draws all kernels of a first layer and 16 of a deeper one; LAYER:0-7 draws these eight.

    \b
    filterscope kernels tiny-vgg16 block1_conv1
    """
    from filterscope.report import check_folder
    from filterscope.selection import Selection

    Selection.parse(layer)
    check_folder(out)
    from filterscope.networks import open_network
    from filterscope.pictures.kernels import kernel_sheet, kernel_units

    network = open_network(net, weights=weights)
    name, units = kernel_units(network, layer)
    path = out / f"{name.replace('/', '.')}-kernels.png"
    shown = [f"kernel {network.weights.sha256} {name}:{unit}" for unit in units]
    row = {"kind": "kernels", "layer": name, "units": units}
    save_and_report(kernel_sheet(network, name, units), path, shown, row, quiet)
    if as_json:
        click.echo(json.dumps({"file": str(path), "layer": name, "units": units}))
    elif not quiet:
        click.echo(f"{len(units)} kernels of {name} in {path}")


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--net", required=True, metavar="NET", help="The network.")
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Number of classes to print.",
)
@resize_option
@weights_option
@json_option
@quiet_option
def classify(
    images: tuple[str, ...],
    net: str,
    top: int,
    size: Size | None,
    weights: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print the most probable classes of pictures.

    A photograph is resized and cropped to the network's size. A picture drawn by filterscope keeps its size if the
    network accepts any.

    \b
    filterscope classify out/predictions-0000.png --net tiny-vgg16 --top 5
    """
    for image in images:
        require_picture(Path(image))
    from filterscope.measure.classify import classify as ask
    from filterscope.networks import open_network

    answers = ask(open_network(net, weights=weights), images, top=top, size=size)
    if as_json:
        rows = [
            {
                "file": image,
                "classes": [{"class": g.unit, "name": g.name, "probability": g.probability} for g in guesses],
            }
            for image, guesses in zip(images, answers, strict=True)
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    for image, guesses in () if quiet else zip(images, answers, strict=True):
        click.echo(image)
        for guess in guesses:
            click.echo(f"  {guess.probability:7.2%}  {guess.name}")


def _as_json(spec: InputSpec) -> dict[str, object]:
    return {
        "size": spec.size,
        "fixed": spec.fixed,
        "channels": spec.channels,
        "range": [spec.low, spec.high],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "bgr": spec.bgr,
    }
