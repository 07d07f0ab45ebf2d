"""What an atlas is to hold: the order of a person, checked against the network and what is there already."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from filterscope.ascent.engine import device as devices
from filterscope.ascent.engine.prepare import choose_device, precision_for, why_not_in
from filterscope.atlas.storage.manifest import (
    Manifest,
    add_network,
    describe,
    layer_entries,
    read_manifest,
    refuse_changes,
    refuse_foreign,
)
from filterscope.atlas.storage.natural import EXAMPLES, keep_natural
from filterscope.atlas.storage.store import Store
from filterscope.errors import ArgumentError
from filterscope.measure.examples import find_examples
from filterscope.measure.natural import images_digest, layers_with_units, recall
from filterscope.networks import Network
from filterscope.pictures.reading import list_images
from filterscope.recipe import Recipe, get_recipe
from filterscope.target import Selection

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


def begin(
    store: Store, folder: str, network: Network, source: Any, order: Order, say: Say, ray: Any = None
) -> Manifest:
    """What there is to draw, checked, and written down; natural activations with it."""
    names = layer_names(network, order.layers)
    if not order.overwrite:
        refuse_foreign(store, folder)
    for layer in names:
        network.part(layer)  # damaged weights are found now; and their hash must not fetch a file of its own
    told = read_manifest(store, folder)
    asked = describe(
        network, order.recipe, source=os.fspath(source) if isinstance(source, str | os.PathLike) else None,
        weights=order.weights, seed=order.seed, precision=_precision(network, names, order, told, ray), images=order.images,
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
    entries = layer_entries(network, names, order.recipe, told, _device(order, ray))
    store.check()
    add_network(store, folder)  # first of all: what lies here is an atlas from now on
    for place in (folder, f"{folder}/{EXAMPLES}"):
        store.sweep(place)
    _keep_natural(store, folder, network, entries, told, order)
    manifest = {**(told or asked), "layers": entries}
    if manifest != told:
        store.write_json(f"{folder}/network.json", manifest)
    return manifest


def layer_names(network: Network, layers: Sequence[str] | None) -> list[str]:
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


def _device(order: Order, ray: Any) -> torch.device:
    """What draws: the cluster's GPUs where it has any."""
    if ray is None:
        return choose_device(order.device)
    return torch.device("cuda" if ray.cluster_resources().get("GPU", 0) >= 1 else "cpu")


def _precision(network: Network, layers: Sequence[str], order: Order, told: Manifest | None, ray: Any) -> str:
    """The number type of all the atlas' pictures: the one its first pictures have, else the order's."""
    if order.precision == "auto" and told is not None:
        return str(told["precision"])
    goals = [target for layer in layers for target in network.targets(f"{layer}:0")]
    device = choose_device(order.device)
    if order.precision == "auto" and ray is not None:
        from filterscope.atlas.run.ray import ray_precision

        found = devices.auto_by_environment() or ray_precision(
            ray
        )  # the driver's variable: workers may lack it
        fits = found == "float32" or why_not_in(network, goals, torch.bfloat16, device) is None
        return found if fits else "float32"
    return str(precision_for(network, goals, order.precision, device)).removeprefix("torch.")


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
            keep_natural(
                store, folder, row["folder"], found, shape=shape, size=network.input.size, images=images
            )
            row["natural"] = True
