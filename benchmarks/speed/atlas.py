"""What spreading an atlas over Ray costs, and how far it carries.

usage: python benchmarks/atlas.py overhead [--rounds N]   time a chunk with one Ray worker, and without Ray
       python benchmarks/atlas.py driver                  the driver's work for a chunk, with a real Ray and store
       python benchmarks/atlas.py scale [--driver MS]     a million units on 1 to 1,000 simulated workers

`overhead` draws the same layer by turns without Ray and with one worker, both with one thread, and compares what
passes for a chunk beside the drawing itself, which is the same code: handing it out, sending it, writing it. That
share can be told on a machine that is not quiet, on which two times of drawing cannot be compared.
`driver` hands out chunks that cost the workers nothing and return what a real one does, and counts the driver's
processor time for each: where it writes pictures and journals itself (to a disk), and where the workers do (to an
object store).
`scale` runs the scheduler itself (`RayExecutor`) over workers whose clock is simulated: a chunk of four units
takes them 2 s, give or take a third; each costs the driver what `driver` measured, one after the other; a worker
dies every 10,000 chunks and is replaced after 20 s.

What is found is printed, and kept in benchmarks/results/atlas.json.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import result_files
from benchmarks.machine import described
from tests.helpers.fake_ray import DeadError, FakeFuture, FakeMethod, FakeRay

from filterscope.atlas.plan import Chunk, ChunkResult, Plan, PlannedLayer
from filterscope.atlas.run import ray as ray_run
from filterscope.atlas.run.drawer import pack_chunk
from filterscope.atlas.run.executor import ChunkLost
from filterscope.atlas.run.request import AtlasRequest
from filterscope.atlas.run.run import make_atlas
from filterscope.atlas.run.writer import AtlasWriter
from filterscope.atlas.storage.journal import LayerJournal
from filterscope.atlas.storage.rows import Row as PictureRow
from filterscope.atlas.storage.store import open_store
from filterscope.recipe import get_recipe

UNITS, LAYERS, BATCH = 1_000_000, 1_000, 4
SECONDS, SPREAD = 2.0, 0.33  # of a chunk
REPLACED = 20.0  # seconds until another worker is there
LATENCY = 0.002  # seconds from the driver to a worker
WORKERS, DRIVER = "workers write the files (object stores)", "the driver writes the files"
Row = dict[str, Any]


# --- with Ray and without ------------------------------------------------------------------------------------


def overhead(rounds: int) -> list[Row]:
    """Seconds a chunk, with one Ray worker and without Ray, by turns; printed, and what it comes to."""
    import ray
    import torch

    torch.set_num_threads(1)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=256 * 2**20)
    found: dict[str, list[float]] = {"local": [], "ray": []}
    for _ in range(rounds):
        for on, shares in found.items():
            passed, drawing = _a_chunk(on)
            shares.append(passed / drawing - 1)
            print(
                f"{on:6} {passed:.4f} s a chunk, {drawing:.4f} s of it drawing: {shares[-1]:+.2%}", flush=True
            )
    local, spread = (1 + statistics.median(found[on]) for on in ("local", "ray"))
    print(f"one Ray worker takes {spread / local - 1:+.2%} of the time without Ray (medians of {rounds})")
    names = {"local": "without Ray", "ray": "one Ray worker"}
    rows = [
        _row(f"time beside the drawing, {names[on]}", 100 * statistics.median(s), "%", [100 * x for x in s])
        for on, s in found.items()
    ]
    return [*rows, _row("one Ray worker against no Ray", 100 * (spread / local - 1), "%")]


def _row(what: str, value: float, unit: str, every: Sequence[float] = ()) -> Row:
    return {"what": what, "value": value, "unit": unit, "all": list(every)}


def _a_chunk(on: str) -> tuple[float, float]:
    """Seconds a chunk from the second to the last, and how many of these its worker drew."""
    stamps: list[float] = []
    drawing: list[float] = []
    write = AtlasWriter.write

    def stamped(self: AtlasWriter, chunk: Chunk, result: ChunkResult) -> None:
        write(self, chunk, result)
        stamps.append(time.perf_counter())
        drawing.append(result.seconds)

    AtlasWriter.write = stamped  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            request = AtlasRequest(
                ["block3_conv1"], get_recipe(steps=32), on=on, workers=1 if on == "ray" else None
            )
            make_atlas("tiny-vgg16", folder, request, progress=False)
    finally:
        AtlasWriter.write = write  # type: ignore[method-assign]
    count = len(stamps) - 2
    return (stamps[-1] - stamps[1]) / count, sum(drawing[2:]) / count


# --- the driver's work ---------------------------------------------------------------------------------------


class Idle:
    """A worker that returns at once what a real one does: four pictures of 128 px and their rows."""

    def __init__(self, units: int, returns: bool):
        self.returns = returns
        rng = np.random.default_rng(0)
        self.data = [rng.bytes(36_000) for _ in range(BATCH)]
        self.row = {
            "facet": 0, "class_name": None, "status": "ok", "reason": None, "activation": 1.0, "excitation": 2.0,
            "probability": None, "start": 0.1, "attempt": 0, "seconds": 0.5, "seed": 0, "recipe": "sharp",
            "curve": [1.2345] * 128, "response": "A" * (units * 4 * 4 // 3), "bytes": 36_000,
        }  # fmt: skip

    def ready(self) -> int:
        return 0

    def draw(self, chunk: Chunk) -> ChunkResult:
        names = [f"{chunk.folder}/{chunk.folder}-{unit:04d}.png" for unit in chunk.units]
        rows = [PictureRow(unit=unit, file=n, **self.row) for unit, n in zip(chunk.units, names, strict=True)]
        result = pack_chunk(chunk, rows, dict(zip(names, self.data, strict=True)))
        return result if self.returns else ChunkResult(result.rows)


def driver(chunks: int = 2_000) -> list[Row]:
    """Milliseconds that the driver is busy with a chunk, for both ways of writing; printed too."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=256 * 2**20)
    used = {who: _driver(ray, chunks, who == DRIVER) for who in (WORKERS, DRIVER)}
    ray.shutdown()
    return [_row(f"the driver's processor time a chunk, {who}", spent, "ms") for who, spent in used.items()]


