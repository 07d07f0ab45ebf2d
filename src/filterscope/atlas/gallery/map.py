"""The page of an activation atlas: a map that pans and zooms, with finer cells the nearer it is; two maps on one layout.

DIR/FOLDER/index.html            the map
DIR/FOLDER/cells.js              its cells: where they lie, how many activations each is of, what they vote for
DIR/FOLDER/grid-15/sprite-0.webp thumbnails, in the cells' order
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from filterscope.atlas.gallery.data import round_number
from filterscope.atlas.gallery.pages import make_script, render, write_assets
from filterscope.atlas.gallery.sprites import COLUMNS, THUMBNAIL_SIDE, THUMBNAILS_PER_SHEET, make_sprites
from filterscope.atlas.maps.cells import LEAST, Level
from filterscope.atlas.maps.record import Map
from filterscope.atlas.storage.manifest import NetworkManifest
from filterscope.atlas.storage.store import Store

NAMED = 3  # classes that the page shows of a cell


def write_map_page(
    store: Store, folder: str, manifest: NetworkManifest, found: Map, classes: Sequence[str]
) -> str:
    """Write a map's page and its data; the page's address."""
    write_assets(store, ["map.js"])
    levels = [_level(store, folder, level, classes) for level in found.levels]
    shown = {"name": manifest.name, "layer": found.about["layer"], "folder": "", "levels": levels}
    store.write(f"{folder}/cells.js", make_script("map", shown))
    side = {"name": manifest.name, "manifest": manifest, "scripts": "cells.js", "root": ""}
    page = render(
        "map.html", root="../", sides=[side], about=found.about, images=len(found.names), least=LEAST
    )
    store.write(f"{folder}/index.html", page)
    return f"{store.address.rstrip('/')}/{folder}/index.html"


def write_pair_page(
    store: Store,
    folders: Sequence[str],
    manifests: Sequence[NetworkManifest],
    names: Sequence[str],
    found: Map,
) -> str:
    """Write map.html, which shows two maps that were drawn on one layout beside each other; its address."""
    sides = []
    for folder, manifest, name in zip(folders, manifests, names, strict=True):
        data = store.read(f"{folder}/cells.js").replace(b'"folder":""', f'"folder":"{folder}/"'.encode())
        store.write(f"{folder}/beside.js", data)
        sides.append(
            {"name": name, "manifest": manifest, "scripts": f"{folder}/beside.js", "root": f"{folder}/"}
        )
    page = render("map.html", root="", sides=sides, about=found.about, images=len(found.names), least=LEAST)
    store.write("map.html", page)
    return f"{store.address.rstrip('/')}/map.html"


def _level(store: Store, folder: str, level: Level, classes: Sequence[str]) -> dict[str, Any]:
    """What the page needs of one grid, its thumbnails written."""
    files = [f"cell-{i:04d}.png" for i in range(len(level.counts))]
    there = store.sizes(f"{folder}/{level.name}")
    paths = [f"{folder}/{level.name}/{name}" if name in there else None for name in files]
    sprites = make_sprites(paths, store.read)
    for name, data in zip(sprites.names(), sprites.sheets, strict=True):
        store.write(f"{folder}/{level.name}/{name}", data)
    votes = [
        [
            [classes[unit], round_number(vote, 3)]
            for unit, vote in zip(units[:NAMED], of[:NAMED], strict=True)
            if unit < len(classes)
        ]
        for units, of in zip(level.classes.tolist(), level.votes.tolist(), strict=True)
    ]
    return {
        "grid": level.grid,
        "folder": level.name,
        "spots": level.spots.tolist(),
        "counts": level.counts.tolist(),
        "votes": votes,
        "sheets": sprites.names(),
        "columns": COLUMNS,
        "per": THUMBNAILS_PER_SHEET,
        "side": THUMBNAIL_SIDE,
        "shown": "".join("1" if s else "0" for s in sprites.shown),
    }
