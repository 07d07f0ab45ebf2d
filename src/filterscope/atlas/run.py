"""`filterscope atlas`: from a network to a folder of pictures that can be cut short at any moment and gone on with.

    summary = make_atlas("tiny-vgg16", "out/atlas", layers=["block1_conv1"])

The order of writing is what makes it safe: natural activations, network.json, then for each chunk its pictures and
last its journal, for each layer that is complete its layer.parquet, at the end the index, the report, the gallery.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filterscope.ascent.prepare import choose_device, choose_precision
from filterscope.atlas.estimate import Estimate, measure, spoken
from filterscope.atlas.index import import_pyarrow
from filterscope.atlas.manifest import (
    Manifest,
    add_network,
    describe,
    layer_entries,
    locked,
    planned,
    read_manifest,
    refuse_changes,
    refuse_foreign,
)
from filterscope.atlas.natural import keep_natural, read_natural
from filterscope.atlas.paint import Painter, failed
from filterscope.atlas.plan import Plan, folder_names
from filterscope.atlas.progress import Progress
from filterscope.atlas.report import write_index
from filterscope.atlas.retry import pending_round, round_chunks, start_round
from filterscope.atlas.schedule import Alone, Crew, schedule
from filterscope.atlas.store import Store, open_store
from filterscope.atlas.work import Work
from filterscope.errors import ArgumentError, OutputError
from filterscope.measure.examples import find_examples
from filterscope.measure.natural import images_digest, layers_with_units, recall
from filterscope.networks import Network, open_network
from filterscope.pictures.reading import list_images
from filterscope.recipe import DEFAULT, Recipe, get_recipe

Say = Callable[[str], object]


@dataclass
class Order:
    """What was asked for: the arguments of `make_atlas`."""

    layers: Sequence[str] | None = None
    recipe: Recipe = field(default_factory=get_recipe)
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    weights: str | None = None
    images: Path | None = None
    name: str | None = None
    retry: bool = False
    overwrite: bool = False
    on: str = "local"
    address: str | None = None
    workers: int | None = None


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
        layers, get_recipe(recipe), seed, precision, device, None if weights is None else os.fspath(weights),
        None if images is None else Path(images), name, retry, overwrite, on, address, workers,
    )  # fmt: skip
    if on == "ray" and not isinstance(source, str | os.PathLike):
        raise ArgumentError(
            f"a {type(source).__name__} object cannot be sent to Ray's workers; pass a network's name or a file"
        )
    import_pyarrow()
    store = out if isinstance(out, Store) else open_store(out)
    network = open_network(source, weights=weights)
    folder = next(iter(folder_names([name or network.name]).values()))
    with locked(store, folder):
        manifest = _begin(store, folder, network, source, order, say)
        return _Run(store, folder, network, manifest, order, progress, say).run(source)


def _begin(store: Store, folder: str, network: Network, source: Any, order: Order, say: Say) -> Manifest:
    """What there is to draw, checked, and written down; natural activations with it."""
    names = _layer_names(network, order.layers)
    if not order.overwrite:
        refuse_foreign(store, folder)
    for layer in names:
        network.part(layer)  # damaged weights are found now; and their hash must not fetch a file of its own
    told = read_manifest(store, folder)
    asked = describe(
        network, order.recipe, source=os.fspath(source) if isinstance(source, str | os.PathLike) else None,
        weights=order.weights, seed=order.seed, precision=_precision(order, told), images=order.images,
        images_digest=None if order.images is None else images_digest(list_images(order.images)),
    )  # fmt: skip
    if told is not None and order.images is None:
        asked |= {key: told[key] for key in ("images", "images_digest")}
    if told is not None:
        try:
            refuse_changes(told, asked, f"{store.address}/{folder}")
        except ArgumentError:
            if not order.overwrite:
                raise
            say(f"removing the pictures in {store.address}/{folder}, which were drawn otherwise")
            store.remove(folder)
            told = None
    entries = layer_entries(network, names, order.recipe, told)
    store.check()
    _keep_natural(store, folder, network, entries, told, order)
    manifest = {**(told or asked), "layers": entries}
    if manifest != told:
        store.write_json(f"{folder}/network.json", manifest)
    add_network(store, folder)
    return manifest


def _layer_names(network: Network, layers: Sequence[str] | None) -> list[str]:
    if layers is None:
        return layers_with_units(network)
    for name in layers:
        if ":" in name and name not in network.layers:
            raise ArgumentError(
                f"an atlas draws whole layers (got {name!r}); filterscope show draws some units"
            )
        network.layer(name)
        network.targets(f"{name}:*")
    return list(dict.fromkeys(layers))


def _precision(order: Order, told: Manifest | None) -> str:
    if order.precision == "auto" and told is not None:
        return str(told["precision"])
    return str(choose_precision(order.precision, choose_device(order.device))).removeprefix("torch.")


def _keep_natural(
    store: Store,
    folder: str,
    network: Network,
    entries: list[dict[str, Any]],
    told: Manifest | None,
    order: Order,
) -> None:
    known = {row["name"] for row in told["layers"]} if told else set()
    fresh = [row for row in entries if row["name"] not in known]
    images = order.images
    if told is not None and told["images"] is not None and images is None and fresh:
        raise ArgumentError(
            f"{store.address}/{folder} was begun with --images {told['images']}; give it for the new layers too"
        )
    computed = find_examples(network, [row["name"] for row in fresh], images) if images and fresh else {}
    for row in fresh:
        found = computed.get(row["name"]) or recall(network, row["name"])
        if found is not None:
            shape = network.output_shape(row["name"], network.input.size)
            keep_natural(store, folder, row["folder"], found, shape=shape, images=images)
            row["natural"] = True


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

    def run(self, source: Any) -> dict[str, Any]:
        names = _layer_names(self.network, self.order.layers)
        rows = [row for row in self.manifest["layers"] if row["name"] in names]
        work = Work(self.store, self.folder, rows)
        begun = time.monotonic()
        try:
            with self._crew(source, work) as crew, Progress(self.shown) as progress:
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
        _build_gallery(self.store)
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
    def _crew(self, source: Any, work: Work) -> Iterator[_Hands]:
        best = {
            row["name"]: read_natural(self.store, self.folder, row["folder"]).best
            for row in work.layers
            if row["natural"]
        }
        order, precision = self.order, self.manifest["precision"]
        if order.on == "ray":
            from filterscope.atlas.ray_run import ray_crew

            with ray_crew(
                source, order.weights, self.manifest["weights_sha256"], order.recipe, precision, order.device, best,
                address=order.address, workers=order.workers, store=self.store, folder=self.folder, say=self.say,
            ) as team:  # fmt: skip
                yield _Hands(team, team.trial, team.workers)
            return
        painter = Painter(self.network, order.recipe, precision, order.device, best)
        yield _Hands(Alone(painter.paint), painter.trial, 1)

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


def _build_gallery(store: Store) -> None:
    if importlib.util.find_spec("filterscope.atlas.gallery") is not None:
        from filterscope.atlas.gallery import build_gallery

        build_gallery(store)
