"""Two networks' activation atlases beside each other, on one layout: the cells of both are of the same images."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from filterscope.atlas.gallery.map import write_pair_page
from filterscope.atlas.maps.record import read_map
from filterscope.atlas.run.mapping import MapRequest, make_map
from filterscope.atlas.run.request import OnMessage
from filterscope.atlas.storage.manifest import NetworkManifest, read_manifest
from filterscope.atlas.storage.store import open_store
from filterscope.comparison.pairs import name_folders, name_networks
from filterscope.errors import ArgumentError
from filterscope.files import safe_name
from filterscope.networks import open_network


def compare_maps(
    network_a: Any,
    network_b: Any,
    out: str | os.PathLike[str],
    request: MapRequest,
    *,
    progress: bool | None = None,
    on_message: OnMessage = lambda _: None,
) -> dict[str, Any]:
    """Draw the maps of one layer of two networks on the layout of the first, and a page with both; a summary.

    A cell of the second is drawn from its own activations for the images that lie in the first one's cell: where both
    distinguish the same, both pictures show the same. Errors as for `make_map`.
    """
    if request.atlas.on != "local":
        raise ArgumentError("two maps are drawn on this machine")
    networks = open_network(network_a), open_network(network_b)
    names = name_networks(*networks)
    store = open_store(out)
    folders = [f"{name[:60]}.map.{safe_name(request.layer)}" for name in name_folders(names)]
    made, first = [], None
    for network, folder in zip(networks, folders, strict=True):
        own = replace(request, atlas=replace(request.atlas, name=folder, weights=None), points=first)
        made.append(make_map(network, store, own, progress=progress, on_message=on_message))
        first = first or read_map(store, folder)
    assert first is not None
    manifests = [read_manifest(store, folder) or NetworkManifest() for folder in folders]
    page = write_pair_page(store, folders, manifests, names, first)
    counted = {
        key: made[0][key] + made[1][key]
        for key in ("pictures", "ok", "no-gain", "dead", "failed", "drawn", "seconds")
    }
    shared = {key: made[0][key] for key in ("out", "layer", "images", "layout", "cells")}
    return {**shared, **counted, "page": page, "maps": made}
