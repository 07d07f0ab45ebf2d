"""A few pictures from one noise after the other, measured as they are saved, and the best of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from filterscope.ascent.activity import excites
from filterscope.ascent.canvas.photograph import resized
from filterscope.ascent.canvas.shared import are_frames
from filterscope.ascent.engine.prepare import prepare
from filterscope.ascent.gradient import repeated
from filterscope.ascent.loop import Ascent, Seeds, ascend, of_first
from filterscope.ascent.loop import OnStep as LoopStep
from filterscope.ascent.transparency import to_alpha
from filterscope.drawing.run import Run
from filterscope.drawing.sizes import smallest_stage
from filterscope.errors import explain_out_of_memory
from filterscope.measure.scores import Measurers, pixels_of, to_bytes, verdict
from filterscope.networks.network import Network
from filterscope.objective import Objective, is_latent, may_be_dead
from filterscope.pictures.picture import Picture, Scores, Status
from filterscope.pictures.reading import Photograph
from filterscope.recipe import Recipe
from filterscope.recipe.recipe import RESTARTS
from filterscope.records import CarriedOut
from filterscope.sides import Sides

LEAST_STEPS = 32  # of a serious ascent: what a shorter one does not reach is no failure
UNMOVED = 1e-4  # of the activation: a curve that varies less is flat

Drawn = Sequence[tuple[Objective, int]]
"""Goals, each with the number of its facet."""
Report = Callable[[int, int, Tensor, Callable[[], Tensor]], None]
"""Called after each step: which restart, then as `ascent.loop.OnStep`."""


@dataclass(frozen=True)
class Attempt:
    """One picture as one noise gave it, measured as it is saved, and how many were drawn with it."""

    image: np.ndarray
    curve: list[float]
    scores: Scores
    status: Status
    number: int
    batch: int
    may_be_dead: bool = True
    carried_out: CarriedOut | None = None
    transparency: np.ndarray | None = None
    bound: float = 0.0  # from which activation on the unit is active (see ascent/activity.py)
    parameters: np.ndarray | None = None
    louder: bool = False

    def failed(self, recipe: Recipe) -> bool:
        """Whether other noise is worth a try: the unit never was active, a natural image excites it more, or the
        picture is of another class. The blog's recipes, which feed a network as the blog does, fail as the blog's do."""
        if recipe.feed == "raw" or recipe.steps < LEAST_STEPS:
            return self._inactive
        below = self.scores.excitation is not None and self.scores.excitation < 1
        stays = self.may_be_dead and self.status == "no-gain" and self.unmoved
        return below or self._misnamed or self._inactive or self._ends_inactive or stays

    @property
    def unmoved(self) -> bool:
        """Whether no step changed the activation: all that the unit depends on was inactive, so that no gradient came
        through (a depthwise filter's one channel, say)."""
        return max(self.curve) - min(self.curve) <= UNMOVED * max(map(abs, self.curve))

    @property
    def _inactive(self) -> bool:
        return self.may_be_dead and not self._was_active

    @property
    def _was_active(self) -> bool:
        return any(excites(value, self.bound) for value in self.curve)

    @property
    def _ends_inactive(self) -> bool:
        known = self.scores.excitation is not None
        return self.may_be_dead and not known and self.bound > 0 and self.scores.activation < self.bound

    @property
    def _misnamed(self) -> bool:
        return self.scores.probability is not None and self.scores.top_unit is False

    def is_kept_over(self, other: Attempt) -> bool:
        """Whether this later one is to be kept: its unit was active, or is excited more. Of two that fail alike the
        later is kept, whose number is how often it was tried."""
        mine, theirs = ((t._was_active, not t._misnamed, t.scores.activation) for t in (self, other))
        return mine >= theirs


@dataclass(frozen=True)
class Batch:
    """Pictures that are drawn together: goals of the same layers, at one size, or one goal from a photograph.

    recipe: with the size that it is carried out at. as_it_stands: the recipe is of a record, so that what a restart
    changes is in it. photographs: by role, "image", which the picture starts from or is compared with, and "guide".
    """

    net: Network
    drawn: Drawn
    recipe: Recipe
    sides: Sides
    run: Run
    dtype: torch.dtype
    device: torch.device
    measurers: Measurers
    as_it_stands: bool = False
    photographs: Mapping[str, Photograph] = field(default_factory=dict)

    def pictures(self, attempt: int | None, report: Report) -> list[Picture]:
        """The finished pictures: of one attempt alone, or (None) of the first and, where it fails, of others."""
        began = time.perf_counter()
        found = self.attempts(self.drawn, attempt or 0, partial(report, 0))
        if attempt is None and not self.photographs and not are_frames([goal for goal, _ in self.drawn]):
            self._restart(found, report)  # a frame drawn again alone would not align with the others
        seconds = (time.perf_counter() - began) / len(self.drawn)
        return [
            self._picture(goal, facet, one, seconds)
            for (goal, facet), one in zip(self.drawn, found, strict=True)
        ]

    def _restart(self, found: list[Attempt], report: Report) -> None:
        """Draw what failed again, from other noise; what is better takes its place. What no noise moved is begun from
        louder noise at last."""
        last = len(RESTARTS)
        for number in range(1, last + 1):
            failed = [i for i, one in enumerate(found) if one.failed(self.recipe)]
            for louder in (False, True):
                again = [i for i in failed if (number == last and found[i].unmoved) == louder]
                if not again:
                    continue
                drawn = [self.drawn[i] for i in again]
                others = self.attempts(drawn, number, partial(report, number), louder=louder)
                for i, other in zip(again, others, strict=True):
                    if other.is_kept_over(found[i]):
                        found[i] = other

    @explain_out_of_memory()
    def attempts(
        self, drawn: Drawn, number: int, on_step: LoopStep, *, louder: bool = False
    ) -> list[Attempt]:
        """The pictures that one noise gives, measured."""
        ascent = self.ascent(drawn, number, on_step, louder=louder)
        goals = [goal for goal, _ in drawn]
        images = to_bytes(ascent.pixels, self.recipe.output)
        curves, carried_out, looked = ascent.curves, ascent.carried_out, to_alpha(ascent.transparency)
        bounds, networks = ascent.bounds, ascent.networks
        start = self._start(ascent)
        del ascent  # of a large picture what is measured needs its memory
        # asked only now that the layer's weights are there: their hash must not fetch a file of its own
        measurer = self.measurers.of(goals, self._known, self.recipe.tile if self.photographs else None)
        scores = measurer.scores(images, start)
        best, measured = measurer.natural_best, zip(scores, curves, goals, strict=True)
        parameters = [None] * len(images) if networks is None else list(networks.float().cpu().numpy())
        rows = zip(images, measured, best, carried_out, looked, bounds, parameters, strict=True)
        return [
            Attempt(
                image, curve, score, self._verdict(score, curve, goal, natural, bound), number, len(drawn),
                may_be_dead(goal), done, alpha, bound, weights, louder,
            )
            for image, (score, curve, goal), natural, done, alpha, bound, weights in rows
        ]  # fmt: skip

    def ascent(self, drawn: Drawn, number: int, on_step: LoopStep, *, louder: bool = False) -> Ascent:
        """The ascent of some of the pictures from one noise."""
        # never one view alone: oneDNN rounds a float32 batch of one otherwise than any larger one
        alone = (
            len(drawn) == 1
            and self.recipe.views == 1
            and self.device.type == "cpu"
            and self.dtype == torch.float32
        )
        twice = alone and not self.photographs  # which may be large, and are never drawn with others
        goals, facets = zip(*(list(drawn) * 2 if twice else drawn), strict=True)
        count = len(drawn)
        recipe = self.carried_out(goals[0], number, louder=louder)
        prepared = prepare(
            self.net,
            repeated(goals, recipe),
            dtype=self.dtype,
            device=self.device,
            softmax=recipe.softmax == "keep",
            backward=recipe.backward,
            features=self.net.map_layer(goals[0].layers[-1]) if recipe.facets else None,
        )
        ascent = ascend(
            prepared, goals, recipe, size=self.sides, smallest=smallest_stage(self.net, goals[0], recipe),
            seeds=Seeds(self.run.seed, number, facets), photographs=self._known,
            on_step=of_first(on_step, count) if twice else on_step,
        )  # fmt: skip
        return ascent.first(count)

    def carried_out(self, goal: Objective, number: int, *, louder: bool = False) -> Recipe:
        """The recipe as a goal is drawn with it; all goals of a batch have a place, or none."""
        return self.recipe.carried_out_for(goal, 0 if self.as_it_stands else number, louder=louder)

    @cached_property
    def _known(self) -> dict[str, Tensor]:
        return {role: known.pixels(self.net.input.channels) for role, known in self.photographs.items()}

    def _start(self, ascent: Ascent) -> Tensor | None:
        """What the pictures started from, as it is measured; of a photograph none where they did from noise."""
        if not self.photographs:
            return pixels_of(to_bytes(ascent.start, "values"))
        if self.recipe.start != "photograph":
            return None
        return resized(self._known["image"], self.sides)[None]

    def _verdict(
        self, scores: Scores, curve: list[float], goal: Objective, best: float | None, bound: float
    ) -> Status:
        if self.photographs:  # no failure for exciting a unit less than the best natural image does
            scores, best = replace(scores, excitation=None), None
        above = 0.0 if is_latent(goal) else None
        return verdict(scores, curve, best, may_be_dead=may_be_dead(goal), bound=bound, above=above)

    def _picture(self, goal: Objective, facet: int, found: Attempt, seconds: float) -> Picture:
        net = self.net
        return Picture(
            image=found.image,
            target=goal,
            network=net.name,
            recipe=self.carried_out(goal, found.number, louder=found.louder),
            carried_out=found.carried_out,
            transparency=found.transparency,
            parameters=found.parameters,
            seed=self.run.seed,
            facet=facet,
            scores=found.scores,
            status=found.status,
            curve=found.curve,
            class_name=net.class_name(goal),
            weights_sha256=net.weights.sha256,
            weights_file=net.weights_file,
            precision=str(self.dtype).removeprefix("torch."),
            device=self.device.type,
            batch=found.batch,
            attempt=found.number,
            seconds=seconds,
            photographs={role: known.identity for role, known in self.photographs.items()},
            networks={
                name: {
                    "network": one.name,
                    "weights_sha256": one.weights.sha256,
                    "weights_file": one.weights_file,
                }
                for name, one in net.members.items()
            },
            shown=net.input.as_colours,
        )
