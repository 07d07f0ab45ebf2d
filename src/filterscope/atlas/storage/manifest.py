"""atlas.json and network.json: what an atlas records, and whether a run may go on with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from filterscope.ascent.engine.batch import usual_count
from filterscope.atlas.plan import PlannedLayer, choose_folder_names, list_differences
from filterscope.atlas.storage.index import INDEX, list_network_folders
from filterscope.atlas.storage.store import Store
from filterscope.concept import How
from filterscope.drawing.choice import recipe_for
from filterscope.errors import ArgumentError, DamagedError
from filterscope.formats import ATLAS
from filterscope.measure.concepts import ConceptUnits
from filterscope.networks.network import Network
from filterscope.recipe import AutoRecipe, Recipe, read_recipe, record_asked
from filterscope.sides import Sides, checked_size
from filterscope.target import Target

REPORT = "report.json"
KEPT = ("weights_sha256", "recipe", "seed", "precision", "version", "images_digest")  # that pictures rest on


class ConceptsEntry(BaseModel):
    """The concepts of a file, as an atlas draws them beside layers: the file's name, without its folder, and sha256, the
    layer that they are of, and by what they are drawn."""

    file: str
    sha256: str
    layer: str
    how: How = "dot"


class LayerEntry(BaseModel):
    """A layer in network.json, or a file's concepts at a layer; a key that an atlas from elsewhere lacks has its default."""

    model_config = ConfigDict(extra="allow")

    name: str
    folder: str | None = None
    kind: str | None = None
    units: int = 0
    output_shape: list[int] | None = None
    receptive_field: int | None = None
    size: int | list[int] = 0
    batch: int = 1
    classes: list[str] | None = None
    natural: bool = False
    concepts: ConceptsEntry | None = None
    recipe: dict[str, Any] | None = None  # that suits the layer, where the network's is "auto"

    def plan(self) -> PlannedLayer:
        """The layer as the plan takes it."""
        return PlannedLayer(
            self.name, self.folder or self.name, self.units, checked_size("size", self.size), self.batch
        )


class NetworkManifest(BaseModel):
    """A network's network.json: what the network is and how its pictures are drawn; see docs/atlas-format.md."""

    model_config = ConfigDict(extra="allow")

    format: int = ATLAS.number
    name: str = ""
    source: str | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    weights_file: str | None = None
    input: str = ""
    recipe: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    precision: str | None = None
    version: str = ""
    images: str | None = None
    images_digest: str | None = None
    alpha: bool = False
    judge: str | None = None
    encoder: str | None = None
    layers: list[LayerEntry] = Field(default_factory=list)

    def recipe_of(self, layer: LayerEntry) -> Recipe:
        """What the pictures of a layer are drawn with."""
        return read_recipe(self.recipe if layer.recipe is None else layer.recipe)

    def layer(self, name: str) -> LayerEntry | None:
        """The entry of a layer, None where there is none."""
        return next((entry for entry in self.layers if entry.name == name), None)

    @property
    def input_sides(self) -> Sides | None:
        """Height and width in pixels of the network's own input, where the record has it."""
        found = re.search(r"(\d+) x (\d+) px", self.input)
        return (int(found[1]), int(found[2])) if found else None


def read_manifest(store: Store, folder: str, *, whole: bool = True) -> NetworkManifest | None:
    """A network's network.json in today's form, None where there is none yet. ArgumentError where a newer version wrote
    it; DamagedError where it is something else or, if it is to be `whole`, lacks what pictures rest on."""
    found = store.read_json(f"{folder}/network.json")
    if found is None:
        return None
    where = f"{store.address}/{folder}/network.json"
    try:
        known = isinstance(found, dict) and "format" in found
        manifest = NetworkManifest.model_validate(ATLAS.newest(found, where) if known else None)
    except ValidationError:
        manifest = None
    if manifest is None or (whole and not {*KEPT, "layers", "images"} <= manifest.model_fields_set):
        raise DamagedError(f"{where} is damaged; remove the folder and draw anew")
    return manifest


def write_manifest(store: Store, folder: str, manifest: NetworkManifest) -> None:
    """Write a network's network.json."""
    store.write_json(f"{folder}/network.json", manifest.model_dump(mode="json"))


