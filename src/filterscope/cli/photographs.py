"""Commands that start from a photograph: dream, invert, caricature, accentuate, locate."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from filterscope.cli.options import (
    Drawing,
    Finite,
    device_option,
    drawing_options,
    format_option,
    fps_option,
    frames_option,
    json_option,
    out_option,
    output_options,
    quiet_option,
    read_film,
    weights_option,
)
from filterscope.cli.output import Output, ready, require_picture

if TYPE_CHECKING:
    from PIL import Image

    from filterscope.pictures import Picture
    from filterscope.pictures.reading import Photograph

PATH = click.Path(path_type=Path)
image_argument = click.argument("image", type=PATH)


@click.command()
@click.argument("net")
@image_argument
@click.option(
    "--layers", metavar="L[=WEIGHT],...", help="Layers whose activations to increase [the recipe's own]."
)
@click.option("--target", metavar="TARGET", help="A unit, class or sum to draw for, instead of layers.")
@click.option(
    "--guide", type=PATH, metavar="IMAGE", help="A second picture whose features the dream increases."
)
@drawing_options(recipe="dream", recipes="dream, dreamy or bad-trip.")
@click.option(
    "--octaves",
    type=click.IntRange(1, 20),
    metavar="N",
    help="Number of sizes, each 1.4 times the previous one [the recipe's own].",
)
@click.option(
    "--strength",
    type=Finite(min=0, min_open=True),
    help="Change of the pixel values per step [the recipe's own].",
)
@frames_option
@click.option(
    "--zoom",
    is_flag=True,
    help="Animate an endless zoom into the dream, of 60 frames without --frames.",
)
@click.option(
    "--zoom-factor",
    type=Finite(1, 2, min_open=True),
    default=1.04,
    show_default=True,
    help="Magnification per frame of --zoom.",
)
@format_option
@fps_option
@weights_option
@out_option
@json_option
@quiet_option
def dream(
    net: str, image: Path, layers: str | None, target: str | None, guide: Path | None, drawing: Drawing,
    octaves: int | None, strength: float | None, frames: int | None, zoom: bool, zoom_factor: float, film: str,
    fps: float, weights: str | None, out: Path, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Deep Dream: increase a network's activations on a photograph.

    The result has the photograph's size and aspect ratio. --size sets its longer side.

    \b
    filterscope dream tiny-vgg16 photo.jpg
    filterscope dream tiny-vgg16 photo.jpg --layers block3_conv3,block4_conv2=0.5 --octaves 5
    filterscope dream tiny-vgg16 photo.jpg --target predictions:monarch --frames 24
    filterscope dream tiny-vgg16 photo.jpg --recipe dreamy --zoom --frames 60 --format mp4
    """
    if (target is not None) and (layers is not None or guide is not None):
        raise click.UsageError(
            "--target stands alone: a dream is of layers (with --guide or without) or of a target"
        )
    from filterscope.photographs.dreaming import dream_goal, dream_recipe
    from filterscope.recipe import parse_settings

    recipe = dream_recipe(
        drawing.recipe or "dream", steps=drawing.steps, octaves=octaves, strength=strength, size=drawing.size,
        settings=parse_settings(drawing.settings),
    )  # fmt: skip
    count = frames or (60 if zoom else 0)
    animation = read_film(film, count, fps)
    photographs = _photographs(image, guide, quiet=quiet)
    network = ready(net, weights, out)
    goal = dream_goal(network, layers=layers, target=target, guided=guide is not None, recipe=recipe.name)
    with Output(out, of=1, quiet=quiet) as output:
        output.draw(
            network, [goal], recipe, drawing.run, lambda p: f"{photographs['image'].name}-dream-{_words(p)}",
            film=replace(animation, frames=0) if zoom else animation, photographs=photographs,
        )  # fmt: skip
        if zoom:
            from filterscope.photographs.zoom import zoom as zooming

            (picture,) = output.pictures
            zoomed = zooming(
                network, goal, picture.recipe, photographs, picture,
                frames=count, factor=zoom_factor, run=drawing.run,
            )  # fmt: skip
            path = out / f"{Path(output.files[0]).stem}-zoom.{animation.kind}"
            output.add_film(_film(zoomed, count, path, fps, quiet))
    _print_results(output, as_json=as_json)


