"""Drawing an atlas on Ray: workers that hold the network once each, take chunks and send pictures back.

A worker that dies costs the chunk it was drawing: another takes its place, and the chunk is handed out again. Each
worker has up to two chunks, so that none waits while the driver writes. What comes back is taken in by callbacks,
one small piece of work a chunk, however many workers there are.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from filterscope.atlas.plan import Chunk, Drawn
from filterscope.atlas.run.schedule import Outcome
from filterscope.atlas.storage.journal import write_files
from filterscope.atlas.storage.store import open_store
from filterscope.errors import ArgumentError, WorkError

DEPTH = 2  # chunks that a worker has: one that it draws and one that waits
FALSE_STARTS = 3  # workers in a row that may die before they drew anything
STARTS = 3  # times that a cluster of its own is started, on a machine too busy to do it in time
PATIENCE = 60.0  # seconds without any worker, after which a person is told
MEMORY = 1_500_000_000  # bytes that a worker on processors asks Ray for
EXTRA = "pip install 'filterscope[ray]'"


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know."""

    source: str
    weights: str | None
    sha256: str
    recipe: str
    precision: str
    device: str
    layers: tuple[str, ...]
    best: Mapping[str, np.ndarray]
    threads: int = 1
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    address: str | None = None
    folder: str = ""


class Worker:
    """Draws chunks in a process of Ray's; the network is opened once."""

    def __init__(self, job: Job):
        import torch

        torch.set_num_threads(job.threads)
        from filterscope.atlas.run.paint import Painter
        from filterscope.networks import open_network
        from filterscope.recipe import read_recipe

        with tempfile.TemporaryDirectory(prefix="filterscope.") as folder:
            paths = {
                given: _found(given, job.files, Path(folder))
                for given in (job.source, job.weights)
                if given is not None
            }
            weights = None if job.weights is None else paths[job.weights]
            network = open_network(paths[job.source], weights=weights)
            for name in job.layers:  # read now: the folder goes, and a hash must not fetch a file of its own
                network.part(name)
            found = network.weights.sha256
        if found != job.sha256:
            raise WorkError(
                f"the worker on {platform.node()} has other weights for {job.source} than the driver: sha256 "
                f"{found} and {job.sha256}; give the same file with --weights"
            )
        self._painter = Painter(network, read_recipe(job.recipe), job.precision, job.device, job.best)
        self._store = None if job.address is None else open_store(job.address)
        self._network = job.folder

    def ready(self) -> int:
        """Answers once the network is open; the process's number."""
        return os.getpid()

    def paint(self, chunk: Chunk) -> Drawn:
        """Draw a chunk; where the store can be reached from here its files are written here too."""
        drawn = self._painter.paint(chunk)
        if self._store is None:
            return drawn
        write_files(self._store, self._network, drawn.files)
        return replace(drawn, files={})

    def trial(self, chunk: Chunk, steps: int) -> float:
        """Draw a chunk for a few steps and throw it away; the seconds that took."""
        return self._painter.trial(chunk, steps)


def _found(given: str, files: Mapping[str, bytes], folder: Path) -> str:
    """A file's path here: where it was given, or written anew from the driver's bytes."""
    if given not in files or Path(given).is_file():
        return given
    path = folder / Path(given).name
    path.write_bytes(files[given])
    return str(path)


@dataclass(eq=False)
class _Member:
    """One place in the team, and the actor that fills it now."""

    actor: Any
    ready: bool = False
    chunks: deque[Chunk] = field(default_factory=deque)


class Team:
    """A crew of Ray actors. `hire` makes a new actor."""

    def __init__(self, ray: Any, hire: Callable[[], Any], workers: int, say: Callable[[str], object]):
        self._ray = ray
        self._hire = hire
        self._say = say
        self._events: queue.SimpleQueue[tuple[_Member, Any, Chunk | None, Any, Any]] = queue.SimpleQueue()
        self._slots: deque[_Member] = deque()
        self._lost: deque[Outcome] = deque()
        self._false_starts = 0
        self._members = [_Member(None) for _ in range(workers)]
        for member in self._members:
            self._start(member)

    @property
    def workers(self) -> int:
        """How many workers there are, or will be."""
        return len(self._members)

    def room(self) -> bool:
        while self._slots and not self._slots[0].ready:
            self._slots.popleft()
        return bool(self._slots)

    def hand(self, chunk: Chunk) -> None:
        member = self._slots.popleft()
        member.chunks.append(chunk)
        self._listen(member, member.actor.paint.remote(chunk), chunk)

    def wait(self) -> Outcome | None:
        if self._lost:
            return self._lost.popleft()
        member, actor, chunk, value, error = self._next()
        if actor is not member.actor:  # of an actor that is gone; its chunks have been reported
            return None
        if error is not None:
            self._mourn(member, chunk, error)
            return self._lost.popleft() if self._lost else None
        if chunk is None:
            member.ready = True
            self._slots.extend([member] * DEPTH)
            return None
        self._false_starts = 0
        member.chunks.popleft()
        self._slots.append(member)
        return Outcome(chunk, value)

    def trial(self, chunk: Chunk, steps: int) -> float:
        """A trial on one worker."""
        while not any(member.ready for member in self._members):
            self.wait()
        actor = next(member.actor for member in self._members if member.ready)
        return float(self._ray.get(actor.trial.remote(chunk, steps)))

    def close(self) -> None:
        """End all workers."""
        for member in self._members:
            with contextlib.suppress(Exception):
                self._ray.kill(member.actor)

    def _start(self, member: _Member) -> None:
        member.actor, member.ready = self._hire(), False
        self._listen(member, member.actor.ready.remote(), None)

    def _listen(self, member: _Member, reference: Any, chunk: Chunk | None) -> None:
        actor, events = member.actor, self._events

        def tell(future: Any) -> None:
            error = future.exception()
            events.put((member, actor, chunk, None if error else future.result(), error))

        reference.future().add_done_callback(tell)

    def _next(self) -> tuple[_Member, Any, Chunk | None, Any, Any]:
        while True:
            try:
                return self._events.get(timeout=PATIENCE)
            except queue.Empty:
                if not any(member.ready for member in self._members):
                    self._say(
                        f"still waiting for a worker: Ray has {self._ray.available_resources()} to give"
                    )

    def _mourn(self, member: _Member, chunk: Chunk | None, error: Any) -> None:
        """A worker died, or could not be started, or its code raised: another takes its place."""
        cause = getattr(error, "cause", None)
        if not isinstance(error, _deaths(self._ray)):
            raise (
                cause if isinstance(cause, WorkError) else WorkError(f"a worker failed: {_root(error)}")
            ) from error
        with contextlib.suppress(Exception):
            self._ray.kill(member.actor)  # which may be out of reach alone
        reason = _root(error) if _is_memory(error) else " ".join(str(error).split())
        for i, lost in enumerate(member.chunks):
            self._lost.append(Outcome(lost, None, guilty=i == 0, reason=reason[:200]))
        started = member.ready
        member.chunks, member.ready = deque(), False
        if not started:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS:
                raise WorkError(f"Ray's workers die as soon as they start: {_root(error)}") from error
        self._start(member)


