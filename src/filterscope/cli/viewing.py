"""Commands for atlases and pairs of networks: view, compare."""

from __future__ import annotations

import json
from pathlib import Path

import click

from filterscope.cli.options import (
    Drawing,
    drawing_options,
    input_options,
    json_option,
    out_option,
    quiet_option,
    verbose_option,
)
from filterscope.errors import ArgumentError


@click.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all of them."
)
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port; 0 chooses a free one.",
)
@click.option("--token", help="Token that drawing requires [a random one if --host allows other machines].")
@verbose_option
@quiet_option
def view(folder: str, host: str, port: int, token: str | None, quiet: bool) -> None:
    """Serve an atlas and draw units on demand, until Ctrl-C.

    The pages also open without it, from DIR/index.html. The viewer adds drawing, with any recipe and a preview of each
    step. Drawing requires the token, unless the viewer listens on this machine only.

    \b
    filterscope view out/atlas
    """
    if token is not None and not (token.strip() and token.isprintable()):
        raise click.BadParameter("a token consists of visible characters", param_hint="--token")
    from filterscope.viewer import import_viewer

    def ready(url: str) -> None:
        if not quiet:
            click.echo(f"{folder} is at {url} (Ctrl-C ends)")
        elif port == 0 or ("?token=" in url and token is None):  # which nobody could guess
            click.echo(url, err=True)

    import_viewer().view(folder, host=host, port=port, token=token, on_ready=ready)


@click.command()
@click.argument("net_a")
@click.argument("net_b")
@click.argument("targets", metavar="[TARGET...]", nargs=-1)
@drawing_options(recipe="auto")
@click.option(
    "--weights", metavar="FILE", multiple=True,
    help="Weights of NET_B; given twice, of NET_A and NET_B. \"random\" leaves a network untrained.",
)  # fmt: skip
@click.option("--weights-a", metavar="FILE", help="Weights of NET_A.")
@click.option("--weights-b", metavar="FILE", help="Weights of NET_B.")
@input_options("net_a", "net_b", its="the input of both networks")
@click.option("--overwrite", is_flag=True, help="Replace the pages of another comparison in DIR.")
@click.option(
    "--map", "layer", metavar="LAYER",
    help="Instead draw the activation atlases of this layer of both, on one layout: the activations for --images.",
)  # fmt: skip
@click.option("--images", metavar="DIR", type=click.Path(path_type=Path), help="Folder of images, for --map.")
@click.option("--grid", metavar="N,...", default="15", show_default=True, help="Cells a side of the maps.")
@out_option
@json_option
@quiet_option
def compare(
    net_a: str,
    net_b: str,
    targets: tuple[str, ...],
    drawing: Drawing,
    weights: tuple[str, ...],
    weights_a: str | None,
    weights_b: str | None,
    overwrite: bool,
    layer: str | None,
    images: Path | None,
    grid: str,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw the same units of two networks, most changed first.

    The networks are two checkpoints of one network, or two networks that share layer names. Without TARGET, four units
    of every layer with weights that both have are drawn. --mean and the other input options apply to both networks; for
    one of them, write NET?mean=127.5&range=0,1.

    \b
    filterscope compare tiny-vgg16 tiny-vgg16 block5_conv3 --weights-b fine-tuned.safetensors

    With --map, two activation atlases are drawn on the layout of NET_A, as for `filterscope atlas --map`, and map.html shows
    both beside each other.

    \b
    filterscope compare tiny-vgg16 tiny-vgg16 --map block4_conv3 --images photographs --weights-b fine-tuned.safetensors
    """
    from filterscope.files import check_writable
    from filterscope.progress import progress_bar
    from filterscope.selection import Selection

    recipe = drawing.ask_recipe()
    for text in targets:
        Selection.parse(text)
    first, second = _both_weights(weights, weights_a, weights_b)
    if layer is not None or images is not None:
        if layer is None or images is None or targets:
            raise ArgumentError("a map takes --map LAYER and --images DIR, and no TARGET")
        nets = (net_a, first), (net_b, second)
        _compare_maps(
            nets, layer, images, grid, drawing, out, overwrite=overwrite, as_json=as_json, quiet=quiet
        )
        return
    check_writable(out)
    from filterscope.comparison.compare import check_out, planned_files
    from filterscope.comparison.compare import compare as compare_networks
    from filterscope.networks import open_network
    from filterscope.rerun import remember_weights

    check_out(out, overwrite=overwrite)
    networks = open_network(net_a, weights=first), open_network(net_b, weights=second)
    for network in networks:
        remember_weights(network)
    check_out(out, planned_files(*networks, targets, seed=drawing.seed), overwrite=overwrite)
    with progress_bar(False if quiet else None) as on_step:
        found = compare_networks(
            *networks, targets, recipe=recipe, seed=drawing.seed, precision=drawing.precision, device=drawing.device,
            on_step=on_step,
        )  # fmt: skip
    page = found.save(out, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(found.report(), indent=1))
    elif not quiet:
        for pair in found.pairs[:16]:
            change = "no gain in either" if pair.change is None else f"change {pair.change:.2f}"
            click.echo(f"{pair.name:28} {pair.a.class_name or '':16} {change}")
        click.echo(f"{len(found.pairs)} pairs in {out}: compare.png, report.json, {page.name}")


def _compare_maps(
    nets: tuple[tuple[str, str | None], ...], layer: str, images: Path, grid: str, drawing: Drawing, out: Path, *,
    overwrite: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    from filterscope.atlas.run.mapping import MapRequest
    from filterscope.atlas.run.request import AtlasRequest
    from filterscope.cli.atlas import print_map, read_grids, recipe_of_map
    from filterscope.comparison.maps import compare_maps
    from filterscope.networks import open_network

    grids, recipe = read_grids(grid), recipe_of_map(drawing)
    first, second = (open_network(net, weights=weights) for net, weights in nets)
    atlas = AtlasRequest(None, recipe, drawing.run, images=images, overwrite=overwrite)

    def on_message(line: str) -> None:
        if not quiet:
            click.echo(f"filterscope: {line}", err=True)

    shown = False if quiet else None
    found = compare_maps(
        first, second, out, MapRequest(layer, atlas, grids), progress=shown, on_message=on_message
    )
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif not quiet:
        print_map(found)


def _both_weights(
    both: tuple[str, ...], first: str | None, second: str | None
) -> tuple[str | None, str | None]:
    if both and (first or second):
        raise click.UsageError("give --weights, or --weights-a and --weights-b, not both kinds")
    if len(both) > 2:
        raise click.UsageError(
            f"--weights is given once (of NET_B) or twice (of both), not {len(both)} times"
        )
    return (first, second) if not both else (both[0] if len(both) == 2 else None, both[-1])
