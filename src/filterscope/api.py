"""From targets to pictures: what the command line and a notebook both call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch

from filterscope.ascent.batch import choose_batch
from filterscope.ascent.loop import Ascent, ascend
from filterscope.ascent.loop import OnStep as LoopStep
from filterscope.ascent.prepare import choose_device, choose_precision, prepare
from filterscope.ascent.slopes import repeated
from filterscope.errors import TargetError
from filterscope.measure.judge import Judge
from filterscope.measure.natural import natural_best
from filterscope.measure.scores import Measurer, to_bytes, verdict
from filterscope.networks import Network, open_network
from filterscope.objective import Direction, Objective
from filterscope.pictures import Picture, Sheet
from filterscope.progress import OnStep, Step, progress_bar
from filterscope.recipe import DEFAULT, Recipe, get_recipe
from filterscope.target import Algebra, Target, terms_of

RESTARTS = 2  # other noise for a unit that the first one leaves dead


def visualize(
    network: Any,
    target: str | Objective | Sequence[str | Objective],
    *,
    recipe: str | Recipe = DEFAULT,
    steps: int | None = None,
    size: int | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    judge: Any = None,
    progress: bool = True,
) -> Picture | Sheet:
    """Draw the picture that excites a unit most: a Picture for one unit, a Sheet for several.

    network: a name, file or Keras model (see `open_network`), or an opened Network.
    target: "LAYER:UNIT", "LAYER" (16 units chosen by the seed), "LAYER:0-15", "LAYER:3,7", "LAYER:*",
        "LAYER:CLASS", "LAYER:UNIT@ROW,COLUMN", "layer(LAYER)", a weighted sum (see objective.py), an Objective,
        or several of these.
    recipe: a preset ("sharp", "natural", "distill", "maco", or the blog's "naive", "linear", "lp", "tv") or a Recipe.
    steps, size: steps of the ascent, side of the picture in pixels; the recipe's own where None.
    seed: same seed, same machine, same picture.
    precision: "auto", "float32" or "bfloat16", of the network; the picture is float32 always.
    settings: recipe settings by dotted key, as {"optimizer.lr": 0.1}.
    judge: another network, as for `network`, that says what it sees in each picture (Picture.judge).

    Raises TargetError, RecipeError, NetworkError, WeightsError or ArgumentError for what cannot be drawn as
    asked.

    >>> visualize("tiny-vgg16", "predictions:goldfish", steps=2, size=32, progress=False).class_name
    'goldfish'
    """
    net = open_network(network)
    chosen = get_recipe(recipe, steps=steps, size=size, settings=settings)
    asked = [target] if isinstance(target, str | Algebra) else list(target)
    targets = list(dict.fromkeys(t for one in asked for t in net.objectives(one, seed=seed)))
    if not targets:
        raise TargetError("there is no target to draw; write LAYER:UNIT, as in block3_conv1:30")
    jury = None if judge is None else open_network(judge)
    with progress_bar(progress) as on_step:
        pictures = list(
            draw(
                net,
                targets,
                chosen,
                seed=seed,
                precision=precision,
                device=device,
                judge=jury,
                on_step=on_step,
            )
        )
    return pictures[0] if len(pictures) == 1 else Sheet(pictures)


def visualize_filter(network: Any, layer: str, unit: int | str, **settings: Any) -> Picture:
    """Draw one unit's picture, by the blog post's own function name; settings as for `visualize`."""
    picture = visualize(network, f"{layer}:{unit}", **settings)
    if not isinstance(picture, Picture):
        raise TargetError(f"visualize_filter draws one unit (got {unit!r}); visualize draws several")
    return picture


def draw(
    net: Network,
    targets: Sequence[Objective],
    recipe: Recipe,
    *,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    batch: int | None = None,
    judge: Network | None = None,
    on_step: OnStep | None = None,
    on_restart: OnStep | None = None,
) -> Iterator[Picture]:
    """Pictures of the targets as they are finished, in order, with all their facets; a few are drawn at a time.

    judge: another network, whose opinion of each picture is kept with it. on_step is told of each step but those of
    units that their noise left dead and that are drawn again from other noise: of these on_restart is.
    """
    place = choose_device(device)
    dtype = choose_precision(precision, place)
    sizes = {t.layers: _checked_size(net, t, recipe) for t in targets}
    facets = recipe.facets.count if recipe.facets else 1
    chunks: list[list[Objective]] = []
    for layers, same in groupby(targets, key=lambda t: t.layers):
        group, size = list(same), sizes[layers]
        count = batch or choose_batch(net, group, recipe.steps * facets, size=size, dtype=dtype, device=place)
        together = max(1, count // facets)
        chunks += [group[i : i + together] for i in range(0, len(group), together)]
    total, done = len(targets) * facets * recipe.steps, 0
    for chunk in chunks:
        drawn = [(target, facet) for target in chunk for facet in range(facets)]

        def report(
            attempt: int,
            step: int,
            activations: torch.Tensor,
            image: Callable[[], torch.Tensor],
            first: Objective = chunk[0],
            count: int = len(drawn),
            done: int = done,
        ) -> None:
            listener = on_restart if attempt else on_step
            if listener is not None:
                mean, so_far = float(activations.mean()), done + (recipe.steps if attempt else step) * count
                listener(Step(so_far, total, first, mean, step, activations, image, attempt))

        pictures = _draw_chunk(net, drawn, recipe, sizes[chunk[0].layers], seed, dtype, place, report)
        yield from pictures if judge is None else Judge(judge).judged(net, list(pictures))
        done += len(drawn) * recipe.steps


def _checked_size(net: Network, goal: Objective, recipe: Recipe) -> int:
    """The side of the goal's picture; whatever cannot be drawn is refused before any work."""
    size = recipe.size or max(net.picture_size(layer, recipe.usual_size) for layer in goal.layers)
    shapes = {layer: net.output_shape(layer, size) for layer in goal.layers}
    for _, term in terms_of(goal):
        if isinstance(term, Target | Direction) and term.at is not None:
            _, rows, columns = shapes[term.layer]
            if term.at[0] >= rows or term.at[1] >= columns:
                ends = f"rows 0 to {rows - 1} and columns 0 to {columns - 1}"
                raise TargetError(f"{term.layer} has {ends} at {size} px (got {term.at[0]},{term.at[1]})")
    return size


def _draw_chunk(
    net: Network,
    drawn: Sequence[tuple[Objective, int]],
    recipe: Recipe,
    size: int,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    report: Callable[..., None],
) -> Iterator[Picture]:
    began = time.perf_counter()
    targets = [target for target, _ in drawn]
    smallest = max(map(net.smallest_size, targets[0].layers)) if len(recipe.stages) > 1 else 1
    climb = _Climb(net, recipe, size, smallest, seed, dtype, device)
    ascent = climb(drawn, on_step=partial(report, 0))
    attempts = [0] * len(drawn)
    for attempt in range(1, RESTARTS + 1):
        asleep = [i for i, curve in enumerate(ascent.curves) if not any(curve)]
        if not asleep:
            break
        _replace(ascent, asleep, climb([drawn[i] for i in asleep], attempt, partial(report, attempt)))
        for i in asleep:
            attempts[i] = attempt
    # asked only now that the layer's weights are there: their hash must not fetch a file of its own
    natural = natural_best(net, targets)
    images, starts = to_bytes(ascent.pixels, recipe.output), to_bytes(ascent.start, "values")
    measurer = Measurer.of(net, targets, natural, device=device)
    scores = measurer.scores(images, starts)
    seconds = (time.perf_counter() - began) / len(drawn)
    for i, (target, facet) in enumerate(drawn):
        yield Picture(
            image=images[i],
            target=target,
            network=net.name,
            recipe=recipe.model_copy(update={"size": size}),
            seed=seed,
            facet=facet,
            scores=scores[i],
            status=verdict(scores[i], ascent.curves[i], natural[i]),
            curve=ascent.curves[i],
            class_name=net.class_name(target),
            weights_sha256=net.weights.sha256,
            weights_file=net.weights_file,
            precision=str(dtype).removeprefix("torch."),
            device=device.type,
            batch=len(drawn),
            attempt=attempts[i],
            seconds=seconds,
            shown=net.input.as_colours,
        )


@dataclass(frozen=True)
class _Climb:
    """The ascent of a few pictures, from one noise or another."""

    net: Network
    recipe: Recipe
    size: int
    smallest: int
    seed: int
    dtype: torch.dtype
    device: torch.device

    def __call__(
        self, drawn: Sequence[tuple[Objective, int]], attempt: int = 0, on_step: LoopStep | None = None
    ) -> Ascent:
        # never alone: oneDNN rounds a float32 batch of one otherwise than any larger one
        alone = len(drawn) == 1 and self.device.type == "cpu" and self.dtype == torch.float32
        goals, facets = zip(*(list(drawn) * 2 if alone else drawn), strict=True)
        recipe = self.recipe
        if recipe.facets and (attempt or recipe.facets.count == 1):
            recipe = recipe.model_copy(update={"facets": None})  # a restart is for a unit alone
        prepared = prepare(
            self.net,
            repeated(goals, recipe),
            dtype=self.dtype,
            device=self.device,
            softmax=recipe.softmax == "keep",
            features=self.net.map_layer(goals[0].layers[-1]) if recipe.facets else None,
        )
        ascent = ascend(
            prepared, goals, recipe, size=self.size, smallest=self.smallest, seed=self.seed, attempt=attempt,
            facets=facets, on_step=on_step,
        )  # fmt: skip
        count = len(drawn)
        return Ascent(ascent.pixels[:count], ascent.start[:count], ascent.curves[:count])


def _replace(ascent: Ascent, rows: Sequence[int], other: Ascent) -> None:
    for row, (pixels, start, curve) in zip(
        rows, zip(other.pixels, other.start, other.curves, strict=True), strict=True
    ):
        ascent.pixels[row], ascent.start[row], ascent.curves[row] = pixels, start, curve