def _deaths(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises where a worker or its machine has gone, or was short of memory, whoever used that up."""
    e = ray.exceptions
    return e.RayActorError, e.OutOfMemoryError, e.WorkerCrashedError, e.NodeDiedError, e.ObjectLostError


def _is_memory(error: Any) -> bool:
    return type(error).__name__ == "OutOfMemoryError"


def _root(error: Any) -> str:
    if _is_memory(error):
        return "its machine was short of memory, and Ray ended the worker"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def given_files(*paths: str | None) -> dict[str, bytes]:
    """What workers on other machines need of files here: their bytes by the path as given."""
    return {path: Path(path).read_bytes() for path in paths if path is not None and Path(path).is_file()}


def import_ray() -> Any:
    """Ray, or ArgumentError that names the extra."""
    try:
        import ray
    except ImportError:
        raise ArgumentError(f"--on ray needs Ray: {EXTRA}") from None
    return ray


@contextlib.contextmanager
def ray_session(address: str | None) -> Iterator[Any]:
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


def ray_precision(ray: Any) -> str:
    """What "auto" is on the cluster: its processors or GPUs are asked, not the driver's."""
    gpus = min(1, int(ray.cluster_resources().get("GPU", 0)))
    return str(ray.get(ray.remote(num_cpus=1, num_gpus=gpus)(_own_precision).remote(bool(gpus))))


def _own_precision(gpu: bool) -> str:
    from filterscope.ascent.engine.prepare import choose_device, choose_precision

    return str(choose_precision("auto", choose_device("cuda" if gpu else "cpu"))).removeprefix("torch.")


@contextlib.contextmanager
def ray_crew(ray: Any, job: Job, *, workers: int | None, say: Callable[[str], object]) -> Iterator[Team]:
    """Workers for a job. One has a GPU where the cluster has any, else its share of the processors, and as many
    threads."""
    resources = ray.cluster_resources()
    count, processors, gpus = shares(resources, workers)
    options: dict[str, Any] = {"num_cpus": processors, "max_restarts": 0, "max_concurrency": 1}
    if gpus:
        options["num_gpus"] = 1
    elif "memory" in resources:
        options["memory"] = int(min(MEMORY, resources["memory"] / count))
    sent = ray.put(replace(job, threads=processors, device="cuda" if gpus else job.device))
    actor = ray.remote(**options)(Worker)
    team = Team(ray, lambda: actor.remote(sent), count, say)
    try:
        yield team
    finally:
        team.close()


def connect(ray: Any, address: str | None, *, processors: int | None = None) -> None:
    """Join a cluster, or start one on this machine with so many processors (all); WorkError where that fails."""
    _check_reachable(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    own = address is None and "RAY_ADDRESS" not in os.environ
    if own:
        count = processors or os.cpu_count()
        options |= {"include_dashboard": False, "num_cpus": count, "object_store_memory": 256 * 2**20}
    for attempt in range(STARTS):
        try:
            ray.init(address=address, **options)
            return
        except Exception as error:  # Ray raises plain ones too, where its parts do not start within 30 s
            ray.shutdown()
            if not own or attempt + 1 == STARTS:
                where = (
                    "a Ray cluster on this machine"
                    if own
                    else f"the Ray cluster at {address or 'RAY_ADDRESS'!r}"
                )
                raise WorkError(f"cannot reach {where}: {_root(error)}") from error


def _check_reachable(address: str | None) -> None:
    """WorkError where nobody listens at HOST:PORT, for which Ray itself would wait for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise WorkError(f"cannot reach the Ray cluster at {address!r}: {error.strerror or error}") from error


def shares(resources: Mapping[str, float], workers: int | None) -> tuple[int, int, int]:
    """How many workers, processors a worker, GPUs in all; workers x processors never exceed the cluster's.

    >>> shares({"CPU": 8}, None), shares({"CPU": 8}, 2), shares({"CPU": 64, "GPU": 4}, None)
    ((8, 1, 0), (2, 4, 0), (4, 16, 4))
    """
    processors, gpus = max(1, int(resources.get("CPU", 1))), int(resources.get("GPU", 0))
    fit = max(1, int(resources.get("memory", 2**62) // MEMORY))
    most = min(gpus, processors) if gpus else min(processors, fit)
    count = min(workers or most, most)
    return count, processors // count, gpus
