"""From targets to pictures: what the command line and a notebook both call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch

from filterscope.ascent.engine.batch import choose_batch
from filterscope.ascent.engine.device import FreedMemory
from filterscope.ascent.engine.prepare import choose_device, precision_for, prepare
from filterscope.ascent.gradient import repeated
from filterscope.ascent.loop import Ascent, ascend, of_first
from filterscope.ascent.loop import OnStep as LoopStep
from filterscope.errors import TargetError, checked_seed, memory_told
from filterscope.measure.judge import Judge
from filterscope.measure.scores import Measurers, to_bytes, verdict
from filterscope.networks import Network, open_network
from filterscope.networks.torch_state import in_our_torch
from filterscope.objective import EXAMPLE, Direction, Expression, Objective, has_place, may_be_dead
from filterscope.pictures import Picture, Sheet
from filterscope.pictures.picture import Scores, Status
from filterscope.progress import OnStep, Step, progress_bar
from filterscope.recipe import DEFAULT, Recipe, get_recipe
from filterscope.recipe.recipe import RESTARTS
from filterscope.records import CarriedOut
from filterscope.sides import Size, largest_of, size_text
from filterscope.target import Algebra, Selection, Target, place_text, terms_of

FEWEST = 32  # steps of a serious ascent: what a shorter one does not reach is no failure


def visualize(
    network: Any,
    target: str | Objective | Sequence[str | Objective],
    *,
    recipe: str | Recipe = DEFAULT,
    steps: int | None = None,
    size: Size | None = None,
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
        or several of these. What has a place, @ROW,COLUMN, is drawn without the recipe's transforms that move
        the picture: a neuron looks at one place of it.
    recipe: a preset ("sharp", "natural", "distill", which is the defaults of lucid, the library of Olah et al. 2017,
        "maco", or the blog's "naive", "linear", "lp", "tv") or a Recipe.
    steps, size: steps of the ascent, side of the picture in pixels or (height, width); the recipe's own where None.
    seed: same seed, same machine, same picture.
    precision: "auto", "float32" or "bfloat16", of the network; the picture is float32 always. The variable
        FILTERSCOPE_PRECISION says which of the two "auto" is; without it the processor decides.
    settings: recipe settings by dotted key, as {"optimizer.lr": 0.1}.
    judge: another network, as for `network` (or opened with weights of its own), that says what it sees in each
        picture (Picture.judge).

    Raises TargetError, RecipeError, NetworkError, WeightsError or ArgumentError for what cannot be drawn as
    asked.

    >>> visualize("tiny-vgg16", "predictions:goldfish", steps=2, size=32, progress=False).class_name
    'goldfish'
    """
    seed = checked_seed(seed)
    net = open_network(network)
    chosen = get_recipe(recipe, steps=steps, size=size, settings=settings)
    targets = list(dict.fromkeys(t for one in _asked(target) for t in net.objectives(one, seed=seed)))
    if not targets:
        raise TargetError(f"there is no target to draw; {EXAMPLE}")
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


def _asked(target: Any) -> list[Any]:
    """The targets that were passed, alone or in any collection; TargetError for what is none."""
    kinds = str | Algebra | Selection | Expression
    asked = [target] if isinstance(target, kinds) else target
    if isinstance(asked, Iterable) and not isinstance(asked, bytes | Mapping):
        asked = list(asked)
        if all(isinstance(one, kinds) for one in asked):
            return asked
    raise TargetError(f"a target is a text, an Objective or several of these (got {target!r}); {EXAMPLE}")


def visualize_filter(network: Any, layer: str, unit: int | str, **settings: Any) -> Picture:
    """Draw one unit's picture, by the blog post's own function name; settings as for `visualize`."""
    picture = visualize(network, f"{layer}:{unit}", **settings)
    if not isinstance(picture, Picture):
        raise TargetError(f"visualize_filter draws one unit (got {unit!r}); visualize draws several")
    return picture


