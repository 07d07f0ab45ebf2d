"""From a photograph, an objective and a recipe to a Picture: what all commands that start from a photograph share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import torch

from filterscope.ascent.canvas.photograph import Beside, resized
from filterscope.ascent.engine.prepare import Prepared, choose_device, precision_for, prepare
from filterscope.ascent.loop import ascend
from filterscope.ascent.objectives import activation, own_unit
from filterscope.ascent.tiles import window_shape, windows
from filterscope.ascent.transforms import Transforms
from filterscope.errors import ArgumentError, TargetError, checked_seed, memory_told
from filterscope.measure.natural import natural_best
from filterscope.measure.scores import to_bytes, verdict
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.objective import Direction, Objective, may_be_dead, roles
from filterscope.pictures.picture import Picture, Scores
from filterscope.pictures.reading import Photograph
from filterscope.progress import OnStep, Step
from filterscope.recipe import Recipe
from filterscope.sides import LARGEST, Size, largest_of, sides_of, size_text
from filterscope.target import Target, terms_of

Photographs: TypeAlias = Mapping[str, Photograph]
"""By role: "image", which the picture starts from, and "guide"."""


@in_our_torch
@memory_told()
def draw_from(
    net: Network,
    goal: Objective,
    recipe: Recipe,
    photographs: Photographs,
    *,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    on_step: OnStep | None = None,
) -> Picture:
    """The picture of an objective from a photograph, of the photograph's aspect.

    Its longer side is the recipe's size, else the smaller of `usual_size` and the photograph's own. Raises
    ArgumentError or TargetError for what cannot be drawn so.
    """
    began = time.perf_counter()
    seed = checked_seed(seed)
    for role in roles(goal) - set(photographs):
        raise TargetError(f"{goal} looks at a photograph (the {role}), and none was given")
    place = choose_device(device)
    dtype = precision_for(net, [goal], precision, place)
    recipe, sides = _fitted(net, goal, recipe, photographs["image"])
    recipe = recipe.carried_out_for(goal).model_copy(update={"facets": None})  # one picture of a photograph
    known = {role: photograph.pixels(net.input.channels) for role, photograph in photographs.items()}
    prepared = prepare(net, [goal], dtype=dtype, device=place, softmax=recipe.softmax == "keep")
    smallest = largest_of(map(net.smallest_size, goal.layers)) if len(recipe.stages) > 1 else 1

    def report(step: int, activations: torch.Tensor, images: Callable[[], torch.Tensor]) -> None:
        if on_step is not None:
            on_step(Step(step, recipe.steps, goal, float(activations.mean()), step, activations, images))

    ascent = ascend(
        prepared, [goal], recipe, size=sides, smallest=smallest, seed=seed, photographs=known,
        on_step=report,
    )  # fmt: skip
    curve = ascent.curves[0]
    image = to_bytes(ascent.pixels, recipe.output)[0]
    start = resized(known["image"], sides) if recipe.start == "photograph" else None
    done = ascent.carried_out[0]
    del ascent
    scores = _scores(net, goal, image, start, known, recipe, place)
    return Picture(
        image=image,
        target=goal,
        network=net.name,
        recipe=recipe,
        seed=seed,
        scores=scores,
        status=verdict(
            scores if scores.excitation is None else _plain(scores),
            curve,
            None,
            may_be_dead=may_be_dead(goal),
        ),
        curve=curve,
        class_name=net.class_name(goal),
        weights_sha256=net.weights.sha256,
        weights_file=net.weights_file,
        precision=str(dtype).removeprefix("torch."),
        device=place.type,
        seconds=time.perf_counter() - began,
        carried_out=done,
        photographs={role: _identity(photograph) for role, photograph in photographs.items()},
    )


def _plain(scores: Scores) -> Scores:
    """Without the excitation: a dream is no failure for exciting a unit less than the best natural image does."""
    return Scores(scores.activation, None, scores.probability, scores.start)


def _identity(photograph: Photograph) -> dict[str, str | None]:
    # its folder is nobody's business; `rerun` finds the file by its hash
    return {"file": photograph.path.name if photograph.path else None, "sha256": photograph.sha256}


def _fitted(
    net: Network, goal: Objective, recipe: Recipe, photograph: Photograph
) -> tuple[Recipe, tuple[int, int]]:
    """The recipe as it is carried out, and the picture's height and width; what cannot be drawn is refused."""
    width, height = photograph.image.size
    if isinstance(recipe.size, tuple):
        raise ArgumentError(
            f"the picture has the photograph's proportions: size is its longer side (got {size_text(recipe.size)})"
        )
    longest = recipe.size or min(recipe.usual_size or max(width, height), max(width, height))
    scale = longest / max(width, height)
    only = [layer for layer in goal.layers if net.takes_one_size(layer)]
    if only:  # a class behind a Flatten: it looks through windows of the only size that it takes
        high, wide = sides_of(net.input.size)
        scale = max(scale, high / height, wide / width)
        recipe = recipe.model_copy(update={"tile": net.input.size})
    sides = (max(1, round(height * scale)), max(1, round(width * scale)))
    if max(sides) > LARGEST:
        raise ArgumentError(
            f"pictures have at most {LARGEST} px a side (got {sides[1]} x {sides[0]}); make it smaller with --size"
        )
    recipe = recipe.model_copy(update={"size": max(sides)})
    for layer in goal.layers:
        net.output_shape(
            layer, net.input.size if layer in only else min(*sides, *sides_of(recipe.tile or min(sides)))
        )
    placed = [t for _, t in terms_of(goal) if isinstance(t, Target | Direction) and t.at is not None]
    if placed and recipe.tile is not None and window_shape(sides, recipe.tile) != sides:
        raise TargetError(
            f"{placed[0]} is one place of a picture of at most {size_text(recipe.tile)} px, its recipe's tile "
            f"(got {max(sides)})"
        )
    return recipe, sides