def _write(journal: LayerJournal, chunk: Chunk, result: ChunkResult | ChunkLost) -> None:
    assert isinstance(result, ChunkResult), "no worker dies here"
    journal.write(chunk, result)


def _driver(ray: Any, chunks: int, returns: bool) -> float:
    actor = ray.remote(num_cpus=1)(Idle)
    layer = PlannedLayer("layer", "layer", chunks * BATCH, 128, BATCH)
    executor = ray_run.RayExecutor(ray, lambda: actor.remote(1000, returns), 2, print)
    with tempfile.TemporaryDirectory() as folder:
        journal = LayerJournal(open_store(folder), "network", "layer")
        results = executor.draw(Plan((layer,), 0).chunks())
        for _ in range(100):  # whatever only the first cost
            _write(journal, *next(results))
        begun, own, used = time.perf_counter(), time.thread_time(), time.process_time()
        for chunk, result in results:
            _write(journal, chunk, result)
        wall, own, used = time.perf_counter() - begun, time.thread_time() - own, time.process_time() - used
    executor.close()
    each, who = 1e3 / (chunks - 100), DRIVER if returns else WORKERS
    print(
        f"{who}: a chunk takes {own * each:.2f} ms of its main thread's processor time, {used * each:.2f} ms with all "
        f"its threads ({wall * each:.2f} ms passed)",
        flush=True,
    )
    return used * each


# --- a million units -----------------------------------------------------------------------------------------


class Clock:
    """Simulated time: events in their order, and a driver that does one thing after another."""

    def __init__(self, work: float, seed: int = 0):
        self.now = 0.0
        self.work = work
        self.spent = 0.0
        self.deaths = 0
        self.rng = random.Random(seed)
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, when: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), then))

    def step(self) -> None:
        """The next thing happens; the driver turns to it when it is free."""
        when, _, then = heapq.heappop(self._events)
        self.now = max(self.now, when)
        then()