def refuse_changes(before: NetworkManifest, asked: NetworkManifest, where: str) -> None:
    """ArgumentError with what differs, where pictures would be drawn otherwise than those that are there."""
    found = list_differences(_kept(before), _kept(asked))
    if found:
        raise ArgumentError(
            f"{where} holds pictures that were drawn otherwise: {'; '.join(found)}. Nothing was changed. Draw as "
            "they were drawn, choose another out= or name=, or draw all of them anew with overwrite=True"
        )


def _kept(manifest: NetworkManifest) -> dict[str, Any]:
    """What pictures rest on. Fixes do not change pictures; a new minor version may."""
    kept = {key: getattr(manifest, key) for key in (*KEPT, "alpha", "judge", "encoder")}
    return {**kept, "version": ".".join(manifest.version.split(".")[:2])}


def refuse_foreign(store: Store, folder: str) -> None:
    """ArgumentError where the place is no atlas and holds files that an atlas would overwrite."""
    if store.exists("atlas.json"):
        return
    names = {*store.sizes(), *store.folders()}
    ours = sorted(names & {REPORT, INDEX, "index.html", folder})
    if ours:
        raise ArgumentError(
            f"{store.address} is no atlas and holds {', '.join(ours)}, which one would overwrite; "
            "choose another out=, or add overwrite=True"
        )


def add_network(store: Store, folder: str) -> None:
    """Note a network's folder in atlas.json."""
    known = list_network_folders(store)
    if folder not in known:
        store.write_json("atlas.json", ATLAS.stamped({"networks": [*known, folder]}))


def make_layer_entries(
    network: Network,
    names: Sequence[str],
    asked: Recipe | AutoRecipe,
    before: NetworkManifest | None,
    device: torch.device,
    concepts: Sequence[ConceptUnits] = (),
) -> list[LayerEntry]:
    """The `layers` of network.json: those that are there and the named ones, in the network's order, and behind them the
    concepts of files.

    A chunk is as large as is usual for the device, not as a measurement on this machine would have it: whoever draws
    the same atlas anew draws the same batches. Which recipe suits a layer is written down too, so that a run that goes on
    draws the layer as it began.
    """
    known = {entry.name: entry for entry in before.layers} if before else {}
    folders = choose_folder_names(network.layers)
    entries = []
    for name in network.layers:
        if name in known:
            entries.append(known[name])
        elif name in names:
            entries.append(_entry(network, name, asked, device))
            entries[-1].folder = folders[name]
    others = [entry for name, entry in known.items() if name not in network.layers]
    taken = [*network.layers, *(entry.name for entry in others)]
    for one in concepts:
        if one.name in known:
            _require_same_file(known[one.name], one)
            continue
        entry = _entry(network, one.layer, asked, device)
        entry.name, entry.kind = one.name, f"concepts of {one.file.name} ({one.file.table.form})"
        entry.folder = choose_folder_names([*taken, one.name])[one.name]
        entry.units, entry.classes = one.count, list(one.file.table.names) or None
        entry.concepts = ConceptsEntry(
            file=one.file.name, sha256=one.file.sha256, layer=one.layer, how=one.how
        )
        others.append(entry)
        taken.append(one.name)
    return entries + others


def _entry(network: Network, name: str, asked: Recipe | AutoRecipe, device: torch.device) -> LayerEntry:
    """A layer's entry, without a folder; ArgumentError for what cannot be drawn."""
    layer, recipe = network.layer(name), recipe_for(network, Target(name, 0), asked)
    size = recipe.size or network.picture_size(name, recipe.usual_size)
    network.output_shape(name, size)  # whatever cannot be drawn is refused before any work
    return LayerEntry(
        name=name, kind=layer.kind, units=layer.units, output_shape=list(layer.output_shape),
        receptive_field=layer.receptive_field, size=list(size) if isinstance(size, tuple) else size,
        batch=max(1, usual_count(size, recipe, device) // recipe.facet_count),
        classes=[own[0] for own in network.class_names(name)] or None,
        recipe=record_asked(recipe) if isinstance(asked, AutoRecipe) else None,
    )  # fmt: skip


def _require_same_file(entry: LayerEntry, one: ConceptUnits) -> None:
    before = entry.concepts.sha256 if entry.concepts else None
    if before != one.file.sha256:
        raise ArgumentError(
            f"the atlas holds pictures of {entry.name} from another file (sha256 {before}, now {one.file.sha256}): rename "
            "the file, choose another out=, or draw all of them anew with overwrite=True"
        )
