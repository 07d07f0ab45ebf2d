"""What an atlas is to hold: a person's request, checked against the network and what is there already."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from filterscope._version import __version__
from filterscope.ascent.engine import device as devices
from filterscope.ascent.engine.prepare import choose_device, precision_for, why_not_in
from filterscope.atlas.plan import check_name
from filterscope.atlas.storage.manifest import (
    LayerEntry,
    NetworkManifest,
    add_network,
    make_layer_entries,
    read_manifest,
    refuse_changes,
    refuse_foreign,
    write_manifest,
)
from filterscope.atlas.storage.natural import EXAMPLES_FOLDER, save_natural
from filterscope.atlas.storage.store import Store
from filterscope.concept import ANY_LAYER, How
from filterscope.drawing.run import USUAL, Run
from filterscope.errors import ArgumentError
from filterscope.measure.concepts import ConceptUnits, concepts_at
from filterscope.measure.examples import find_examples
from filterscope.measure.natural import images_digest, recall
from filterscope.measure.units import layers_with_units
from filterscope.networks import Network
from filterscope.pictures.reading import list_images
from filterscope.recipe import AutoRecipe, Recipe, read_asked, record_asked
from filterscope.selection import Selection

OnMessage = Callable[[str], object]


@dataclass(frozen=True)
class AtlasRequest:
    """What to draw, and where.

    layers: names of layers; all that have units worth a picture where None.
    recipe: one for all, or the one that suits each layer; where none is named an atlas goes on with what it began with.
    weights: as for `open_network`.
    images: folder of natural images, for excitations and examples.
    name: folder of the network in the atlas, its own name where None.
    retry: draw failed and dead units again, the dead from other noise.
    overwrite: draw anew where what is there was drawn otherwise, instead of refusing.
    on, address, workers: "local" or "ray"; the cluster's address; how many workers.
    alpha: write each picture with an alpha channel too, `Picture.transparency`.
    judge: another network, opened, by whose features each picture's legibility is measured on the `images`, and the clarity
    and polysemanticity of each unit's examples where there is no encoder.
    encoder: see `open_encoder`, for the same of the examples.
    labels: a CSV file of units' labels, or rows of one. With labels alone (and `name`, `weights`) nothing is drawn: they are
    added to what is there.
    concepts: a file or folder of concepts, which are drawn instead of the layers' units, at the layers that are named or,
        where none is, at the one that the file names. how: by what: "dot", "cosine" or "latent".
    """

    layers: Sequence[str] | None = None
    recipe: Recipe | AutoRecipe = field(default_factory=lambda: AutoRecipe(named=False))
    run: Run = USUAL
    weights: str | None = None
    images: Path | None = None
    name: str | None = None
    retry: bool = False
    overwrite: bool = False
    on: str = "local"
    address: str | None = None
    workers: int | None = None
    alpha: bool = False
    judge: Network | None = None
    encoder: Any = None
    labels: Any = None
    concepts: str | None = None
    how: How = "dot"

    def __post_init__(self) -> None:
        if self.images is not None:  # a text will do too
            object.__setattr__(self, "images", Path(self.images))

    @property
    def labels_alone(self) -> bool:
        """Whether labels are all that is asked for."""
        asked = replace(
            self, labels=None, name=None, weights=None, run=replace(self.run, device=USUAL.device)
        )
        return self.labels is not None and asked == AtlasRequest()

    def check(self, source: Any) -> None:
        """ArgumentError for what cannot be done with any network."""
        if self.on not in ("local", "ray"):
            raise ArgumentError(f"an atlas is drawn on local or ray (got {self.on!r})")
        if self.on == "ray" and not isinstance(source, str | os.PathLike):
            raise ArgumentError(
                f"a {type(source).__name__} object cannot be sent to Ray's workers; pass a network's name or a file"
            )
        if self.judge is not None and self.images is None:
            raise ArgumentError("a judge measures legibility by photographs: give their folder with images=")
        if self.encoder is not None and self.images is None:
            raise ArgumentError(
                "an encoder measures the clarity of photographs: give their folder with images="
            )
        if self.name is not None:
            check_name(self.name)
        if self.concepts is None and self.how != "dot":
            raise ArgumentError(f"how={self.how!r} is of a file of concepts: name it with concepts=")


@dataclass(frozen=True)
class Beginning:
    """Begins to draw a network into a folder of an atlas, or to go on with it. ray: Ray, where workers are to draw.
    concepts: what is drawn instead of layers' units."""

    store: Store
    folder: str
    network: Network
    source: Any
    request: AtlasRequest
    on_message: OnMessage
    ray: Any = None
    concepts: Sequence[ConceptUnits] = ()

    def write(self) -> NetworkManifest:
        """Check what there is to draw, and write it down with natural activations; the network's manifest."""
        store, folder, request = self.store, self.folder, self.request
        names = [] if self.concepts else choose_layers(self.network, request.layers)
        layers = [*names, *(one.layer for one in self.concepts)]
        if not request.overwrite:
            refuse_foreign(store, folder)
        for layer in layers:
            self.network.part(
                layer
            )  # damaged weights are found now; and their hash must not fetch a file of its own
        before = read_manifest(store, folder)
        recipe = self._recipe(before)
        asked = self._describe(layers, recipe, before)
        before = self._accept(before, asked)
        entries = make_layer_entries(self.network, names, recipe, before, self._device(), self.concepts)
        store.check()
        add_network(store, folder)  # first of all: what lies here is an atlas from now on
        for place in (folder, f"{folder}/{EXAMPLES_FOLDER}"):
            store.sweep(place)
        known = {entry.name for entry in before.layers} if before else set()
        self._save_natural([entry for entry in entries if entry.name not in known], before)
        manifest = (before or asked).model_copy(update={"layers": entries})
        if before is None or manifest.model_dump() != before.model_dump():
            write_manifest(store, folder, manifest)
        return manifest

    def _recipe(self, before: NetworkManifest | None) -> Recipe | AutoRecipe:
        """What is requested; where no recipe is named, that which the atlas began with, with what is asked of it."""
        asked = self.request.recipe
        if before is None or isinstance(asked, Recipe) or asked.named:
            return asked
        began = read_asked(before.recipe)
        return began.changed(asked.changes) if isinstance(began, Recipe) else asked

    def _describe(
        self, names: Sequence[str], recipe: Recipe | AutoRecipe, before: NetworkManifest | None
    ) -> NetworkManifest:
        """The manifest of pictures that are drawn as requested, without its layers."""
        request, network, source = self.request, self.network, self.source
        images = request.images
        asked = NetworkManifest(
            name=network.name,
            source=os.fspath(source) if isinstance(source, str | os.PathLike) else None,
            weights=request.weights,
            weights_sha256=network.weights.sha256,
            weights_file=network.weights_file,
            input=str(network.input),
            recipe=record_asked(recipe),
            seed=request.run.seed,
            precision=self._precision(names, before),
            version=__version__,
            images=None if images is None else str(images),
            images_digest=None if images is None else images_digest(list_images(images)),
            alpha=request.alpha,
            judge=None if request.judge is None else request.judge.name,
            encoder=None if request.encoder is None else encoder_name(request.encoder),
        )
        if before is not None and images is None:
            asked.images, asked.images_digest = before.images, before.images_digest
        return asked

    def _accept(self, before: NetworkManifest | None, asked: NetworkManifest) -> NetworkManifest | None:
        """What is there, if the request goes on with it; None where nothing is there, or no longer."""
        where = f"{self.store.address}/{self.folder}"
        try:
            if before is not None:
                refuse_changes(before, asked, where)
        except ArgumentError:
            if not self.request.overwrite:
                raise
            self.on_message(f"removing the pictures in {where}, which were drawn otherwise")
            self.store.remove(self.folder)
            return None
        return before

    def _device(self) -> torch.device:
        """What draws: the cluster's GPUs where it has any."""
        if self.ray is None:
            return choose_device(self.request.run.device)
        return torch.device("cuda" if self.ray.cluster_resources().get("GPU", 0) >= 1 else "cpu")

    def _precision(self, layers: Sequence[str], before: NetworkManifest | None) -> str:
        """The number type of all the atlas' pictures: the one its first pictures have, else the request's."""
        asked, network = self.request.run.precision, self.network
        if asked == "auto" and before is not None:
            return str(before.precision)
        goals = [target for layer in layers for target in network.targets(f"{layer}:0")]
        device = choose_device(self.request.run.device)
        if asked == "auto" and self.ray is not None:
            from filterscope.atlas.run.ray import choose_cluster_precision

            # the driver's variable first: workers may lack it
            found = devices.auto_by_environment() or choose_cluster_precision(self.ray)
            fits = found == "float32" or why_not_in(network, goals, torch.bfloat16, device) is None
            return found if fits else "float32"
        return str(precision_for(network, goals, asked, device)).removeprefix("torch.")

    def _save_natural(self, fresh: Sequence[LayerEntry], before: NetworkManifest | None) -> None:
        """Write the natural activations of layers that are new, and note in their entries that they are known."""
        images, network = self.request.images, self.network
        if fresh and images is None and before is not None and before.images is not None:
            raise ArgumentError(
                f"{self.store.address}/{self.folder} was begun with images={before.images!r}; give it for the new "
                "layers too"
            )
        concepts = {one.name: one for one in self.concepts}
        layers = [entry.name for entry in fresh if entry.name not in concepts]
        computed = find_examples(network, layers, images, concepts=self.concepts) if images and fresh else {}
        for entry in fresh:
            one = concepts.get(entry.name)
            key, layer = (one.key, one.layer) if one else (entry.name, entry.name)
            found = computed.get(key) or recall(network, key)
            if found is not None:
                shape = network.output_shape(layer, network.input.size)
                save_natural(
                    self.store, self.folder, str(entry.folder), found, shape=shape, size=network.input.size,
                    images=images,
                )  # fmt: skip
                entry.natural = True


def encoder_name(encoder: Any) -> str:
    """An encoder as network.json names it: as it was given, or an object's class."""
    return encoder if isinstance(encoder, str) else type(encoder).__name__


def choose_concepts(network: Network, request: AtlasRequest) -> list[ConceptUnits]:
    """The concepts that are drawn instead of layers' units; none where no file is named."""
    if request.concepts is None:
        return []
    layers = [ANY_LAYER] if request.layers is None else list(dict.fromkeys(request.layers))
    return [concepts_at(network, request.concepts, layer, request.how) for layer in layers]


def choose_layers(network: Network, layers: Sequence[str] | None) -> list[str]:
    """The named layers, checked; all that have units worth a picture where None."""
    if layers is None:
        return layers_with_units(network)
    for name in layers:
        if ":" in name and name not in network.layers:
            raise ArgumentError(
                f"an atlas draws whole layers (got {name!r}); filterscope show draws some units"
            )
        network.layer(name)
        network.targets(Selection(name, "*"))
    return list(dict.fromkeys(layers))