@in_our_torch
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
    measurers: Measurers | None = None,
    attempt: int | None = None,
    facet: int | None = None,
    on_step: OnStep | None = None,
    on_restart: OnStep | None = None,
) -> Iterator[Picture]:
    """Pictures of the targets as they are finished, in order, with all their facets; a few are drawn at a time.

    judge: another network, whose opinion of each picture is kept with it. measurers: what pictures are measured with,
    kept by whoever draws a layer in several calls. attempt: the restart whose noise to
    draw from, with the recipe as it stands, as a picture's record has both; None begins with the first noise and goes on
    from there where that fails. facet: the one of a unit's pictures to draw, where the recipe has no others beside it, as
    a restart's has not. on_step is told of each step but those of restarts: of these on_restart is.
    """
    seed = checked_seed(seed)
    jury = None if judge is None else Judge(judge)
    place = choose_device(device)
    measurers = measurers or Measurers(net, place)
    sizes = {t.layers: _checked_size(net, t, recipe) for t in targets}
    facets = range(recipe.facet_count) if facet is None else (facet,)
    total, done, freed = len(targets) * len(facets) * recipe.steps, 0, FreedMemory()
    for chunk, dtype in _chunks(net, targets, recipe, sizes, precision, place, batch):
        drawn = [(target, facet) for target in chunk for facet in facets]

        def report(
            restart: int,
            step: int,
            activations: torch.Tensor,
            image: Callable[[], torch.Tensor],
            first: Objective = chunk[0],
            count: int = len(drawn),
            done: int = done,
        ) -> None:
            listener = on_restart if restart else on_step
            if listener is not None:
                mean, so_far = float(activations.mean()), done + (recipe.steps if restart else step) * count
                listener(Step(so_far, total, first, mean, step, activations, image, restart))

        smallest = largest_of(map(net.smallest_size, chunk[0].layers)) if len(recipe.stages) > 1 else 1
        size, as_it_stands = sizes[chunk[0].layers], attempt is not None
        climb = _Climb(net, recipe, size, smallest, seed, dtype, place, measurers, as_it_stands)
        pictures = _draw_chunk(climb, drawn, attempt, report)
        yield from pictures if jury is None else jury.judged(net, list(pictures))
        done += len(drawn) * recipe.steps
        freed.hand_back()