def _film(frames: Iterable[Image.Image], count: int, path: Path, fps: float, quiet: bool) -> Path:
    """Save frames as they are drawn, under a bar."""
    from tqdm.auto import tqdm

    from filterscope.pictures.animation import save_animation

    shown = list(tqdm(frames, total=count, unit="frame", disable=True if quiet else None, leave=False))
    return save_animation(shown, path, fps=fps, hold=0)


def _likeness(name: str, summary: str, example: str) -> click.Command:
    """`invert` and `caricature`: pictures, from noise, with the photograph's activations."""

    @click.command(name, help=f"{summary}\n\n\b\n{example}")
    @click.argument("net")
    @image_argument
    @click.argument("layers", metavar="LAYER...", nargs=-1, required=True)
    @drawing_options(recipe=name, recipes=f"{name}, or one of `show`.")
    @output_options
    def command(
        net: str, image: Path, layers: tuple[str, ...], drawing: Drawing, frames: int | None, film: str, fps: float,
        weights: str | None, out: Path, as_json: bool, quiet: bool,
    ) -> None:  # fmt: skip
        from filterscope.photographs.likeness import likeness_goals
        from filterscope.photographs.presets import named_recipe
        from filterscope.recipe import get_recipe, parse_settings

        recipe = get_recipe(
            named_recipe(drawing.recipe or name), steps=drawing.steps, size=drawing.size,
            settings=parse_settings(drawing.settings),
        )  # fmt: skip
        animation = read_film(film, frames, fps)
        photographs = _photographs(image, None, quiet=quiet)
        network = ready(net, weights, out)
        goals = likeness_goals(network, name, [n for text in layers for n in text.split(",")])
        with Output(out, of=len(goals), quiet=quiet) as output:
            output.draw(
                network, goals, recipe, drawing.run, lambda p: f"{photographs['image'].name}-{name}-{_words(p)}",
                film=animation, photographs=photographs,
            )  # fmt: skip
        if len(goals) > 1:
            from filterscope.pictures.sheet import Tile, compose

            tiles = [Tile(photographs["image"].image, "photograph")]
            tiles += [Tile(p.to_pil(), p.target.layers[0], _caption(p)) for p in output.pictures]
            output.sheet("sheet.png", lambda: compose(tiles))
        _print_results(output, as_json=as_json)

    return command


def _caption(picture: Picture) -> str:
    if _is_match(picture):
        return f"error {-picture.scores.activation:.3f}"
    return f"{picture.scores.activation:.3g}"


def _is_match(picture: Picture) -> bool:
    """Whether it is an inversion: of its squared error the activation is the negative."""
    from filterscope.objective import Likeness

    return isinstance(picture.target, Likeness) and picture.target.how == "match"


invert = _likeness(
    "invert",
    "Draw what a layer preserves of a photograph.\n\n"
    "The image starts from noise and gets the photograph's activations at that layer. Several layers give a sheet with "
    "the photograph first. The error under each is the squared distance of the two activations, divided by the "
    "photograph's squared activation.",
    "filterscope invert tiny-vgg16 photo.jpg block1_conv2 block3_conv3 block5_conv3",
)
caricature = _likeness(
    "caricature",
    "Exaggerate the features of a photograph at a layer.\n\n"
    "The image starts from noise and gets the photograph's activations at that layer, but larger ones.",
    "filterscope caricature tiny-vgg16 photo.jpg block4_conv2",
)


