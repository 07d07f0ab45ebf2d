"""`filterscope atlas --map`: an activation atlas, drawn with the atlas' chunks and journals.

    summary = make_map("tiny-vgg16", "out/map", MapRequest("block4_conv3", AtlasRequest(images=Path("photographs"))))

A map has a folder of its own beside networks' folders, NETWORK.map.LAYER, with a network.json whose layers are its grids.
What it was computed from is written before the first picture, so that a run which goes on draws the same cells.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from filterscope._version import __version__
from filterscope.ascent.engine.batch import usual_count
from filterscope.ascent.engine.prepare import choose_device, precision_for
from filterscope.atlas.gallery.map import write_map_page
from filterscope.atlas.maps.cells import LEAST, Level, make_level, whitening_of
from filterscope.atlas.maps.collect import Samples, check_layer, classes_layer, collect
from filterscope.atlas.maps.layout import choose_method, lay_out
from filterscope.atlas.maps.record import Map, read_about, read_map
from filterscope.atlas.plan import choose_folder_names, list_differences
from filterscope.atlas.run.request import AtlasRequest, OnMessage
from filterscope.atlas.run.run import AtlasRun, open_cluster_for
from filterscope.atlas.run.writer import AtlasWriter
from filterscope.atlas.storage.index import LAYER_TABLE, import_pyarrow, read_rows
from filterscope.atlas.storage.lock import hold_lock
from filterscope.atlas.storage.manifest import (
    LayerEntry,
    NetworkManifest,
    read_manifest,
    refuse_changes,
    write_manifest,
)
from filterscope.atlas.storage.rows import STATUSES
from filterscope.atlas.storage.store import Store, open_store
from filterscope.errors import ArgumentError
from filterscope.files import safe_name
from filterscope.measure.natural import images_digest
from filterscope.networks import Network, open_network
from filterscope.objective import Objective
from filterscope.pictures.reading import list_images
from filterscope.recipe import Recipe, get_recipe
from filterscope.target import At

GRIDS = (15,)
RECIPE = get_recipe("natural", steps=128).model_copy(update={"usual_size": "own"})
FINEST = 100


def map_recipe(recipe: str | Recipe | None = None, **changes: Any) -> Recipe:
    """The recipe of a map's cells: natural at the network's own size where none is named, since a cell is a mean of
    photographs, and small pictures are enough for it. changes: as for `get_recipe`."""
    return get_recipe(RECIPE if recipe is None else recipe, **changes)


@dataclass(frozen=True)
class MapRequest:
    """What to map. layer: whose activations. atlas: the recipe, the images and where to draw, as for an atlas. grids: cells
    a side, one grid for each level of detail. points: another map of the same images, on whose layout this one lies."""

    layer: str
    atlas: AtlasRequest
    grids: Sequence[int] = GRIDS
    points: Map | None = None

    @property
    def recipe(self) -> Recipe:
        """Of the cells; where none is named, the one that suits them."""
        asked = self.atlas.recipe
        return asked if isinstance(asked, Recipe) else map_recipe().changed(asked.changes)

    def check(self, source: Any) -> None:
        """ArgumentError for what cannot be done with any network."""
        self.atlas.check(source)
        if self.atlas.images is None:
            raise ArgumentError("an activation atlas is of images: give their folder with images=")
        if not self.grids or not all(isinstance(n, int) and 2 <= n <= FINEST for n in self.grids):
            raise ArgumentError(
                f"a grid has 2 to {FINEST} cells a side (got {', '.join(map(str, self.grids)) or 'none'})"
            )
        if self.atlas.layers is not None or self.atlas.judge is not None or self.atlas.labels is not None:
            raise ArgumentError("an activation atlas is of one layer, without layers=, a judge or labels")


def make_map(
    source: Any,
    out: str | os.PathLike[str] | Store,
    request: MapRequest,
    *,
    progress: bool | None = None,
    on_message: OnMessage = lambda _: None,
) -> dict[str, Any]:
    """Draw an activation atlas of a layer into a folder, or go on with one; returns its summary.

    Raises ArgumentError for what cannot be drawn as asked, OutputError where it cannot be written.
    """
    request.check(source)
    import_pyarrow()
    store = out if isinstance(out, Store) else open_store(out)
    network = open_network(source, weights=request.atlas.weights)
    check_layer(network, request.layer)
    name = (
        request.atlas.name
        or f"{next(iter(choose_folder_names([network.name]).values()))}.map.{safe_name(request.layer)}"
    )
    begun = time.monotonic()
    with hold_lock(store, name), open_cluster_for(request.atlas) as ray:
        found, manifest = _Mapping(store, name, network, source, request, on_message, progress).begin()
        run = AtlasRun(
            store, name, network, manifest, request.atlas, on_message, ray,
            goals={level.name: _goals(network, request, level) for level in found.levels},
        )  # fmt: skip
        writer = AtlasWriter(store, name, manifest.layers)
        run.draw_all(writer, progress)
        page = write_map_page(store, name, manifest, found, _classes(network))
    return {
        **_counts(store, name, manifest.layers), "out": store.address, "page": page, "layer": request.layer,
        "images": len(found.names), "layout": found.about["layout"], "cells": {x.grid: len(x.counts) for x in found.levels},
        "drawn": writer.drawn, "seconds": time.monotonic() - begun, "folder": name,
    }  # fmt: skip


@dataclass(frozen=True)
class _Mapping:
    """Computes a map, or reads the one that is there, and notes what is to be drawn."""

    store: Store
    folder: str
    network: Network
    source: Any
    request: MapRequest
    on_message: OnMessage
    progress: bool | None

    def begin(self) -> tuple[Map, NetworkManifest]:
        """The map and its manifest, both written."""
        store, folder = self.store, self.folder
        images = self.request.atlas.images
        assert images is not None
        before, about = read_manifest(store, folder), read_about(store, folder)
        self.network.part(self.request.layer)
        paths = list_images(images.absolute())
        asked, told = self._manifest(paths), self._about()
        if before is not None and about is not None:
            try:
                refuse_changes(before, asked, f"{store.address}/{folder}")
                self._refuse_other(about, told)
                found = read_map(store, folder)
                return found, before
            except ArgumentError:
                if not self.request.atlas.overwrite:
                    raise
                self.on_message(f"removing the map in {store.address}/{folder}, which was drawn otherwise")
        if before is not None or about is not None:
            store.remove(folder)
        store.check()
        found = self._compute(paths, told)
        manifest = asked.model_copy(update={"layers": [self._entry(level) for level in found.levels]})
        found.write(store, folder)
        write_manifest(store, folder, manifest)
        return found, manifest

    def _refuse_other(self, about: dict[str, Any], told: dict[str, Any]) -> None:
        keys = ("layer", "grid", "seed")
        differences = list_differences({k: about.get(k) for k in keys}, {k: told[k] for k in keys})
        if differences:
            raise ArgumentError(
                f"{self.store.address}/{self.folder} holds a map that was drawn otherwise: {'; '.join(differences)}. "
                "Nothing was changed. Choose another out= or name=, or draw it anew with overwrite=True"
            )

    def _about(self) -> dict[str, Any]:
        request = self.request
        layout = "as the other map" if request.points is not None else choose_method()
        return {
            "layer": request.layer, "grid": sorted(dict.fromkeys(request.grids)), "layout": layout,
            "seed": request.atlas.run.seed, "least": LEAST,
        }  # fmt: skip

    def _manifest(self, paths: Sequence[Path]) -> NetworkManifest:
        request, network = self.request.atlas, self.network
        goals = network.targets(f"{self.request.layer}:0")
        device = choose_device(request.run.device)
        precision = str(precision_for(network, goals, request.run.precision, device)).removeprefix("torch.")
        return NetworkManifest(
            name=network.name,
            source=os.fspath(self.source) if isinstance(self.source, str | os.PathLike) else None,
            weights=request.weights,
            weights_sha256=network.weights.sha256,
            weights_file=network.weights_file,
            input=str(network.input),
            recipe=json.loads(self.request.recipe.model_dump_json()),
            seed=request.run.seed,
            precision=precision,
            version=__version__,
            images=str(request.images),
            images_digest=images_digest(paths),
            alpha=request.alpha,
        )

    def _compute(self, paths: Sequence[Path], told: dict[str, Any]) -> Map:
        from tqdm.auto import tqdm

        request = self.request
        assert request.atlas.images is not None
        shown = None if self.progress is None else not self.progress
        with tqdm(total=len(paths), unit="picture", disable=shown, leave=False) as bar:
            samples = collect(
                self.network, request.layer, paths, request.atlas.images.absolute(), seed=request.atlas.run.seed,
                on_batch=lambda done: bar.update(done - bar.n), on_skip=lambda _, why: self.on_message(f"left out: {why}"),
            )  # fmt: skip
        if request.points is None:
            self.on_message(f"laying out {len(samples.names)} activations by {told['layout']}")
            points = lay_out(samples.activations, told["layout"], seed=request.atlas.run.seed)
        else:
            samples, points = _on(samples, request.points)
        whitening = whitening_of(samples.activations)
        levels = [
            make_level(grid, points, samples.activations, samples.votes, whitening) for grid in told["grid"]
        ]
        empty = [level.grid for level in levels if not len(level.counts)]
        if empty:
            raise ArgumentError(
                f"no cell of a grid of {empty[0]} has {LEAST} of {len(samples.names)} activations: give more images, or a "
                "coarser grid"
            )
        return Map(told, samples.names, samples.places, points, levels)

    def _entry(self, level: Level) -> LayerEntry:
        recipe, network, layer = self.request.recipe, self.network, self.request.layer
        size = recipe.size or network.picture_size(layer, recipe.usual_size)
        device = choose_device(self.request.atlas.run.device)
        return LayerEntry(
            name=level.name,
            folder=level.name,
            kind="Map",
            units=len(level.counts),
            size=list(size) if isinstance(size, tuple) else size,
            batch=max(1, usual_count(size, recipe, device) // recipe.facet_count),
        )


def _on(samples: Samples, other: Map) -> tuple[Samples, np.ndarray]:
    """The samples of those images that another map has too, and where that has them."""
    known = {name: i for i, name in enumerate(other.names)}
    kept = [i for i, name in enumerate(samples.names) if name in known]
    points = other.points[[known[samples.names[i]] for i in kept]]
    votes = None if samples.votes is None else samples.votes[kept]
    names = tuple(samples.names[i] for i in kept)
    return Samples(names, samples.places[kept], samples.activations[kept], votes), points


def _goals(network: Network, request: MapRequest, level: Level) -> Sequence[Objective]:
    return level.goals(request.layer, centre(network, request))


def centre(network: Network, request: MapRequest) -> At:
    """The place in the middle of the layer's map, at the size of the pictures."""
    recipe = request.recipe
    size = recipe.size or network.picture_size(request.layer, recipe.usual_size)
    rows, columns = network.output_shape(request.layer, size)[1:]
    return rows // 2, columns // 2


def _classes(network: Network) -> list[str]:
    """What each class is called; its number where it has no name."""
    layer = classes_layer(network)
    if layer is None:
        return []
    names = network.class_names(layer)
    return [names[i][0] if names else f"{layer}:{i}" for i in range(network.layer(layer).units)]


def _counts(store: Store, folder: str, entries: Sequence[LayerEntry]) -> dict[str, int]:
    """How many pictures there are, and of each status."""
    found: Counter[str] = Counter()
    for entry in entries:
        found.update(
            row.status
            for row in read_rows(store, f"{folder}/{entry.folder}/{LAYER_TABLE}", ["unit", "status"])
        )
    counts = {status: found[status] for status in STATUSES}
    return {"pictures": sum(counts.values()) - counts["failed"], **counts}
