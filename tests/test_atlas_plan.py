"""plan, schedule, estimate: chunks of a million units, nothing lost, nothing twice, three deaths and given up."""

import random
import tracemalloc
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterscope.atlas.plan import Chunk, Plan, PlannedLayer, differences, folder_names, retry_chunks
from filterscope.atlas.run.estimate import Estimate, measure, spoken
from filterscope.atlas.run.schedule import Alone, Drawn, Outcome, schedule

layers = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=5).map(
    lambda rows: tuple(PlannedLayer(f"l{i}", f"l{i}", u, 64, b) for i, (u, b) in enumerate(rows))
)


@given(layers)
def test_every_unit_once(some):
    """The chunks hold every unit of every layer once, in order, no more than a batch each."""
    chunks = list(Plan(some, seed=3).chunks())
    found = [(chunk.layer, unit) for chunk in chunks for unit in chunk.units]
    assert found == [(layer.name, unit) for layer in some for unit in range(layer.units)]
    assert all(len(chunk.units) <= next(x.batch for x in some if x.name == chunk.layer) for chunk in chunks)
    assert len({chunk.journal for chunk in chunks}) == len(chunks) == sum(layer.chunks for layer in some)


@given(layers, st.randoms(use_true_random=False))
def test_a_chunk_does_not_depend_on_what_is_done(some, rng: random.Random):
    """What is left is a subset of the whole plan: the same chunks, whatever was finished before."""
    plan = Plan(some, seed=0)
    done = {layer.name: {n for n in range(layer.chunks) if rng.random() < 0.5} for layer in some}
    rest = list(plan.chunks(lambda layer: done[layer.name]))
    assert rest == [chunk for chunk in plan.chunks() if chunk.number not in done[chunk.layer]]


