"""The blog's ladder: the same targets under several recipes, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from filterscope.drawing.draw import draw
from filterscope.drawing.run import USUAL, Run
from filterscope.networks import Network
from filterscope.objective import Objective
from filterscope.pictures.picture import Picture
from filterscope.pictures.sheet import Tile, compose, layer_of
from filterscope.pictures.shown import Shown
from filterscope.progress import OnStep, Step
from filterscope.recipe import Recipe


@dataclass(frozen=True)
class Ladder(Shown):
    """Rows of pictures, one row a target, one column a recipe."""

    rows: list[list[Picture]]

    def to_pil(self) -> Image.Image:
        """Recipes over the columns; under a class its probability and, where there are several, a filter's layer."""
        several = len({row[0].target.layers for row in self.rows}) > 1
        tiles = [Tile(p.to_pil(), p.label, _caption(p, several)) for row in self.rows for p in row]
        names = [p.recipe.name for p in self.rows[0]]
        return compose(tiles, columns=len(names), titles=names)


def draw_ladder(
    network: Network,
    targets: Sequence[Objective],
    recipes: Sequence[Recipe],
    run: Run = USUAL,
    *,
    on_step: OnStep | None = None,
    on_picture: Callable[[Picture], object] | None = None,
) -> Ladder:
    """Draw every target under every recipe; `on_picture` is given each one as it is finished."""
    total = sum(recipe.steps for recipe in recipes) * len(targets)
    done = 0
    columns: list[list[Picture]] = []
    for recipe in recipes:

        def report(step: Step, done: int = done) -> None:
            if on_step is not None:
                on_step(replace(step, done=done + step.done, total=total))

        column = []
        for picture in draw(network, targets, recipe, run, on_step=report):
            column.append(picture)
            if on_picture is not None:
                on_picture(picture)
        columns.append(column)
        done += recipe.steps * len(targets)
    return Ladder([list(row) for row in zip(*columns, strict=True)])


def _caption(picture: Picture, several: bool) -> str:
    probability = picture.scores.probability
    if probability is not None:
        return f"{probability:.1%} {picture.class_name or ''}".strip()
    return layer_of(picture) if several else ""
