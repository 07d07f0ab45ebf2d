"""RayExecutor over actors that die: nothing lost, nothing twice, three deaths and a chunk is given up."""

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.fake_ray import DeadError, FakeFuture, FakeMethod, FakeRay

from filterscope.atlas.plan import Chunk, ChunkResult, ChunkRow, PlannedLayer
from filterscope.atlas.run.executor import ChunkLost, LocalExecutor
from filterscope.atlas.run.ray import MAX_FAILED_STARTS, RayExecutor
from filterscope.errors import WorkError

DEADLY, LOST = 2, 0.2  # deaths over any chunk that are left to chance; how likely they are


class Cluster:
    """Actors whose calls end in any order; some chunks kill the actor that draws them, others do so by chance."""

    def __init__(self, rng: random.Random, deadly: set[int]):
        self.rng, self.deadly = rng, deadly
        self.running: list[tuple[FakeFuture, Chunk | None]] = []
        self.deaths: dict[int, int] = {}
        self.most = 0

    def start(self) -> "Actor":
        return Actor(self)

    def call(self, chunk: Chunk | None = None) -> FakeFuture:
        future = FakeFuture()
        self.running.append((future, chunk))
        self.most = max(self.most, sum(own is not None for _, own in self.running))
        return future

    def step(self) -> None:
        """One of the calls ends."""
        future, chunk = self.running.pop(self.rng.randrange(len(self.running)))
        if chunk is None:
            future.settle(1)
            return
        by_chance = self.deaths.get(chunk.number, 0) < DEADLY and self.rng.random() < LOST
        if chunk.number in self.deadly or by_chance:
            self.deaths[chunk.number] = self.deaths.get(chunk.number, 0) + 1
            future.settle(None, DeadError("killed"))
        else:
            future.settle(ChunkResult([ChunkRow(unit, 0, "ok") for unit in chunk.units]))


class Actor:
    def __init__(self, cluster: Cluster):
        self.ready = FakeMethod(cluster.call)
        self.draw = FakeMethod(cluster.call)


class Stepping(RayExecutor):
    """Instead of waiting, it lets a call end."""

    def __init__(self, cluster: Cluster, workers: int):
        self.cluster = cluster
        super().__init__(FakeRay, cluster.start, workers, print)

    def _next_event(self):
        while self._events.empty():
            self.cluster.step()
        return super()._next_event()


def chunks(units: int) -> list[Chunk]:
    layer = PlannedLayer("a", "a", units, 64, 1)
    return [layer.chunk(n, seed=0) for n in range(layer.chunks)]


@given(
    st.integers(0, 40), st.integers(1, 9), st.sets(st.integers(0, 40), max_size=3), st.randoms(use_true_random=False)
)  # fmt: skip
def test_nothing_is_lost(units, workers, deadly, rng):
    """Every chunk comes out once, however many workers die; one that kills three is given up, others never; no worker has
    two at a time."""
    cluster = Cluster(rng, deadly)
    found = list(Stepping(cluster, workers).draw(chunks(units)))
    assert sorted(chunk.number for chunk, _ in found) == list(range(units))
    lost = {chunk.number for chunk, result in found if isinstance(result, ChunkLost)}
    assert lost == deadly & set(range(units))
    assert all(
        "its worker died 3 times" in result.reason for _, result in found if isinstance(result, ChunkLost)
    )
    assert cluster.most <= workers


def test_the_next_chunk_is_drawn_while_one_is_written():
    """Whoever takes a result finds every worker at work on another chunk already."""
    cluster = Cluster(random.Random(0), set())
    cluster.rng.random = lambda: 1.0  # nobody dies
    for count, _ in enumerate(Stepping(cluster, 3).draw(chunks(20)), start=1):
        assert len(cluster.running) == min(3, 20 - count)


def test_workers_that_never_start():
    """Three in a row that die before they are ready end the run."""
    cluster = Cluster(random.Random(0), set())
    failing = Stepping(cluster, 2)
    cluster.step = lambda: cluster.running.pop()[0].settle(None, DeadError("no such file"))
    with pytest.raises(WorkError, match="die as soon as they start: no such file"):
        list(failing.draw(chunks(4)))
    assert len(failing._actors) + MAX_FAILED_STARTS - 1 <= 2 + MAX_FAILED_STARTS


def test_chunks_are_asked_for_when_they_can_be_drawn():
    """No more than there is room for, in this process and on Ray; no result is held."""
    asked = []

    def endless():
        for number in range(10**9):
            asked.append(number)
            yield Chunk("a", "a", number, (number,), 0)

    class Drawer:
        trial = None

        def draw(self, chunk):
            return ChunkResult([])

    for executor, most in (
        (LocalExecutor(Drawer()), 3),
        (Stepping(Cluster(random.Random(0), set()), 2), 3 + 2 * 3),
    ):
        asked.clear()
        assert len(list(islice(executor.draw(endless()), 3))) == 3
        assert len(asked) <= most