def test_a_million_units_are_counted_not_listed():
    """The first chunks of a million units come at once and cost no memory."""
    plan = Plan(tuple(PlannedLayer(f"l{i}", f"l{i}", 1000, 128, 4) for i in range(1000)), seed=0)
    assert plan.units == 1_000_000
    assert sum(layer.chunks for layer in plan.layers) == 250_000
    tracemalloc.start()
    assert sum(1 for _ in islice(plan.chunks(), 20_000)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_retry_chunks_have_one_seed_each():
    """Failed units keep their seed, dead ones have another: they are not drawn in one chunk."""
    layer = PlannedLayer("a", "a", 50, 64, 2)
    chunks = list(retry_chunks(layer, [(1, 0), (5, 1), (7, 0), (9, 0), (30, 1)], turn=2))
    assert [(c.number, c.units, c.seed) for c in chunks] == [(0, (1, 7), 0), (1, (9,), 0), (2, (5, 30), 1)]
    assert chunks[0].journal == "a/retry-002-000000.json"


def test_folder_names_never_fall_together():
    """Names that differ by separators or case alone get folders of their own; none is hidden or leaves its place."""
    names = ["a/b", "a.b", "A.b", "..", "../x", "", "a b"]
    folders = folder_names(names)
    assert len({f.casefold() for f in folders.values()}) == len(names)
    assert not any(f.startswith(".") or "/" in f for f in folders.values())


def test_differences():
    """Each key that differs, with both values; equal settings give nothing."""
    told = {"seed": 0, "recipe": {"steps": 9, "stages": [{"scale": 1}]}}
    assert differences(told, told) == []
    asked = {"seed": 0, "recipe": {"steps": 8, "stages": [{"scale": 0.5}], "new": 1}}
    assert differences(told, asked) == [
        "recipe.steps is 9 there and 8 here",
        "recipe.stages.0.scale is 1 there and 0.5 here",
        "recipe.new is not set there and 1 here",
    ]


# --- handing out ---------------------------------------------------------------------------------------------


class Mortal:
    """A crew of some hands; chunks come back in any order, and some kill the hand that draws them."""

    def __init__(self, rng: random.Random, hands: int, poison: set[int], late: int = 0):
        self.rng, self.hands, self.poison, self.late = rng, hands, poison, late
        self.out: list[Chunk] = []
        self.most = 0

    def room(self) -> bool:
        return not self.late and len(self.out) < self.hands

    def hand(self, chunk: Chunk) -> None:
        assert self.room()
        self.out.append(chunk)
        self.most = max(self.most, len(self.out))

    def wait(self) -> Outcome | None:
        if self.late:
            self.late -= 1
            return None
        chunk = self.out.pop(self.rng.randrange(len(self.out)))
        guilty = chunk.number in self.poison
        if guilty or self.rng.random() < 0.2:
            return Outcome(chunk, None, guilty=guilty, reason="killed")
        return Outcome(chunk, Drawn([{"unit": unit} for unit in chunk.units]))


@given(
    st.integers(0, 40),
    st.integers(1, 9),
    st.sets(st.integers(0, 40), max_size=3),
    st.integers(0, 3),
    st.randoms(),
)
def test_schedule_loses_nothing(units, hands, poison, late, rng):
    """Every chunk comes out once, however many hands die; one that kills three is given up, the innocent never;
    hands that are late are waited for."""
    layer = PlannedLayer("a", "a", units, 64, 1)
    crew = Mortal(random.Random(rng.random()), hands, poison, late)
    chunks = (layer.chunk(n, seed=0) for n in range(layer.chunks))
    lost: list[int] = []

    def give_up(chunk: Chunk, reason: str) -> Drawn:
        assert "3 times" in reason
        lost.append(chunk.number)
        return Drawn([])

    done = [chunk.number for chunk, _ in schedule(chunks, crew, give_up)]
    assert sorted(done) == list(range(units))
    assert sorted(lost) == sorted(poison & set(range(units)))
    assert crew.most <= hands


def test_schedule_is_lazy():
    """No more chunks are asked for than there is room, and no result is held."""
    asked = []

    def endless():
        for number in range(10**9):
            asked.append(number)
            yield Chunk("a", "a", number, (number,), 0)

    results = schedule(endless(), Alone(lambda chunk: Drawn([])), lambda c, r: Drawn([]))
    assert [chunk.number for chunk, _ in islice(results, 3)] == [0, 1, 2]
    assert len(asked) <= 4


# --- how long ------------------------------------------------------------------------------------------------


def test_estimate_finds_what_chunks_cost():
    """Where a chunk costs 2 s once and 0.1 s a step and picture, doubling from layer to layer, a trial says so."""
    some = [PlannedLayer(f"l{i}", f"l{i}", 40, 64, 4) for i in range(3)]

    def trial(chunk: Chunk, steps: int) -> float:
        return 2 + 0.1 * 2 ** int(chunk.layer[1]) * steps * len(chunk.units)

    estimate, basis = measure(some, 100, trial)
    assert basis == "a trial of 8 steps on 3 of 3 layers"
    for i in range(3):
        assert estimate.seconds({f"l{i}": 8}) == pytest.approx(8 * (2 / 4 + 0.1 * 2**i * 100))
    estimate.workers = 4
    assert estimate.seconds({"l0": 8}) == pytest.approx(8 * 10.5 / 4)


def test_estimate_interpolates_and_stops_in_time():
    """A trial that takes long is cut short after its first layer; the others are guessed by their area."""
    some = [PlannedLayer(f"l{i}", f"l{i}", 40, 64 * (1 + i % 2), 4) for i in range(9)]
    tried = []

    def trial(chunk: Chunk, steps: int) -> float:
        tried.append(chunk.layer)
        return 1.0 * steps

    estimate, basis = measure(some, 10, trial, limit=-1.0)
    assert basis.endswith("on 1 of 9 layers")
    assert set(tried) == {"l0", "l4"}  # one to warm up
    assert estimate.guess["l1"] == pytest.approx(4 * estimate.guess["l0"])


def test_estimate_learns():
    """Finished chunks that took twice as long as guessed double what is left, in the end."""
    estimate = Estimate({"a": 1.0})
    assert estimate.seconds({"a": 10}) == 10
    estimate.learn("a", 10_000, 20_000.0)
    assert estimate.seconds({"a": 10}) == pytest.approx(20, rel=0.01)
    untried = Estimate({})
    untried.learn("a", 4, 8.0)
    assert untried.seconds({"a": 10}) == 20


def test_spoken():
    """Durations as a person says them."""
    assert [spoken(s) for s in (0.2, 59, 61, 7200, 100_000)] == ["1 s", "59 s", "1 min", "2.0 h", "1.2 days"]