@click.command()
@click.argument("net")
@image_argument
@click.argument("target")
@click.option(
    "--keep",
    type=Finite(min=0),
    default=1.0,
    show_default=True,
    help="Weight of the similarity to the photograph, relative to the unit.",
)
@click.option(
    "--keep-layer",
    metavar="LAYER",
    help="Layer at which the similarity is measured [a third of the way to the unit].",
)
@drawing_options(recipe="accentuate", recipes="accentuate, or one of `show`.")
@output_options
def accentuate(
    net: str, image: Path, target: str, keep: float, keep_layer: str | None, drawing: Drawing, frames: int | None,
    film: str, fps: float, weights: str | None, out: Path, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Bring out the feature that a unit detects in a photograph.

    The unit's activation increases, and the photograph otherwise stays similar.

    \b
    filterscope accentuate tiny-vgg16 photo.jpg predictions:goldfish
    """
    from filterscope.photographs.accentuation import accentuate_goal
    from filterscope.photographs.presets import photograph_recipe
    from filterscope.photographs.sources import one_goal
    from filterscope.recipe import get_recipe, parse_settings

    recipe = get_recipe(
        photograph_recipe(drawing.recipe or "accentuate"), steps=drawing.steps, size=drawing.size,
        settings=parse_settings(drawing.settings),
    )  # fmt: skip
    animation = read_film(film, frames, fps)
    photographs = _photographs(image, None, quiet=quiet)
    network = ready(net, weights, out)
    unit = one_goal(network, target)
    goal = accentuate_goal(
        network, unit, photographs["image"], keep=keep, keep_layer=keep_layer, device=drawing.device
    )
    with Output(out, of=1, quiet=quiet) as output:
        output.draw(
            network, [goal], recipe, drawing.run, lambda _: f"{photographs['image'].name}-accentuate-{unit.stem}",
            film=animation, photographs=photographs,
        )  # fmt: skip
    _print_results(output, as_json=as_json)


@click.command()
@click.argument("net")
@image_argument
@click.argument("target")
@click.option(
    "--size",
    type=click.IntRange(min=1),
    help="Shorter side of the photograph as the network's input [its own].",
)
@device_option
@weights_option
@out_option
@json_option
@quiet_option
def locate(
    net: str, image: Path, target: str, size: int | None, device: str, weights: str | None, out: Path,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Show where in a photograph a unit is excited.

    The result is an overlay with a ring at the peak. For a channel it is the activation map. For a class it is gradient
    times activation, at the last map before the class.

    \b
    filterscope locate tiny-vgg16 photo.jpg predictions:goldfish
    filterscope locate tiny-vgg16 photo.jpg block4_conv2:17
    """
    photograph = _photographs(image, None, quiet=quiet)["image"]
    network = ready(net, weights, out)
    from filterscope.photographs.location import locate as find
    from filterscope.report import add_to_report

    found = find(network, photograph, target, size=size, device=device)
    path = found.save(out / f"{photograph.name}-locate-{found.target.stem}.png")
    add_to_report(out, [{**found.report(path.name), "kind": "location"}])
    if as_json:
        click.echo(json.dumps(found.report(path.name), indent=1))
    elif not quiet:
        probability = "" if found.probability is None else f"  probability {found.probability:.1%}"
        row, column = found.peak
        where = f"most at row {row}, column {column} of the photograph" if found.largest > 0 else "nowhere"
        click.echo(f"{found.target} {found.class_name or ''}: {where} (by {found.layer}){probability}")
        click.echo(f"written to {path}")


def _photographs(image: Path, guide: Path | None, *, quiet: bool) -> dict[str, Photograph]:
    """The named pictures, read; notes on the reading are printed."""
    for path in (image, guide):
        if path is not None:
            require_picture(path)
    from filterscope.pictures.reading import read_photograph

    found = {"image": read_photograph(image)}
    if guide is not None:
        found["guide"] = read_photograph(guide)
    from filterscope.rerun import remember_photograph

    for photograph in found.values():
        remember_photograph(photograph)
        for note in () if quiet else photograph.notes:
            click.echo(f"filterscope: {note}", err=True)
    return found


def _words(picture: Picture) -> str:
    """What a dream is of, for a file's name: its layers, or its target."""
    from filterscope.target import Target

    words = picture.target.stem if isinstance(picture.target, Target) else "+".join(picture.target.layers)
    return words.replace("/", ".") if len(words) <= 80 else picture.target.stem


def _print_results(output: Output, *, as_json: bool) -> None:
    """Say what was drawn."""
    if as_json:
        click.echo(json.dumps(output.report(), indent=1))
    elif not output.quiet:
        for file, picture in zip(output.files, output.pictures, strict=True):
            path = output.folder / file
            if _is_match(picture):
                click.echo(f"{path}: {picture.target}  error {-picture.scores.activation:.4g}")
                continue
            start = "" if picture.scores.start is None else f" (the photograph's {picture.scores.start:.4g})"
            click.echo(f"{path}: {picture.target}  activation {picture.scores.activation:.4g}{start}")
        if len(output.pictures) > 1:
            click.echo(str(output.folder / "sheet.png"))
        for moving in output.films[-1:]:
            click.echo(str(moving))
