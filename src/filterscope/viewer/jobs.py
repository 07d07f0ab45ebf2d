"""Drawings that people ask of the viewer: checked, queued, drawn one after the other by one thread, cancelled.

    studio = Studio(networks)
    job = studio.submit(read_order({"network": "tiny-vgg16", "layer": "block3_conv1", "unit": 34}, networks))
    job.state, job.step, job.preview          # what the events tell
    studio.cancel(job)

One thread draws, since one drawing already keeps the processors busy. Nobody's progress is buffered: a job holds
its newest state alone, and whoever watches takes that as often as they can, so a slow reader costs no memory.
"""

from __future__ import annotations

import base64
import io
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterscope.errors import (
    ArgumentError,
    FilterscopeError,
    QueueFullError,
    RecipeError,
    TargetError,
    WorkError,
    checked_seed,
)
from filterscope.recipe import DEFAULT, Recipe, get_recipe, parse_settings, read_recipe
from filterscope.sides import sides_of
from filterscope.target import Target

if TYPE_CHECKING:
    from filterscope.networks import Network
    from filterscope.pictures import Picture
    from filterscope.progress import Step

WAITING = 32  # drawings in the queue: ten people with three each
KEPT = 64  # finished jobs whose pictures are still at hand
OPEN = 2  # networks held in memory
STEPS, SIDE, PAD, TOGETHER = 2048, 512, 128, 32  # the most a visitor may ask for
SECONDS = 600.0  # the longest that one drawing may take
UNWATCHED = 30.0  # seconds after which a drawing that nobody watches is given up
PREVIEWS = 0.2  # seconds between previews, at least
ENDS = ("done", "failed", "cancelled")
_LAYER_KEYS = ("name", "units")

Record = Mapping[str, Any]  # a network.json


class _Stopped(Exception):  # noqa: N818 - not an error: it carries a cancelled job out of the loop
    pass


@dataclass(frozen=True)
class Order:
    """What to draw: a unit of a network of the atlas, with a recipe and a seed."""

    network: str
    target: Target
    recipe: Recipe
    seed: int = 0


@dataclass
class Job:
    """A drawing: `state` is queued, drawing, done, failed or cancelled; `version` grows with every change."""

    order: Order
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: str = "queued"
    step: int = 0
    attempt: int = 0  # a restart from other noise
    activation: float | None = None
    message: str = ""
    preview: str = ""  # a data: URL
    previews: int = 0
    pictures: list[Picture] = field(default_factory=list)
    version: int = 0
    watchers: int = 0
    left_at: float = field(default_factory=time.monotonic)
    stop: str = ""  # why to stop, once somebody or something wants that

    @property
    def abandoned(self) -> bool:
        """Whether nobody has watched for long."""
        return self.watchers == 0 and time.monotonic() - self.left_at > UNWATCHED


class Studio:
    """The queue and the thread that draws.

    networks: each one's record (network.json) by its folder. opened: networks that are open already, by folder.
    """

    def __init__(self, networks: Mapping[str, Record], opened: Mapping[str, Network] | None = None):
        self.networks = dict(networks)
        self._given = dict(opened or {})
        self._opened: OrderedDict[str, Network] = OrderedDict()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="filterscope-studio", daemon=True)
        self._thread.start()

    def submit(self, order: Order) -> Job:
        """Queue a drawing; QueueFullError where too many wait."""
        with self._changed:
            for job in [j for j in self._queue if j.abandoned]:
                self._end(job, "cancelled", "nobody was watching")
                self._queue.remove(job)
            if len(self._queue) >= WAITING:
                raise QueueFullError(f"{WAITING} drawings are waiting already; try again in a minute")
            job = Job(order)
            self._jobs[job.id] = job
            self._queue.append(job)
            finished = [j for j in self._jobs.values() if j.state in ENDS]
            for old in finished[: max(0, len(finished) - KEPT)]:
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
                job.pictures = self._draw(job)
                self._end(job, "done")
            except _Stopped as stopped:
                self._end(job, "cancelled", str(stopped))
            except FilterscopeError as error:
                self._end(job, "failed", str(error))
            except MemoryError:
                self._end(job, "failed", "there is not enough memory for this recipe; take a smaller size")
            except Exception as error:  # the thread must outlive whatever a recipe brings about
                self._end(job, "failed", f"{type(error).__name__}: {error}")

    def _draw(self, job: Job) -> list[Picture]:
        from filterscope.drawing.draw import draw
        from filterscope.drawing.run import Run

        order, watch = job.order, _Watch(job)
        if job.stop or job.abandoned:
            raise _Stopped(job.stop or "nobody was watching")
        record = self.networks[order.network]
        network = self._network(order.network)

        def on_step(step: Step) -> None:
            if step.step == 1 and not step.attempt:  # only now are the weights read and their hash known
                _check_weights(network, record)
            watch(step)

        run = Run(order.seed, str(record.get("precision") or "auto"))
        return list(draw(network, [order.target], order.recipe, run, on_step=on_step))

    def _network(self, folder: str) -> Network:
        if folder in self._given:
            return self._given[folder]
        if folder not in self._opened:
            while len(self._opened) >= OPEN:
                self._opened.popitem(last=False)
            self._opened[folder] = open_recorded(self.networks[folder])
        self._opened.move_to_end(folder)
        return self._opened[folder]


