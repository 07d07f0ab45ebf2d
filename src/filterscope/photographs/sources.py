"""What the functions that take a photograph share: how they read it, name layers and draw."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from filterscope.api import DrawingOptions
from filterscope.drawing.draw import Photographs, draw
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, TargetError
from filterscope.networks import Network
from filterscope.objective import Objective
from filterscope.pictures import Picture
from filterscope.pictures.reading import Photograph, read_photograph
from filterscope.progress import progress_bar
from filterscope.recipe import Recipe

Source: TypeAlias = Any  # a file's path, a Pillow image, an array (H, W, 3), or a Photograph


def photograph_of(source: Source) -> Photograph:
    """The photograph, read if it has not been."""
    if isinstance(source, Photograph):
        return source
    return read_photograph(source if not isinstance(source, os.PathLike) else os.fspath(source))


def one_goal(net: Network, target: str | Objective) -> Objective:
    """The one objective that a text means; TargetError where it means several."""
    goals = net.objectives(target)
    if len(goals) != 1:
        raise TargetError(f"one target at a time: LAYER:UNIT (got {target}, which is {len(goals)})")
    return goals[0]


def layer_names(layers: object) -> list[str]:
    """The texts that name layers, alone or in a list."""
    texts = [layers] if isinstance(layers, str) else layers
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ArgumentError(f"layers are named by text, as in block3_conv1 (got {layers!r})")
    return list(texts)


def drawn(
    net: Network,
    goals: Sequence[Objective],
    recipe: Recipe,
    photographs: Photographs,
    run: Run,
    options: DrawingOptions,
) -> list[Picture]:
    """The pictures of the goals, under a bar."""
    with progress_bar(options.get("progress", True), also=options.get("on_step")) as bar:
        return list(draw(net, goals, recipe, run, photographs=photographs, on_step=bar))
