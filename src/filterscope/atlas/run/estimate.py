"""How long an atlas will take: a short trial of a few layers before it starts, the finished chunks once it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from filterscope.atlas.plan import Chunk, PlannedLayer
from filterscope.recipe import Recipe
from filterscope.sides import sides_of

MAX_TRIAL_SECONDS = 10.0  # a trial ends after the layer that reaches this
MAX_TRIAL_LAYERS = 5
TRIAL_STEPS = (2, 6)  # their difference is the cost of four steps, without what a chunk costs once


@dataclass
class Estimate:
    """Seconds a picture of each layer takes, as guessed from a trial (empty where there was none) and put right
    by what is finished."""

    guess: Mapping[str, float]
    workers: int = 1
    spent: float = field(default=0.0, repr=False)
    guessed: float = field(default=0.0, repr=False)
    pictures: int = field(default=0, repr=False)

    def seconds(self, pictures: Mapping[str, int]) -> float:
        """How long these pictures of each layer will take."""
        if not self.guess:  # no trial: all pictures take as long as the finished ones
            return sum(pictures.values()) * self.spent / max(1, self.pictures) / self.workers
        rest = sum(self.guess.get(layer, 0.0) * count for layer, count in pictures.items())
        return rest * self.correction / self.workers

    @property
    def correction(self) -> float:
        """How far the finished chunks took longer than guessed; the trial weighs as much as a minute of them."""
        return (self.spent + 60) / (self.guessed + 60) if self.guessed else 1.0

    def learn(self, layer: str, pictures: int, seconds: float) -> None:
        """A chunk of the layer took so long."""
        self.pictures += pictures
        self.spent += seconds
        self.guessed += self.guess.get(layer, 0.0) * pictures


def measure(
    layers: Sequence[PlannedLayer],
    recipes: Mapping[str, Recipe],
    trial: Callable[[Chunk, int], float],
    *,
    limit: float = MAX_TRIAL_SECONDS,
) -> tuple[Estimate, str]:
    """An estimate from short trials of a few layers, and what it rests on, for a person.

    recipes: by layer. trial: draws a chunk for so many steps and returns the seconds it took. Layers in between are
    interpolated by their place among those of their recipe and their pictures' area; one layer of each recipe is tried
    at least.
    """
    begun = time.monotonic()
    if layers:
        trial(layers[0].chunk(0, seed=0), 1)  # what only the very first chunk costs
    groups = [[layer for layer in layers if recipes[layer.name] == own] for own in _each(layers, recipes)]
    costs: list[dict[int, float]] = [{} for _ in groups]
    for turn in range(MAX_TRIAL_LAYERS):
        for group, known in zip(groups, costs, strict=True):
            places = _spread(len(group), MAX_TRIAL_LAYERS // len(groups) or 1)
            late = time.monotonic() - begun > limit
            if turn < len(places) and not (late and known):
                known[places[turn]] = _of_a_pixel(group[places[turn]], recipes, trial)
    guess = {
        layer.name: _between(known, i) * prod(sides_of(layer.size))
        for group, known in zip(groups, costs, strict=True)
        for i, layer in enumerate(group)
    }
    most = max((recipes[layer.name].steps for layer in layers), default=0)
    tried = sum(map(len, costs))
    return Estimate(
        guess
    ), f"a trial of {min(most, sum(TRIAL_STEPS))} steps on {tried} of {len(layers)} layers"


def name_dearest(
    estimate: Estimate, pictures: Mapping[str, int], recipes: Mapping[str, Recipe], *, share: float = 0.5
) -> str:
    """Which recipe takes most of the time, where there are several and one of them takes more than a share of it."""
    spent: dict[str, float] = {}
    for layer, count in pictures.items():
        name = recipes[layer].name
        spent[name] = spent.get(name, 0.0) + estimate.guess.get(layer, 0.0) * count
    name = max(spent, key=spent.__getitem__, default="")
    part = spent.get(name, 0.0) / (sum(spent.values()) or 1)
    if len(spent) < 2 or part < share:
        return ""
    of = [layer for layer, count in pictures.items() if count and recipes[layer].name == name]
    return f"; {part:.0%} of it for {len(of)} of {len(pictures)} layers, which {name} suits"


def _each(layers: Sequence[PlannedLayer], recipes: Mapping[str, Recipe]) -> list[Recipe]:
    """The recipes that the layers have, each once."""
    found: list[Recipe] = []
    for layer in layers:
        if recipes[layer.name] not in found:
            found.append(recipes[layer.name])
    return found


def _of_a_pixel(
    layer: PlannedLayer, recipes: Mapping[str, Recipe], trial: Callable[[Chunk, int], float]
) -> float:
    """The seconds that a picture of a layer takes, for each of its pixels."""
    chunk = layer.chunk(0, seed=0)
    seconds = _cost(chunk, recipes[layer.name].steps, trial)
    return seconds / len(chunk.units) / prod(sides_of(layer.size))


def _cost(chunk: Chunk, steps: int, trial: Callable[[Chunk, int], float]) -> float:
    """The seconds of a whole chunk."""
    if steps <= sum(TRIAL_STEPS):
        return trial(chunk, steps)
    few, more = (trial(chunk, count) for count in TRIAL_STEPS)
    a_step = max(more - few, 0.05 * more) / (TRIAL_STEPS[1] - TRIAL_STEPS[0])
    return max(0.0, few - TRIAL_STEPS[0] * a_step) + steps * a_step


def _spread(count: int, some: int) -> list[int]:
    """Places from all over, the middle first, so that a trial cut short has drawn the most typical layer."""
    if count <= some:
        places = list(range(count))
    else:
        places = sorted({round(i * (count - 1) / (some - 1)) for i in range(some)})
    middle = places[len(places) // 2]
    return [middle, *(p for p in reversed(places) if p != middle)]


def _between(known: Mapping[int, float], place: int) -> float:
    before = max((p for p in known if p <= place), default=None)
    after = min((p for p in known if p >= place), default=None)
    if before is None or after is None:
        return known[after if before is None else before]  # type: ignore[index]
    if before == after:
        return known[before]
    share = (place - before) / (after - before)
    return known[before] * (1 - share) + known[after] * share


def format_duration(seconds: float) -> str:
    """A duration for a person.

    >>> [format_duration(s) for s in (4, 95, 4000, 200_000)]
    ['4 s', '2 min', '1.1 h', '2.3 days']
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86400 else f"{seconds / 86400:.1f} days"
