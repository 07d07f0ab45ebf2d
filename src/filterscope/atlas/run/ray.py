"""Drawing an atlas on Ray: workers that hold the network once each and draw a chunk at a time.

A worker that dies costs the chunk it was drawing: another takes its place, and the chunk is drawn again, by whichever
worker is free. What comes back is taken in by callbacks, one small piece of work a chunk, however many workers there are.

Ray's own restarts and `ray.util.ActorPool` are not used: a task that Ray retries stays with its actor, so that a machine
that is lost would keep its chunk; a worker that dies as it starts is restarted without end; and where a task fails
the pool does not name the task.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from filterscope.atlas.plan import LOST, Chunk, ChunkResult
from filterscope.atlas.run.executor import ChunkLost
from filterscope.atlas.run.worker import Worker, WorkerSetup
from filterscope.errors import ArgumentError, WorkError, last_line

MAX_DEATHS = 3  # workers that may die over a chunk before its units are given up
MAX_FAILED_STARTS = 3  # workers in a row that may die before they drew anything
MAX_CLUSTER_STARTS = 3  # times that a cluster of its own is started, on a machine too busy to do it in time
WAITING_SECONDS = 60.0  # without any worker, after which a message is logged
WORKER_BYTES = 1_500_000_000  # of memory, that a worker on processors asks Ray for
EXTRA = "pip install 'filterscope[ray]'"

OnMessage = Callable[[str], object]


@dataclass(frozen=True)
class _Event:
    """A call of an actor that has ended; chunk is None where it was the first, that it is ready."""

    actor: Any
    chunk: Chunk | None
    value: Any
    error: Any


class RayExecutor:
    """Draws chunks on Ray actors. `start_actor` starts one more."""

    def __init__(self, ray: Any, start_actor: Callable[[], Any], workers: int, on_message: OnMessage):
        self.workers = workers
        self._ray = ray
        self._start_actor = start_actor
        self._on_message = on_message
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._actors: set[Any] = set()
        self._idle: deque[Any] = deque()  # those that are ready and draw nothing
        self._ready = 0
        self._failed_starts = 0
        for _ in range(workers):
            self._start()

    def draw(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, ChunkResult | ChunkLost]]:
        """Every chunk with what came of it, as they are finished. One whose worker died is drawn again, and given up when
        three have died over it."""
        waiting, again = iter(chunks), deque[Chunk]()
        deaths: Counter[Chunk] = Counter()
        running, more = 0, True
        done: tuple[Chunk, ChunkResult | ChunkLost] | None = None
        while True:
            while self._idle and more:
                chunk = again.popleft() if again else next(waiting, None)
                more = chunk is not None
                if chunk is not None:
                    self._call(self._idle.popleft(), "draw", chunk)
                    running += 1
            if done is not None:
                yield done  # written while the next chunks are drawn
            if not running and not more:
                return
            chunk, result = self._wait()
            done = None
            if chunk is None:
                continue
            running -= 1
            if isinstance(result, ChunkLost):
                deaths[chunk] += 1
                if deaths[chunk] < MAX_DEATHS:
                    again.append(chunk)
                    more = True
                    continue
                result = ChunkLost(f"{LOST} {MAX_DEATHS} times while it was drawn: {result.reason}")
            done = chunk, result

    def trial(self, chunk: Chunk, steps: int) -> float:
        """A trial on one worker; 0 where it dies over it."""
        while not self._idle:
            self._wait()
        actor = self._idle[0]
        try:
            return float(self._ray.get(actor.trial.remote(chunk, steps)))
        except _death_errors(self._ray) as error:
            self._idle.popleft()
            self._replace(_Event(actor, chunk, None, error))
            return 0.0

    def close(self) -> None:
        """End all workers."""
        for actor in self._actors:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)

    def _start(self) -> None:
        actor = self._start_actor()
        self._actors.add(actor)
        self._call(actor, "ready", None)

    def _call(self, actor: Any, method: str, chunk: Chunk | None) -> None:
        """Call an actor's method; its end is put with the events."""

        def put(future: Any) -> None:
            error = future.exception()
            self._events.put(_Event(actor, chunk, None if error else future.result(), error))

        call = getattr(actor, method).remote
        (call() if chunk is None else call(chunk)).future().add_done_callback(put)

    def _wait(self) -> tuple[Chunk | None, ChunkResult | ChunkLost]:
        """The next call that ends: a chunk with what came of it; no chunk where a worker has become ready."""
        event = self._next_event()
        if event.error is not None:
            return event.chunk, ChunkLost(self._replace(event))
        self._idle.append(event.actor)
        if event.chunk is None:
            self._ready += 1
        else:
            self._failed_starts = 0
        return event.chunk, event.value

    def _next_event(self) -> _Event:
        while True:
            try:
                return self._events.get(timeout=WAITING_SECONDS)
            except queue.Empty:
                if not self._ready:
                    resources = self._ray.available_resources()
                    self._on_message(f"still waiting for a worker: Ray has {resources} available")

    def _replace(self, event: _Event) -> str:
        """Start another worker in place of one that died, and why it died; WorkError where its code raised an error or none
        can be started."""
        error, cause = event.error, getattr(event.error, "cause", None)
        reason = _reason(error)
        if not isinstance(error, _death_errors(self._ray)):
            raise (
                cause if isinstance(cause, WorkError) else WorkError(f"a worker failed: {reason}")
            ) from error
        with contextlib.suppress(Exception):
            self._ray.kill(event.actor)  # which may be out of reach alone
        self._actors.discard(event.actor)
        if event.chunk is None:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS:
                raise WorkError(f"Ray's workers die as soon as they start: {reason}") from error
        else:
            self._ready -= 1
        self._start()
        return reason if _is_memory(error) else " ".join(str(error).split())[:200]