class FakeActor:
    """Draws one chunk after the other, on the simulated clock."""

    def __init__(self, clock: Clock, begin: float):
        self.clock = clock
        self.free = clock.now + begin
        self.dead = False
        self.waiting: list[FakeFuture] = []

    @property
    def ready(self) -> Any:
        return FakeMethod(lambda: self._later(self.free, 0.0))

    @property
    def draw(self) -> Any:
        return FakeMethod(self._draw)

    def _draw(self, _: Chunk) -> FakeFuture:
        seconds = SECONDS * max(0.1, self.clock.rng.gauss(1, SPREAD))
        self.free = max(self.clock.now + LATENCY, self.free) + seconds
        return self._later(self.free, seconds)

    def _later(self, when: float, seconds: float) -> FakeFuture:
        future = FakeFuture()
        self.waiting.append(future)
        dies = seconds and self.clock.rng.random() < 1e-4

        def done() -> None:
            if self.dead:
                return
            self.waiting.remove(future)
            if dies:
                self.dead = True
                self.clock.deaths += 1
                for lost in [future, *self.waiting]:
                    lost.settle(None, DeadError("killed"))
            else:
                self.clock.spent += seconds
                future.settle(ChunkResult([]))

        self.clock.at(when, done)
        return future


class Simulated(ray_run.RayExecutor):
    """The real executor over fake actors: instead of waiting, it lets the clock run on."""

    def __init__(self, clock: Clock, workers: int):
        self.clock = clock
        self.first = True
        super().__init__(FakeRay, lambda: FakeActor(clock, 0.0 if self.first else REPLACED), workers, print)
        self.first = False

    def _next_event(self) -> Any:
        while self._events.empty():
            self.clock.step()
        self.clock.now += self.clock.work
        return self._events.get()


def scale(work: float) -> list[Row]:
    """Print how efficiently 1 to 1,000 workers draw a million units."""
    plan = Plan(tuple(PlannedLayer(f"l{i}", f"l{i}", UNITS // LAYERS, 128, BATCH) for i in range(LAYERS)), 0)
    print(
        f"{plan.units:,} units, {SECONDS:g} s a chunk of {BATCH}, {work * 1e3:.2f} ms of the driver's time each"
    )
    rows = []
    for workers in (1, 10, 100, 300, 1_000):
        clock = Clock(work)
        begun, done = time.perf_counter(), 0
        for _ in _all(plan, clock, workers):
            done += 1
        assert done == UNITS // BATCH
        efficiency = clock.spent / (workers * clock.now)
        print(
            f"{workers:5} workers: {clock.now / 3600:7.2f} h, efficiency {efficiency:6.1%}, {clock.deaths} workers died; "
            f"the scheduler took {(time.perf_counter() - begun) / done * 1e6:.0f} us a chunk",
            flush=True,
        )
        what = f"efficiency, {workers:,} workers, {work * 1e3:.2f} ms of the driver's time a chunk"
        rows.append(_row(what, 100 * efficiency, "%"))
    return rows


def _all(plan: Plan, clock: Clock, workers: int) -> Iterator[tuple[Chunk, Any]]:
    return Simulated(clock, workers).draw(plan.chunks())


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["overhead", "driver", "scale"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--driver", type=float, help="milliseconds of the driver's time a chunk [measured]")
    parser.add_argument("--results", type=Path, default=result_files.FOLDER, help="where results are kept")
    asked = parser.parse_args()
    if asked.what == "overhead":
        rows = overhead(asked.rounds)
    elif asked.what == "driver":
        rows = driver()
    else:
        busy = [row["value"] for row in driver()] if asked.driver is None else [asked.driver]
        rows = [row for spent in busy for row in scale(spent / 1e3)]
    result_files.keep("atlas", {asked.what: {"rows": rows}}, machine=described(), folder=asked.results)
