"""`filterscope atlas`: from a network to a folder of pictures that can be cut short at any moment and gone on with.

    summary = make_atlas("tiny-vgg16", "out/atlas", layers=["block1_conv1"])

The order of writing is what makes it safe: natural activations, network.json, then for each chunk its pictures and
last its journal, for each layer that is complete its layer.parquet, at the end the index, the report, the gallery.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filterscope.atlas.gallery.pages import build_gallery
from filterscope.atlas.plan import Plan, check_name, folder_names
from filterscope.atlas.run.estimate import Estimate, measure, spoken
from filterscope.atlas.run.paint import Painter, failed
from filterscope.atlas.run.progress import Progress
from filterscope.atlas.run.report import write_index
from filterscope.atlas.run.request import Order, Say, begin, layer_names
from filterscope.atlas.run.retry import pending_round, round_chunks, start_round
from filterscope.atlas.run.schedule import Alone, Crew, schedule
from filterscope.atlas.run.work import Work
from filterscope.atlas.storage.index import import_pyarrow
from filterscope.atlas.storage.manifest import Manifest, locked, planned
from filterscope.atlas.storage.natural import read_natural
from filterscope.atlas.storage.store import Store, open_store
from filterscope.errors import ArgumentError, OutputError, checked_seed
from filterscope.networks import Network, open_network
from filterscope.recipe import DEFAULT, Recipe, get_recipe


def make_atlas(
    source: Any,
    out: str | os.PathLike[str] | Store,
    *,
    layers: Sequence[str] | None = None,
    recipe: str | Recipe = DEFAULT,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    name: str | None = None,
    retry: bool = False,
    overwrite: bool = False,
    on: str = "local",
    address: str | None = None,
    workers: int | None = None,
    progress: bool | None = None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Draw every unit of a network's layers into an atlas, or go on with one; returns its summary.

    source: as for `open_network`; with on="ray" a name or file, since a model object cannot be sent.
    out: a folder, or any fsspec address ("s3://...", "gs://...", "memory://...").
    layers: names of layers; all that have units worth a picture where None.
    images: folder of natural images, for excitations and examples.
    name: folder of the network in the atlas, its own name where None.
    retry: draw failed and dead units again, the dead from other noise.
    overwrite: draw anew where what is there was drawn otherwise, instead of refusing.
    on, address, workers: "local" or "ray"; the cluster's address; how many workers.
    progress: whether to show a bar (None: on a terminal). say: told what is going on, a line at a time.

    Raises ArgumentError for what cannot be drawn as asked, OutputError where it cannot be written.
    """
    if on not in ("local", "ray"):
        raise ArgumentError(f"an atlas is drawn on local or ray (got {on!r})")
    order = Order(
        layers, get_recipe(recipe), checked_seed(seed), precision, device, None if weights is None else os.fspath(weights),
        None if images is None else Path(images), name, retry, overwrite, on, address, workers,
    )  # fmt: skip
    if on == "ray" and not isinstance(source, str | os.PathLike):
        raise ArgumentError(
            f"a {type(source).__name__} object cannot be sent to Ray's workers; pass a network's name or a file"
        )
    if name is not None:
        check_name(name)
    import_pyarrow()
    store = out if isinstance(out, Store) else open_store(out)
    network = open_network(source, weights=weights)
    folder = name or next(iter(folder_names([network.name]).values()))
    with locked(store, folder), _session(order) as ray:
        manifest = begin(store, folder, network, source, order, say, ray)
        return _Run(store, folder, network, manifest, order, progress, say, ray).run()


@contextlib.contextmanager
def _session(order: Order) -> Iterator[Any]:
    if order.on != "ray":
        yield None
        return
    from filterscope.atlas.run.ray import ray_session

    with ray_session(order.address) as ray:
        yield ray