@memory_told()
def _chunks(
    net: Network,
    targets: Sequence[Objective],
    recipe: Recipe,
    sizes: Mapping[tuple[str, ...], Size],
    precision: str,
    device: torch.device,
    batch: int | None,
) -> list[tuple[list[Objective], torch.dtype]]:
    """The targets by what is drawn together, each with the network's number type."""
    chunks: list[tuple[list[Objective], torch.dtype]] = []
    for (layers, _), same in groupby(targets, key=lambda t: (t.layers, has_place(t))):
        group = list(same)
        dtype = precision_for(net, group[:1], precision, device)
        own = recipe.carried_out_for(group[0])
        count = batch or choose_batch(net, group, own, size=sizes[layers], dtype=dtype, device=device)
        together = max(1, count // recipe.facet_count)
        chunks += [(group[i : i + together], dtype) for i in range(0, len(group), together)]
    return chunks


def _checked_size(net: Network, goal: Objective, recipe: Recipe) -> Size:
    """The size of the goal's picture; whatever cannot be drawn is refused before any work."""
    size = recipe.size or largest_of(net.picture_size(layer, recipe.usual_size) for layer in goal.layers)
    shapes = {layer: net.output_shape(layer, size) for layer in goal.layers}
    for _, term in terms_of(goal):
        if isinstance(term, Target | Direction) and term.at is not None:
            ends = shapes[term.layer][1:]
            if any(place >= end for place, end in zip(term.at, ends, strict=True)):
                names = ("rows", "columns") if len(ends) == 2 else ("steps",)
                has = " and ".join(f"{name} 0 to {end - 1}" for name, end in zip(names, ends, strict=True))
                got = place_text(term.at)
                raise TargetError(f"{term.layer} has {has} at {size_text(size)} px (got {got})")
    return size


@dataclass(frozen=True)
class _Climb:
    """The ascent of a few pictures, from one noise or another."""

    net: Network
    recipe: Recipe
    size: Size
    smallest: Size
    seed: int
    dtype: torch.dtype
    device: torch.device
    measurers: Measurers
    as_it_stands: bool = False  # the recipe is of a record, and what a restart changes is in it

    def __call__(
        self, drawn: Sequence[tuple[Objective, int]], attempt: int = 0, on_step: LoopStep | None = None
    ) -> Ascent:
        # never alone: oneDNN rounds a float32 batch of one otherwise than any larger one
        alone = len(drawn) == 1 and self.device.type == "cpu" and self.dtype == torch.float32
        goals, facets = zip(*(list(drawn) * 2 if alone else drawn), strict=True)
        count = len(drawn)
        if alone and on_step is not None:
            on_step = of_first(on_step, count)
        recipe = self.carried_out(goals[0], attempt)
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
        return ascent.first(count)

    def carried_out(self, goal: Objective, attempt: int) -> Recipe:
        """The recipe as a goal is drawn with it; all goals of a chunk have a place, or none."""
        recipe = self.recipe.carried_out_for(goal, 0 if self.as_it_stands else attempt)
        return recipe.model_copy(update={"size": self.size})

    @memory_told()
    def tries(
        self, drawn: Sequence[tuple[Objective, int]], attempt: int, on_step: LoopStep | None = None
    ) -> list[_Try]:
        """The pictures that one noise gives, measured."""
        ascent = self(drawn, attempt, on_step)
        targets = [target for target, _ in drawn]
        # asked only now that the layer's weights are there: their hash must not fetch a file of its own
        measurer = self.measurers.of(targets)
        images, starts = to_bytes(ascent.pixels, self.recipe.output), to_bytes(ascent.start, "values")
        scores = measurer.scores(images, starts)
        return [
            _Try(
                image,
                curve,
                score,
                verdict(score, curve, best, may_be_dead=dies),
                attempt,
                len(drawn),
                dies,
                done,
            )
            for image, curve, score, best, dies, done in zip(
                images,
                ascent.curves,
                scores,
                measurer.natural_best,
                map(may_be_dead, targets),
                ascent.carried_out,
                strict=True,
            )
        ]


def _draw_chunk(
    climb: _Climb, drawn: Sequence[tuple[Objective, int]], attempt: int | None, report: Callable[..., None]
) -> Iterator[Picture]:
    began = time.perf_counter()
    tries = climb.tries(drawn, attempt or 0, partial(report, 0))
    for number in range(1, len(RESTARTS) + 1) if attempt is None else ():
        failed = [i for i, found in enumerate(tries) if found.failed(climb.recipe)]
        if not failed:
            break
        others = climb.tries([drawn[i] for i in failed], number, partial(report, number))
        for i, other in zip(failed, others, strict=True):
            if other.beats(tries[i]):
                tries[i] = other
    seconds = (time.perf_counter() - began) / len(drawn)
    net = climb.net
    for (target, facet), found in zip(drawn, tries, strict=True):
        yield Picture(
            image=found.image,
            target=target,
            network=net.name,
            recipe=climb.carried_out(target, found.attempt),
            carried_out=found.carried_out,
            seed=climb.seed,
            facet=facet,
            scores=found.scores,
            status=found.status,
            curve=found.curve,
            class_name=net.class_name(target),
            weights_sha256=net.weights.sha256,
            weights_file=net.weights_file,
            precision=str(climb.dtype).removeprefix("torch."),
            device=climb.device.type,
            batch=found.batch,
            attempt=found.attempt,
            seconds=seconds,
            shown=net.input.as_colours,
        )


@dataclass(frozen=True)
class _Try:
    """One picture as one noise gave it, measured as it is saved, and how many were drawn with it."""

    image: np.ndarray
    curve: list[float]
    scores: Scores
    status: Status
    attempt: int
    batch: int
    may_be_dead: bool = True
    carried_out: CarriedOut | None = None

    def failed(self, recipe: Recipe) -> bool:
        """Whether other noise is worth a try: the unit never woke, a photograph excites it more, or the picture
        is of another class. The blog's recipes, which feed a network as the blog does, fail as the blog's do."""
        if recipe.feed == "raw" or recipe.steps < FEWEST:
            return self._asleep
        below = self.scores.excitation is not None and self.scores.excitation < 1
        return below or self._misnamed or self._asleep

    @property
    def _asleep(self) -> bool:
        return self.may_be_dead and not any(self.curve)

    @property
    def _misnamed(self) -> bool:
        return self.scores.probability is not None and self.scores.top_unit is False

    def beats(self, other: _Try) -> bool:
        """Whether this one is to be kept: it woke a unit, or excites it more."""
        mine, theirs = ((any(t.curve), not t._misnamed, t.scores.activation) for t in (self, other))
        return (
            mine >= theirs
        )  # of two that fail alike the later is kept, whose number says how often it was tried
