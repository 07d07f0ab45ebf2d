"""Ladders, animations and pictures drawn again, as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from filterscope.api import Asked, DrawingOptions, Targets, read_recipe
from filterscope.drawing.ladder import Ladder
from filterscope.drawing.ladder import draw_ladder as draw_stages
from filterscope.drawing.recording import Recorder, record_again
from filterscope.errors import ArgumentError, TargetError
from filterscope.expression import Interpolation, parse
from filterscope.files import StrPath
from filterscope.objective import Between, Objective
from filterscope.photographs.presets import photograph_recipe
from filterscope.photographs.sources import Source, photograph_of
from filterscope.photographs.zoom import zoom as draw_zoom
from filterscope.pictures.animation import FPS, check_format, save_animation, save_between
from filterscope.pictures.reading import Photograph
from filterscope.progress import OnStep, Step, progress_bar
from filterscope.recipe import LADDER, Recipe
from filterscope.rerun import Again, draw_again
from filterscope.sides import Size

FRAMES = 32  # of an animation, where nothing is said


def draw_ladder(
    network: Any,
    target: Targets,
    *,
    recipes: Sequence[str | Recipe] = LADDER,
    **options: Unpack[DrawingOptions],
) -> Ladder:
    """Draw the same targets by several recipes side by side, of themselves the blog's four stages.

    recipes: the columns. Options as for `visualize`; a `recipe` is one more column.

    >>> ladder = draw_ladder("tiny-vgg16", "predictions:goldfish", steps=1, size=32, progress=False)
    >>> [picture.recipe.name for picture in ladder.rows[0]]
    ['naive', 'linear', 'lp', 'tv']
    """
    asked = Asked.read(network, target, options)
    columns = [*recipes, options["recipe"]] if "recipe" in options else recipes
    chosen = [read_recipe(options, recipe) for recipe in columns]
    if not chosen:
        raise ArgumentError("a ladder needs a recipe for each column (got none)")
    with progress_bar(asked.progress, also=asked.on_step) as bar:
        return draw_stages(asked.network, asked.goals, chosen, asked.run, on_step=bar)


def redraw(
    picture: StrPath,
    *,
    weights: StrPath | None = None,
    image: StrPath | None = None,
    guide: StrPath | None = None,
    concepts: StrPath | None = None,
    net: str | None = None,
    device: str = "auto",
    size: Size | None = None,
    progress: bool | None = True,
) -> Again:
    """Draw a picture again from the recipe in its PNG file; the result says how far the two differ.

    weights, image, guide, concepts: the network's weights, the photographs and the file of concepts it was drawn from,
        where they have moved.
    net: the network, where it is a file of your own: "path/to/file.py:factory".
    size: of a picture with image "cppn", the size to draw it at, from the weights in its file, without an ascent.

    >>> import tempfile
    >>> from filterscope import visualize_one
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drawn = visualize_one("tiny-vgg16", "block1_conv1:3", steps=1, size=32, progress=False)
    ...     redraw(drawn.save(f"{folder}/drawn.png"), progress=False).largest_difference
    0
    """
    with progress_bar(progress) as bar:
        return draw_again(
            picture,
            weights=weights,
            image=image,
            guide=guide,
            concepts=concepts,
            net=net,
            device=device,
            size=size,
            on_step=bar,
        )


def animate(
    network: Any,
    target: str | Objective,
    path: StrPath,
    *,
    frames: int = FRAMES,
    fps: float = FPS,
    image: Source | None = None,
    zoom: float | None = None,
    **options: Unpack[DrawingOptions],
) -> Path:
    """Write an animation of one target's ascent, with the activation's curve beneath, or of what lies between two targets,
    "A -> B"; returns its file.

    path: ends in .webp, .gif or .mp4 (extra: video). frames: how many, the last one the finished picture.
    image: a photograph to start from; the recipe is then "dream" where none is given, as for
    "layer(block4_conv2)". zoom: magnification per frame of an endless zoom into that dream, as 1.04.
    Options as for `visualize`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     animate("tiny-vgg16", "block1_conv1:3", f"{folder}/3.webp", frames=3, steps=4, size=32, progress=False).name
    '3.webp'
    """
    place = Path(path)
    check_format(place.suffix, fps)
    if not isinstance(frames, int) or frames < 2:
        raise ArgumentError(f"an animation has 2 frames or more (got {frames!r})")
    if zoom is not None and (image is None or not 1 < zoom <= 2):
        raise ArgumentError(f"zoom is above 1 and at most 2, into a photograph's dream (got {zoom!r})")
    photographs = {} if image is None else {"image": photograph_of(image)}
    if photographs:
        options["recipe"] = photograph_recipe(options.get("recipe", "dream"))
    parsed = parse(target) if isinstance(target, str) else target
    if isinstance(parsed, Interpolation):
        return _animate_between(
            Asked.read(network, parsed.with_frames(frames), options), place, fps, photographs
        )
    asked = Asked.read(network, target, options)
    if asked.count != 1:
        raise TargetError(f"an animation is of one picture (got {target}, which is {asked.count})")
    first = photographs["image"].image if photographs else None
    recorder = Recorder(0 if zoom else frames, first=first)
    (picture,) = replace(asked, on_step=_both(recorder, asked.on_step)).pictures(photographs)
    if zoom is not None:
        zoomed = draw_zoom(
            asked.network, asked.goals[0], picture.recipe, photographs, picture,
            frames=frames, factor=zoom, run=asked.run,
        )  # fmt: skip
        return save_animation(list(zoomed), place, fps=fps, hold=0)
    if picture.attempt:
        recorder = record_again(asked.network, picture, asked.run, frames)
    return recorder.save(0, place, finished=picture.to_pil(), curve=image is None, fps=fps)


def _animate_between(asked: Asked, place: Path, fps: float, photographs: Mapping[str, Photograph]) -> Path:
    """The animation of what lies between two targets."""
    paths = {goal.path for goal in asked.goals if isinstance(goal, Between)}
    if len(paths) != 1 or len(asked.goals) == 1:
        raise TargetError(f"an animation is of what lies between two targets (got {len(paths)} pairs)")
    return save_between(list(asked.pictures(photographs)), place, fps=fps)


def _both(first: OnStep, second: OnStep | None) -> OnStep:
    def on_step(step: Step) -> None:
        first(step)
        if second is not None:
            second(step)

    return on_step