def _death_errors(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises where a worker or its machine has gone, or was short of memory, whatever used that up."""
    e = ray.exceptions
    return e.RayActorError, e.OutOfMemoryError, e.WorkerCrashedError, e.NodeDiedError, e.ObjectLostError


def _is_memory(error: Any) -> bool:
    return type(error).__name__ == "OutOfMemoryError"


def _reason(error: Any) -> str:
    """Why a worker died, in a line: Ray's errors end with it."""
    if _is_memory(error):
        return "its machine was short of memory, and Ray ended the worker"
    return last_line(error)


def import_ray() -> Any:
    """Ray, or ArgumentError that names the extra."""
    try:
        import ray
    except ImportError:
        raise ArgumentError(f"on='ray' needs Ray: {EXTRA}") from None
    return ray


@contextlib.contextmanager
def open_cluster(address: str | None) -> Iterator[Any]:
    """Ray, joined to the cluster at `address` or with one of its own on this machine; left as it was found."""
    ray = import_ray()
    ours = not ray.is_initialized()
    if ours:
        connect(ray, address)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def choose_cluster_precision(ray: Any) -> str:
    """What "auto" is on the cluster: its processors or GPUs are asked, not the driver's."""
    gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
    return str(ray.get(ray.remote(num_cpus=1, num_gpus=gpus)(_worker_precision).remote(bool(gpus))))


def _worker_precision(gpu: bool) -> str:
    from filterscope.ascent.engine.prepare import choose_device, choose_precision

    return str(choose_precision("auto", choose_device("cuda" if gpu else "cpu"))).removeprefix("torch.")


@contextlib.contextmanager
def start_workers(
    ray: Any, setup: WorkerSetup, *, workers: int | None, on_message: OnMessage
) -> Iterator[RayExecutor]:
    """Workers with that setup. One has a GPU where the cluster has any, else its share of the processors, and as many
    threads."""
    resources = ray.cluster_resources()
    count, processors, gpus = divide_resources(resources, workers)
    options: dict[str, Any] = {"num_cpus": processors, "max_restarts": 0, "max_concurrency": 1}
    if gpus:
        options["num_gpus"] = 1
    elif "memory" in resources:
        options["memory"] = int(min(WORKER_BYTES, resources["memory"] / count))
    run = replace(setup.run, device="cuda") if gpus else setup.run
    sent = ray.put(replace(setup, threads=processors, run=run))
    actor = ray.remote(**options)(Worker)
    executor = RayExecutor(ray, lambda: actor.remote(sent), count, on_message)
    try:
        yield executor
    finally:
        executor.close()


def connect(ray: Any, address: str | None, *, processors: int | None = None) -> None:
    """Join a cluster, or start one on this machine with so many processors (all); WorkError where that fails."""
    _check_reachable(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    own = address is None and "RAY_ADDRESS" not in os.environ
    if own:
        count = processors or os.cpu_count()
        options |= {"include_dashboard": False, "num_cpus": count, "object_store_memory": 256 * 2**20}
    for attempt in range(MAX_CLUSTER_STARTS):
        try:
            ray.init(address=address, **options)
            return
        except Exception as error:  # Ray raises plain ones too, where its parts do not start within 30 s
            ray.shutdown()
            if not own or attempt + 1 == MAX_CLUSTER_STARTS:
                where = (
                    "a Ray cluster on this machine"
                    if own
                    else f"the Ray cluster at {address or 'RAY_ADDRESS'!r}"
                )
                raise WorkError(f"cannot reach {where}: {_reason(error)}") from error


def _check_reachable(address: str | None) -> None:
    """WorkError where nothing listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise WorkError(f"cannot reach the Ray cluster at {address!r}: {error.strerror or error}") from error


def divide_resources(resources: Mapping[str, float], workers: int | None) -> tuple[int, int, int]:
    """How many workers, processors a worker, GPUs in all; workers x processors never exceed the cluster's.

    >>> divide_resources({"CPU": 8}, None), divide_resources({"CPU": 64, "GPU": 4}, 2)
    ((8, 1, 0), (2, 32, 4))
    """
    processors, gpus = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
    fit = max(1, int(resources.get("memory", 2**62) // WORKER_BYTES))
    most = min(gpus, processors) if gpus else min(processors, fit)
    count = min(workers or most, most)
    return count, processors // count, gpus