@dataclass
class _Run:
    """One run over what an order asks for."""

    store: Store
    folder: str
    network: Network
    manifest: Manifest
    order: Order
    shown: bool | None
    say: Say
    ray: Any = None

    def run(self) -> dict[str, Any]:
        names = layer_names(self.network, self.order.layers)
        rows = [row for row in self.manifest["layers"] if row["name"] in names]
        work = Work(self.store, self.folder, rows)
        begun = time.monotonic()
        try:
            with self._crew(work) as crew, Progress(self.shown) as progress:
                self._draw(work, crew, progress)
        except KeyboardInterrupt:
            with contextlib.suppress(OutputError):
                write_index(self.store)
            self.say(self._kept(work))
            raise
        except OutputError:
            self.say(self._kept(work))
            raise
        summary = write_index(self.store)[self.folder]
        build_gallery(self.store)
        return {
            **summary,
            "out": self.store.address,
            "drawn": work.drawn,
            "seconds": time.monotonic() - begun,
        }

    def _draw(self, work: Work, crew: _Hands, progress: Progress) -> None:
        plan = Plan(tuple(planned(row) for row in work.layers), self.manifest["seed"])
        left = work.left()
        estimate = self._estimate(plan, left, crew)
        progress.begin(plan.units, left, estimate)
        self._all(plan.chunks(work.open), work, crew, progress)
        waiting = pending_round(self.store, self.folder, work)
        if waiting is None and self.order.retry:
            waiting = start_round(self.store, self.folder, work, self.manifest["seed"])
            if waiting is None:
                self.say("no unit is failed or dead: there is nothing to retry")
        if waiting is not None:
            progress.more(waiting.count)
            self._all(round_chunks(waiting, work), work, crew, progress)
        work.finish()

    def _all(self, chunks: Iterator[Any], work: Work, crew: _Hands, progress: Progress) -> None:
        recipe = self.order.recipe.name
        for chunk, drawn in schedule(chunks, crew.crew, lambda c, reason: failed(c, recipe, reason)):
            work.commit(chunk, drawn)
            progress.done(chunk, drawn)

    def _estimate(self, plan: Plan, left: dict[str, int], crew: _Hands) -> Estimate:
        total = sum(left.values())
        some = [layer for layer in plan.layers if left[layer.name]]
        if total <= 2 * max((layer.batch for layer in some), default=0):
            return Estimate({}, crew.workers)
        estimate, basis = measure(some, self.order.recipe.steps, crew.trial)
        estimate.workers = crew.workers
        hands = f", {crew.workers} workers" if crew.workers > 1 else ""
        again = f" ({plan.units - total} of {plan.units} are there)" if total < plan.units else ""
        self.say(
            f"{total} units to draw{again}: about {spoken(estimate.seconds(left))} (from {basis}{hands})"
        )
        return estimate

    @contextlib.contextmanager
    def _crew(self, work: Work) -> Iterator[_Hands]:
        best = {
            row["name"]: read_natural(self.store, self.folder, row["folder"]).best
            for row in work.layers
            if row["natural"]
        }
        order, told = self.order, self.manifest
        if self.ray is None:
            painter = Painter(self.network, order.recipe, told["precision"], order.device, best)
            yield _Hands(Alone(painter.paint), painter.trial, 1)
            return
        from filterscope.atlas.run.ray import Job, given_files, ray_crew

        job = Job(
            told["source"], order.weights, told["weights_sha256"], order.recipe.model_dump_json(),
            told["precision"], order.device, tuple(row["name"] for row in work.layers), best,
            files=given_files(told["source"], order.weights) if order.address else {},
            address=self.store.address if self.store.shared else None, folder=self.folder,
        )  # fmt: skip
        with ray_crew(self.ray, job, workers=order.workers, say=self.say) as team:
            yield _Hands(team, team.trial, team.workers)

    def _kept(self, work: Work) -> str:
        return (
            f"{work.finished} of {work.units} units are finished and kept in {self.store.address}; "
            "the same command goes on from there"
        )


@dataclass
class _Hands:
    crew: Crew
    trial: Callable[[Any, int], float]
    workers: int
