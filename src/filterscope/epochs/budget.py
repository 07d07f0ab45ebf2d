"""How many steps of an ascent fit into the time that a training may spend on pictures."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from filterscope.drawing.choice import recipe_for
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given, Run
from filterscope.errors import ArgumentError
from filterscope.networks.network import Network
from filterscope.objective import Objective
from filterscope.progress import Step
from filterscope.recipe import AutoRecipe, Recipe, ask_recipe

TRIAL = 4  # steps of the trial drawing: the first one also prepares the network, the others are timed
LEAST = 8  # steps that are always drawn, however small the budget is
RESERVE = 0.9  # of the budget: the rest is for the page
WRITING = 0.15  # seconds for the picture and the animation of a unit: what 48 frames of 128 px take to encode


@dataclass(frozen=True)
class Budget:
    """What a turn may take: `seconds`, or a `share` of the time that the training itself took since the turn before.

    ArgumentError for both at once, for no time at all and for more than all of it.
    """

    seconds: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and self.share is not None:
            raise ArgumentError(
                f"a budget is seconds or a share of the epoch, not both (got {self.seconds} and {self.share})"
            )
        for name, value in (("seconds", self.seconds), ("share", self.share)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < float("inf")):
                raise ArgumentError(f"{name} is a number above 0 (got {value!r})")

    def __bool__(self) -> bool:
        return self.seconds is not None or self.share is not None

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.seconds:g} s a turn"
        return "none" if self.share is None else f"{self.share:.3g} of the training's own time"

    def seconds_for(self, between: float | None) -> float | None:
        """The seconds of a turn, when the training took `between` seconds since the last one; None where that is needed
        and not known."""
        if self.share is None:
            return self.seconds
        return None if between is None else self.share * between


@dataclass(frozen=True)
class Cost:
    """What drawing takes: seconds for each step of all pictures, and seconds beside them."""

    step: float
    fixed: float

    def steps_within(self, seconds: float) -> int:
        """As many steps as fit, `LEAST` at least.

        >>> Cost(step=0.01, fixed=0.5).steps_within(2.0)
        130
        """
        return max(LEAST, int((RESERVE * seconds - self.fixed) / max(self.step, 1e-9)))


@dataclass
class Stopwatch:
    """Notes when each step of each batch ended."""

    ended: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, step: Step) -> None:
        self.ended[step.first].append(time.perf_counter())

    def seconds_a_step(self) -> float:
        """Of all batches together, without each one's first step, which prepares the network."""
        spans = [[b - a for a, b in pairwise(t)] for t in self.ended.values()]
        return sum(median(some) for some in spans if some)


def measure_cost(net: Network, goals: Sequence[Objective], recipe: Recipe | AutoRecipe, run: Run) -> Cost:
    """What drawing the goals takes on this machine, by a trial of `TRIAL` steps."""
    watch, began = Stopwatch(), time.perf_counter()
    list(draw(net, goals, with_steps(recipe, TRIAL), run, given=Given(attempt=0), on_step=watch))
    each = watch.seconds_a_step()
    rest = max(0.0, time.perf_counter() - began - TRIAL * each)
    return Cost(each, rest + WRITING * len(goals))


def own_steps(net: Network, goals: Sequence[Objective], recipe: Recipe | AutoRecipe) -> int:
    """The steps of the recipe; of several recipes, which `auto` may choose, the most."""
    return max(recipe_for(net, goal, recipe).steps for goal in goals)


def with_steps(recipe: Recipe | AutoRecipe, steps: int) -> Recipe | AutoRecipe:
    """The same recipe of so many steps."""
    if isinstance(recipe, AutoRecipe):
        return ask_recipe(settings={**recipe.changes, "steps": steps})
    return recipe.changed({"steps": steps})
