"""Drawings that people ask of the viewer: queued, drawn one after the other by one thread, cancelled.

    queue = DrawQueue(manifests)
    job = queue.submit(parse_request({"network": "tiny-vgg16", "layer": "block3_conv1", "unit": 34}, manifests))
    job.state, job.step, job.preview          # what the events report
    queue.cancel(job)

One thread draws, since one drawing already keeps the processors busy. Progress is not buffered: a job holds its
newest state alone, and each reader takes that when it can, so a slow reader costs no memory.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from filterscope.atlas.gallery.data import Data
from filterscope.atlas.storage.manifest import NetworkManifest
from filterscope.errors import FilterscopeError, QueueFullError, kind_and_line
from filterscope.recipe import Recipe
from filterscope.viewer.opening import OpenNetworks, check_weights
from filterscope.viewer.photographs import PhotographRequest, look_at
from filterscope.viewer.requests import DrawRequest

if TYPE_CHECKING:
    from filterscope.networks import Network
    from filterscope.pictures import Picture
    from filterscope.progress import Step

MAX_WAITING = 32  # drawings in the queue: ten people with three each
MAX_FINISHED = 64  # jobs whose pictures can still be fetched
MAX_SECONDS = 600.0  # of one drawing
MAX_UNWATCHED_SECONDS = 30.0  # after which a drawing that nobody watches is given up
MIN_PREVIEW_SECONDS = 0.2  # from one preview to the next
ENDS = ("done", "failed", "cancelled")
UNWATCHED = "nobody was watching"


class _Stopped(Exception):  # noqa: N818 - not an error: it carries a cancelled job out of the loop
    pass


@dataclass
class Job:
    """A drawing, or a look at a photograph: `state` is queued, drawing, done, failed or cancelled; `version` grows with
    every change. found: what the look gave."""

    request: DrawRequest | PhotographRequest
    recipe: Recipe | None = None  # that it is drawn with, once the network is open
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: str = "queued"
    step: int = 0
    attempt: int = 0  # a restart from other noise
    activation: float | None = None
    message: str = ""
    preview: str = ""  # a data: URL
    previews: int = 0
    pictures: list[Picture] = field(default_factory=list)
    found: Data | None = None
    version: int = 0
    watchers: int = 0
    left_at: float = field(default_factory=time.monotonic)
    stop: str = ""  # why to stop; empty while it need not

    @property
    def abandoned(self) -> bool:
        """Whether nobody has watched for long."""
        return self.watchers == 0 and time.monotonic() - self.left_at > MAX_UNWATCHED_SECONDS

    def check(self) -> None:
        """Raises _Stopped where it is to stop, or nobody has watched for long."""
        if self.stop or self.abandoned:
            raise _Stopped(self.stop or UNWATCHED)


class DrawQueue:
    """The queue and the thread that draws.

    manifests: each network's network.json by its folder. opened: networks that are open already, by folder.
    """

    def __init__(self, manifests: Mapping[str, NetworkManifest], opened: Mapping[str, Network] | None = None):
        self.manifests = dict(manifests)
        self._networks = OpenNetworks(manifests, opened)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="filterscope-drawing", daemon=True)
        self._thread.start()

    def submit(self, request: DrawRequest | PhotographRequest) -> Job:
        """Queue a drawing, or a look at a photograph; QueueFullError where too many wait."""
        with self._changed:
            for job in [j for j in self._queue if j.abandoned]:
                self._end(job, "cancelled", UNWATCHED)
                self._queue.remove(job)
            if len(self._queue) >= MAX_WAITING:
                raise QueueFullError(f"{MAX_WAITING} drawings are waiting already; try again in a minute")
            job = Job(request)
            self._jobs[job.id] = job
            self._queue.append(job)
            finished = [j for j in self._jobs.values() if j.state in ENDS]
            for old in finished[: max(0, len(finished) - MAX_FINISHED)]:
                del self._jobs[old.id]
            self._changed.notify()
        return job

    def find(self, name: str) -> Job | None:
        """The job of that id, None where there is none (any more)."""
        with self._changed:
            return self._jobs.get(name)

    def place(self, job: Job) -> int:
        """How many drawings come before a queued one, the one that is being drawn included."""
        with self._changed:
            ahead = list(self._queue).index(job) if job in self._queue else 0
            return ahead + sum(j.state == "drawing" for j in self._jobs.values())

    def cancel(self, job: Job) -> None:
        """Stop a drawing at its next step, or take it out of the queue; one that has ended stays as it is."""
        with self._changed:
            job.stop = job.stop or "cancelled"
            if job in self._queue:
                self._queue.remove(job)
                self._end(job, "cancelled", "cancelled")

    def watch(self, job: Job, by: int) -> None:
        """Count somebody who watches (1) or leaves (-1)."""
        with self._changed:
            job.watchers += by
            job.left_at = time.monotonic()

    def close(self, timeout: float = 5.0) -> None:
        """Stop drawing and end the thread."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.stop = job.stop or "the viewer was closed"
            self._changed.notify()
        self._thread.join(timeout)

    def _end(self, job: Job, state: str, message: str = "") -> None:
        with self._changed:
            job.message, job.preview = message, "" if state == "done" else job.preview
            job.state = state
            job.version += 1

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                job = self._queue.popleft()
                job.state, job.version = "drawing", job.version + 1
            try:
                if isinstance(job.request, PhotographRequest):
                    job.found = self._look(job, job.request)
                else:
                    job.pictures = self._draw(job, job.request)
                self._end(job, "done")
            except _Stopped as stopped:
                self._end(job, "cancelled", str(stopped))
            except FilterscopeError as error:
                self._end(job, "failed", str(error))
            except MemoryError:
                self._end(job, "failed", "there is not enough memory for this recipe; take a smaller size")
            except Exception as error:  # the thread must outlive whatever a recipe brings about
                self._end(job, "failed", kind_and_line(error))

    def _look(self, job: Job, request: PhotographRequest) -> Data:
        job.check()
        job.request = PhotographRequest(request.network, b"")  # whoever fetches what was found needs no file
        network = self._networks.get(request.network)
        found = look_at(request, network, self.manifests[request.network])
        check_weights(network, self.manifests[request.network])
        return found

    def _draw(self, job: Job, request: DrawRequest) -> list[Picture]:
        from filterscope.drawing.choice import recipe_for
        from filterscope.drawing.draw import draw
        from filterscope.drawing.run import Run

        job.check()
        manifest = self.manifests[request.network]
        network = self._networks.get(request.network)
        job.recipe = recipe = recipe_for(network, request.target, request.recipe)
        report = _StepReport(job, recipe)

        def on_step(step: Step) -> None:
            if step.step == 1 and not step.attempt:  # only now are the weights read and their hash known
                check_weights(network, manifest)
            report(step)

        run = Run(request.seed, manifest.precision or "auto")
        return list(draw(network, [request.target], recipe, run, on_step=on_step))


class _StepReport:
    """Called after each step: notes in the job how far it is, and stops it where that was asked."""

    def __init__(self, job: Job, recipe: Recipe):
        self.job, self.recipe, self.began, self.shown = job, recipe, time.monotonic(), 0.0

    def __call__(self, step: Step) -> None:
        job, now = self.job, time.monotonic()
        job.check()
        if now - self.began > MAX_SECONDS:
            raise _Stopped(
                f"a drawing may take {MAX_SECONDS:.0f} seconds; take fewer steps or a smaller size"
            )
        job.step, job.attempt, job.activation = step.step, step.attempt, float(step.activation)
        if step.images is not None and now - self.shown >= MIN_PREVIEW_SECONDS:
            job.preview = _data_url(step.images(), self.recipe)
            job.previews += 1
            self.shown = time.monotonic()
        job.version += 1


def _data_url(pixels: Any, recipe: Recipe) -> str:
    from filterscope.measure.scores import to_image
    from filterscope.pictures.html import data_url

    return data_url(to_image(pixels[:1], recipe.output), "JPEG", quality=80)