def _scores(
    net: Network,
    goal: Objective,
    image: np.ndarray,
    start: torch.Tensor | None,
    known: Mapping[str, torch.Tensor],
    recipe: Recipe,
    device: torch.device,
) -> Scores:
    """Of the saved picture, in float32; a picture that was looked at through windows is measured through them."""
    prepared = prepare(net, [goal], device=device, softmax=isinstance(goal, Target))
    seen = torch.from_numpy(image).permute(2, 0, 1)
    best = natural_best(net, [goal])[0]
    value, probability = measured(prepared, goal, seen, known, recipe.tile)
    before = None if start is None else measured(prepared, goal, start, known, recipe.tile)[0]
    return Scores(value, value / best if best else None, probability, before)


@torch.no_grad()
def measured(
    prepared: Prepared,
    goal: Objective,
    pixels: torch.Tensor,
    known: Mapping[str, torch.Tensor] | None = None,
    tile: Size | None = None,
) -> tuple[float, float | None]:
    """Activation of a picture (C, H, W) and, of a class, its probability; over windows their mean by area."""
    sides = (pixels.shape[-2], pixels.shape[-1])
    beside = Beside(prepared, [goal], known or {}, sides, Recipe(name="look", tile=tile))
    still = Transforms((), [], 1, sides)
    value, probability = 0.0, 0.0
    for window in windows(sides, tile):
        taps = prepared(window.of(pixels[None].to(prepared.device)).float())
        share = window.area / (sides[0] * sides[1])
        value += share * float(activation(taps, [goal], prepared.units, references=beside(window, still, 0)))
        softmax = next(iter(taps.values())).softmax
        softmax = softmax if softmax is not None and softmax.ndim == 2 else None
        if softmax is not None and isinstance(goal, Target):
            unit = torch.tensor([goal.unit], device=softmax.device)
            probability += share * float(own_unit(softmax, unit))
    has_softmax = softmax is not None and isinstance(goal, Target)
    return value, probability if has_softmax else None
