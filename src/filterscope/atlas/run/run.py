"""`filterscope atlas`: from a network to a folder of pictures that can be cut short at any moment and gone on with.

    summary = make_atlas("tiny-vgg16", "out/atlas", AtlasRequest(layers=["block1_conv1"]))

The order of writing is what makes it safe: natural activations, network.json, then for each chunk its pictures and
last its journal, for each layer that is complete its layer.parquet, at the end the index, the report, the gallery.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from filterscope.atlas.gallery.pages import build_gallery
from filterscope.atlas.plan import Chunk, Plan, choose_folder_names
from filterscope.atlas.run.drawer import ChunkDrawer, fail_chunk
from filterscope.atlas.run.estimate import Estimate, format_duration, measure, name_dearest
from filterscope.atlas.run.examples import ExampleMeasure
from filterscope.atlas.run.executor import ChunkLost, Executor, LocalExecutor
from filterscope.atlas.run.layer import LegibilityMeasure
from filterscope.atlas.run.progress import Progress
from filterscope.atlas.run.report import write_index
from filterscope.atlas.run.request import AtlasRequest, Beginning, OnMessage, choose_concepts, choose_layers
from filterscope.atlas.run.retry import find_pending_round, remaining_chunks, start_round
from filterscope.atlas.run.writer import AtlasWriter
from filterscope.atlas.storage.index import import_pyarrow
from filterscope.atlas.storage.labels import keep_labels
from filterscope.atlas.storage.lock import hold_lock
from filterscope.atlas.storage.manifest import NetworkManifest, read_manifest
from filterscope.atlas.storage.natural import read_natural
from filterscope.atlas.storage.store import Store, open_store
from filterscope.errors import ArgumentError, OutputError
from filterscope.measure.concepts import ConceptUnits
from filterscope.measure.encoders import Encoder, encode_images, open_encoder
from filterscope.measure.labels import Label, read_labels
from filterscope.measure.legibility import Features
from filterscope.networks import Network, open_network
from filterscope.objective import Objective
from filterscope.recipe import Recipe


def make_atlas(
    source: Any,
    out: str | os.PathLike[str] | Store,
    request: AtlasRequest | None = None,
    *,
    progress: bool | None = None,
    on_message: OnMessage = lambda _: None,
) -> dict[str, Any]:
    """Draw every unit of a network's layers into an atlas, or go on with one; returns its summary.

    source: as for `open_network`; on Ray a name or file, since a model object cannot be sent.
    out: a folder, or any fsspec address ("s3://...", "gs://...", "memory://...").
    progress: whether to show a bar (None: on a terminal). on_message: called with what is done now, a line at a time.

    Raises ArgumentError for what cannot be drawn as asked, OutputError where it cannot be written.
    """
    request = request or AtlasRequest()
    request.check(source)
    import_pyarrow()
    store = out if isinstance(out, Store) else open_store(out)
    network = open_network(source, weights=request.weights)
    folder = request.name or next(iter(choose_folder_names([network.name]).values()))
    labels = [] if request.labels is None else read_labels(request.labels, network)
    encoder = None if request.encoder is None else open_encoder(request.encoder)
    if request.labels_alone and store.exists(f"{folder}/network.json"):
        return add_labels(store, folder, network, labels, on_message)
    with hold_lock(store, folder), open_cluster_for(request) as ray:
        concepts = choose_concepts(network, request)
        manifest = Beginning(store, folder, network, source, request, on_message, ray, concepts).write()
        if labels:
            keep_labels(store, folder, labels)
        run = AtlasRun(store, folder, network, manifest, request, on_message, ray, encoder, concepts)
        return run.run(progress)


def add_labels(
    store: Store,
    folder: str,
    network: Network,
    labels: Sequence[Label],
    on_message: OnMessage = lambda _: None,
) -> dict[str, Any]:
    """Add labels to the network in an atlas, and write its index and pages anew; nothing is drawn. Returns its summary.

    ArgumentError where the pictures that are there are of other weights.
    """
    begun = time.monotonic()
    with hold_lock(store, folder):
        manifest = read_manifest(store, folder)
        if manifest is not None and manifest.weights_sha256 != network.weights.sha256:
            raise ArgumentError(
                f"{store.address}/{folder} holds pictures of {manifest.name} with other weights "
                f"({str(manifest.weights_sha256)[:12]}, here {network.weights.sha256[:12]}); nothing was changed"
            )
        there = {entry.name for entry in manifest.layers} if manifest else set()
        beside = sum(label.layer not in there for label in labels)
        more = f" ({beside} of them of layers that are not there yet)" if beside else ""
        on_message(f"labels of {len(labels)} units are added to what is there{more}; nothing is drawn")
        keep_labels(store, folder, labels)
        summary = write_index(store)[folder]
        build_gallery(store)
    return {**summary, "out": store.address, "drawn": 0, "seconds": time.monotonic() - begun}


@contextlib.contextmanager
def open_cluster_for(request: AtlasRequest) -> Iterator[Any]:
    """Ray, where it is to draw; else None."""
    if request.on != "ray":
        yield None
        return
    from filterscope.atlas.run.ray import open_cluster

    with open_cluster(request.address) as ray:
        yield ray


@dataclass(frozen=True)
class AtlasRun:
    """One run over what is requested."""

    store: Store
    folder: str
    network: Network
    manifest: NetworkManifest
    request: AtlasRequest
    on_message: OnMessage
    ray: Any = None
    encoder: Encoder | None = None
    concepts: Sequence[ConceptUnits] = ()
    goals: Mapping[str, Sequence[Objective]] = field(default_factory=dict)  # of layers that are not units'

    def run(self, shown: bool | None) -> dict[str, Any]:
        names = [one.name for one in self.concepts] or choose_layers(self.network, self.request.layers)
        entries = [entry for entry in self.manifest.layers if entry.name in names]
        writer = AtlasWriter(self.store, self.folder, entries, self._measures(shown))
        begun = time.monotonic()
        try:
            self.draw_all(writer, shown)
        except KeyboardInterrupt:
            with contextlib.suppress(OutputError):
                write_index(self.store)
            raise
        summary = write_index(self.store)[self.folder]
        build_gallery(self.store)
        seconds = time.monotonic() - begun
        return {**summary, "out": self.store.address, "drawn": writer.drawn, "seconds": seconds}

    def draw_all(self, writer: AtlasWriter, shown: bool | None) -> None:
        """Draw what is left; where that is cut short, how far it came is said."""
        try:
            with self._start_executor(writer) as executor, Progress(shown) as progress:
                self._draw(writer, executor, progress)
        except (KeyboardInterrupt, OutputError):
            self.on_message(
                f"{writer.finished} of {writer.units} units are finished and kept in {self.store.address}; "
                "the same command goes on from there"
            )
            raise

    def _measures(self, shown: bool | None) -> list[LegibilityMeasure | ExampleMeasure]:
        """What is measured by photographs when a layer is complete; nothing where their folder is gone."""
        judge, given = self.request.judge, self.request.images or self.manifest.images
        images = None if given is None else Path(given).absolute()
        if images is None or not images.is_dir():
            return []
        seen = None if judge is None else Features(judge)
        encode = None if seen is None else seen.of
        if self.encoder is not None:
            encode = partial(encode_images, self.encoder)
        legibility = [] if seen is None else [LegibilityMeasure(seen, images, self.folder)]
        examples = ExampleMeasure(self.network, images, self.folder, encode, shown, self.concepts)
        return [*legibility, examples]

    def _draw(self, writer: AtlasWriter, executor: Executor, progress: Progress) -> None:
        plan = Plan(tuple(writer.layers.values()), self.manifest.seed)
        left = writer.count_left()
        progress.begin(plan.units, left, self._estimate(plan, left, executor))
        self._draw_all(plan.chunks(writer.open_layer), writer, executor, progress)
        pending = find_pending_round(writer)
        if pending is None and self.request.retry:
            pending = start_round(writer, self.manifest.seed)
            if pending is None:
                self.on_message("no unit is failed or dead: there is nothing to retry")
        if pending is not None:
            progress.more(pending.count)
            self._draw_all(remaining_chunks(pending, writer), writer, executor, progress)
        writer.finish()

    def _draw_all(
        self, chunks: Iterable[Chunk], writer: AtlasWriter, executor: Executor, progress: Progress
    ) -> None:
        for chunk, result in executor.draw(chunks):
            if isinstance(result, ChunkLost):
                result = fail_chunk(chunk, self._recipes[chunk.layer].name, result.reason)
            writer.write(chunk, result)
            progress.done(chunk, result)

    def _estimate(self, plan: Plan, left: dict[str, int], executor: Executor) -> Estimate:
        total, workers = sum(left.values()), executor.workers
        some = [layer for layer in plan.layers if left[layer.name]]
        if total <= 2 * max((layer.batch for layer in some), default=0):
            return Estimate({}, workers)
        estimate, basis = measure(some, self._recipes, executor.trial)
        estimate.workers = workers
        also = f", {workers} workers" if workers > 1 else ""
        again = f" ({plan.units - total} of {plan.units} are there)" if total < plan.units else ""
        duration = format_duration(estimate.seconds(left))
        dearest = name_dearest(estimate, left, self._recipes)
        self.on_message(f"{total} units to draw{again}: about {duration} (from {basis}{also}){dearest}")
        return estimate

    def _layers_of_goals(self) -> tuple[str, ...]:
        """The network's layers that a map's cells are of."""
        return tuple(
            dict.fromkeys(name for goals in self.goals.values() for goal in goals for name in goal.layers)
        )

    @cached_property
    def _recipes(self) -> dict[str, Recipe]:
        """What each layer that is requested is drawn with."""
        names = (
            [one.name for one in self.concepts]
            or [*self.goals]
            or choose_layers(self.network, self.request.layers)
        )
        return {e.name: self.manifest.recipe_of(e) for e in self.manifest.layers if e.name in names}

    @contextlib.contextmanager
    def _start_executor(self, writer: AtlasWriter) -> Iterator[Executor]:
        best = {
            name: read_natural(self.store, self.folder, str(entry.folder)).best
            for name, entry in writer.entries.items()
            if entry.natural
        }
        keys = {one.name: one.key for one in self.concepts}
        best = {keys.get(name, name): values for name, values in best.items()}
        request, manifest = self.request, self.manifest
        run = replace(request.run, precision=str(manifest.precision))
        if self.ray is None:
            yield LocalExecutor(
                ChunkDrawer(self.network, self._recipes, run, best, manifest.alpha, self.concepts, self.goals)
            )
            return
        from filterscope.atlas.run.ray import start_workers
        from filterscope.atlas.run.worker import WorkerSetup, read_given_files, send_concepts

        source, weights = str(manifest.source), request.weights
        setup = WorkerSetup(
            source, weights, str(manifest.weights_sha256),
            {layer: recipe.model_dump_json() for layer, recipe in self._recipes.items()}, run, best,
            files=read_given_files(source, weights) if request.address else {},
            address=self.store.address if self.store.shared else None, folder=self.folder, alpha=manifest.alpha,
            concepts=[send_concepts(one, whole=bool(request.address)) for one in self.concepts], goals=self.goals,
            layers=self._layers_of_goals(),
        )  # fmt: skip
        with start_workers(self.ray, setup, workers=request.workers, on_message=self.on_message) as executor:
            yield executor