class _Watch:
    """Called after each step: tells the job how far it is, and stops it where that is wanted."""

    def __init__(self, job: Job):
        self.job, self.began, self.shown = job, time.monotonic(), 0.0

    def __call__(self, step: Step) -> None:
        job, now = self.job, time.monotonic()
        if job.stop or job.abandoned:
            raise _Stopped(job.stop or "nobody was watching")
        if now - self.began > SECONDS:
            raise _Stopped(f"a drawing may take {SECONDS:.0f} seconds; take fewer steps or a smaller size")
        job.step, job.attempt, job.activation = step.step, step.attempt, float(step.activation)
        if step.images is not None and now - self.shown >= PREVIEWS:
            job.preview = _data_url(step.images(), job.order.recipe)
            job.previews += 1
            self.shown = time.monotonic()
        job.version += 1


def _data_url(pixels: Any, recipe: Recipe) -> str:
    from PIL import Image

    from filterscope.measure.scores import to_bytes

    image = to_bytes(pixels[:1], recipe.output)[0]
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def open_recorded(record: Record) -> Network:
    """The network that an atlas was drawn from, opened by its record; ArgumentError where it cannot be."""
    from filterscope.networks import open_network
    from filterscope.networks.pytorch_factory import is_factory
    from filterscope.rerun import find_weights

    source, weights = record.get("source"), record.get("weights")
    if not source:
        raise ArgumentError(
            f"{record.get('name')} was drawn from a model object, which the viewer cannot open by itself; "
            "in Python: filterscope.viewer.app.view(DIR, networks={NAME: model})"
        )
    if is_factory(str(source).partition("?")[0]):
        raise ArgumentError(
            f"{record.get('name')} was drawn from {source}: code that an atlas names is never run by itself; in Python: "
            "filterscope.viewer.app.view(DIR, networks={NAME: module})"
        )
    if weights and not Path(str(weights)).is_file():
        weights = find_weights(dict(record), Path())
    return open_network(str(source), weights=weights)


def _check_weights(network: Network, record: Record) -> None:
    wanted = record.get("weights_sha256")
    if wanted and network.weights.sha256 != wanted:
        raise WorkError(
            f"the weights of {network.name} here (sha256 {network.weights.sha256[:12]}) are not those that the atlas was "
            f"drawn with ({str(wanted)[:12]})"
        )


def read_order(asked: Any, networks: Mapping[str, Record]) -> Order:
    """What a visitor asks for, checked: network, layer and unit are in the atlas, the recipe is within bounds.

    asked: {"network", "layer", "unit", "recipe" (a preset's name, or a whole recipe), "settings" (KEY=VALUE
    texts), "steps", "size", "seed"}; only the first three must be there.

    Raises ArgumentError that says what is allowed.
    """
    known = {"network", "layer", "unit", "recipe", "settings", "steps", "size", "seed"}
    if not isinstance(asked, dict) or not set(asked) <= known:
        raise ArgumentError(f"a drawing is asked for as an object of {', '.join(sorted(known))}")
    network, layer, unit = asked.get("network"), asked.get("layer"), asked.get("unit")
    if not isinstance(network, str) or network not in networks:
        raise ArgumentError(f"this atlas has no network {_short(network)}; it has {', '.join(networks)}")
    units = layer_units(networks[network]).get(layer) if isinstance(layer, str) else None
    if units is None:
        raise TargetError(f"{network} has no layer {_short(layer)} in this atlas")
    if type(unit) is not int or not 0 <= unit < units:
        raise TargetError(f"{_short(layer)} has units 0 to {units - 1} (got {_short(unit)})")
    seed = checked_seed(asked.get("seed", 0))
    return Order(network, Target(str(layer), unit), _bounded(_recipe(asked)), seed)


def layer_units(record: Record) -> dict[str, int]:
    """How many units each layer of a network's record has."""
    rows = record.get("layers")
    whole = [r for r in rows if isinstance(r, dict) and all(k in r for k in _LAYER_KEYS)] if rows else []
    return {str(row["name"]): int(row["units"]) for row in whole}


def _recipe(asked: Mapping[str, Any]) -> Recipe:
    recipe, settings = asked.get("recipe", DEFAULT), asked.get("settings", [])
    if not isinstance(settings, list) or not all(isinstance(s, str) for s in settings):
        raise RecipeError("settings are a list of KEY=VALUE texts")
    for name in ("steps", "size"):
        if not isinstance(asked.get(name), int | None):
            raise RecipeError(f"{name} is a whole number (got {_short(asked[name])})")
    if not isinstance(recipe, str | dict):
        raise RecipeError(f"a recipe is a preset's name or an object (got {_short(recipe)})")
    return get_recipe(
        read_recipe(recipe) if isinstance(recipe, dict) else recipe[:200],
        steps=asked.get("steps"),
        size=asked.get("size"),
        settings=parse_settings(settings),
    )


def _bounded(recipe: Recipe) -> Recipe:
    """The recipe, if no visitor can hold up or exhaust the machine with it."""
    allowed: list[tuple[str, Callable[[Recipe], float], int]] = [
        ("steps", lambda r: r.steps, STEPS),
        ("size", lambda r: max(*sides_of(r.size or 0), r.usual_size or 0), SIDE),
        ("pad", lambda r: sum(t.pixels for t in r.transforms if t.kind == "pad"), PAD),
        ("transforms", lambda r: len(r.transforms), 16),
        ("regularizers", lambda r: len(r.regularizers), 16),
        ("stages", lambda r: len(r.stages), 16),
        ("facets times crops", _together, TOGETHER),
    ]
    for name, value, most in allowed:
        if value(recipe) > most:
            raise RecipeError(f"the viewer draws with at most {most} {name} (got {value(recipe):g})")
    return recipe


def _together(recipe: Recipe) -> int:
    """How many pictures go through the network at once."""
    crops = sum(t.count for t in recipe.transforms if t.kind == "crop")
    return recipe.facet_count * max(1, crops)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
