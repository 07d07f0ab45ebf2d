"""The gallery: an atlas as pages that open in a browser from the file system, without server or internet.

    DIR/index.html                   the networks
    DIR/NETWORK/index.html           its layers, and a search over all of its units
    DIR/NETWORK/LAYER/index.html     its units, each with a panel of its own (index.html#34)
    DIR/_gallery/                    the style sheet and the scripts that all pages share

Browsers let no page read a file beside it, so the data are scripts that call a function: `catalog.js` of a network
(every unit's name, status, excitation, label and numbers), `layer.js` of a layer, `units-N.js` with what the panels
of 64 units show, loaded when one is opened, `more-N.js` with their further photographs, loaded when asked for. Pages
are made with Jinja2, which escapes every name; scripts set names as text only, never as markup.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Any, Protocol

from filterscope._version import __version__
from filterscope.atlas.gallery.data import (
    UNITS_PER_FILE,
    Data,
    Index,
    LayerPages,
    NetworkPages,
    describe_more,
    describe_unit,
    layer_folder,
    make_catalog,
    read_networks,
)
from filterscope.atlas.gallery.kept import list_kept
from filterscope.atlas.gallery.paths import quote_path
from filterscope.atlas.gallery.sprites import COLUMNS, THUMBNAILS_PER_SHEET, locate_thumbnail, make_sprites
from filterscope.atlas.storage.index import INDEX
from filterscope.atlas.storage.rows import STATUSES
from filterscope.atlas.storage.store import Store, open_store
from filterscope.errors import DamagedError

ASSETS = ("gallery.css", "theme.js", "charts.js", "grid.js", "unit.js")
SHARED = "_gallery"
BUILT = f"{SHARED}/built.json"  # what the pages were made from
NOT_LIVE = "// Pages opened from a folder cannot draw; `filterscope view DIR` puts the drawing script here.\n"
STRIP_THUMBNAILS = 12  # thumbnails beside a layer's or a network's name


def build_gallery(
    address: str | os.PathLike[str] | Store, *, on_layer: Callable[[str], object] | None = None
) -> str:
    """Make, or make anew, the pages of the atlas in a folder; the address of the first page.

    address: a folder, any fsspec address, or a store. `on_layer` is called with each layer's name as its page is written.

    Raises ArgumentError where there is no atlas, OutputError where a page cannot be written.
    """
    store = address if isinstance(address, Store) else open_store(address)
    of_index = _index_sha256(store)
    index = Index(store)
    networks = read_networks(store, index)
    write_assets(store)
    cards = []
    for network in networks:
        layers = (LayerPages(network.info(n), index.read_layer(network.folder, n)) for n in network.layers())
        cards.append(write_network(store, network, layers, on_layer=on_layer))
    store.write("index.html", render("start.html", root="", networks=cards))
    store.write_json(BUILT, {"index_sha256": of_index, "version": __version__})  # last: all of it is there
    return f"{store.address.rstrip('/')}/index.html"


def is_built(store: Store) -> bool:
    """Whether the pages are there and were made from this very index by this version, whatever the files' times are."""
    try:
        built = store.read_json(BUILT)
    except DamagedError:
        return False
    return store.exists("index.html") and built == {
        "index_sha256": _index_sha256(store), "version": __version__,
    }  # fmt: skip


def _index_sha256(store: Store) -> str | None:
    """The index's hash; None where there is no index."""
    try:
        with store.open(INDEX) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except FileNotFoundError:
        return None


class Writes(Protocol):
    """A folder, or a store, that takes files by their paths in it."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""


def write_assets(store: Writes, extra: Sequence[str] = ()) -> None:
    """The style sheet and scripts that all pages share."""
    for name in (*ASSETS, *extra):
        store.write(f"{SHARED}/{name}", read_asset(name))
    store.write(f"{SHARED}/live.js", NOT_LIVE.encode())


def read_asset(name: str) -> bytes:
    """A style sheet or script of the package."""
    return (resources.files(__package__) / "templates" / name).read_bytes()


def write_network(
    store: Store,
    network: NetworkPages,
    layers: Iterable[LayerPages],
    *,
    on_layer: Callable[[str], object] | None = None,
) -> Data:
    """A network's page, its layers' pages and their data; what the start page shows of it.

    Layers are taken and written one at a time: only their catalogues are kept.
    """
    rows, catalogs = [], []
    for layer in layers:
        found = write_layer(store, network, layer)
        catalogs.append(found)
        rows.append(_layer_row(layer, found))
        if on_layer is not None:
            on_layer(layer.name)
    counts = {s: sum(row["counts"].get(s, 0) for row in rows) for s in STATUSES}
    card = {
        "name": network.name,
        "folder": network.folder,
        "record": network.record,
        "layers": len(rows),
        "units": sum(row["units"] for row in rows),
        "counts": {s: n for s, n in counts.items() if n},
        "strip": _spread([thumb for row in rows for thumb in row["strip"]], STRIP_THUMBNAILS),
    }
    store.write(f"{network.folder}/catalog.js", make_script("catalog", catalogs))
    write_kept(store, network.folder)
    page = render("network.html", root="../", network=network, card=card, layers=rows)
    store.write(f"{network.folder}/index.html", page)
    return card


def write_layer(store: Store, network: NetworkPages, layer: LayerPages) -> Data:
    """A layer's page, its thumbnails and its units' details; its catalogue."""
    place = f"{network.folder}/{layer.folder}"
    sprites = make_sprites([u.file for u in layer.units], store.read)
    for name, data in zip(sprites.names(), sprites.sheets, strict=True):
        store.write(f"{place}/{name}", data)
    found = make_catalog(
        layer,
        {
            "files": sprites.names(),
            "rows": sprites.rows,
            "columns": COLUMNS,
            "per": THUMBNAILS_PER_SHEET,
            "shown": "".join("1" if s else "0" for s in sprites.shown),
        },
    )
    store.write(f"{place}/layer.js", make_script("catalog", [found]))
    for begin in range(0, len(layer.units), UNITS_PER_FILE):
        number, units = begin // UNITS_PER_FILE, layer.units[begin : begin + UNITS_PER_FILE]
        sides = network.record.input_sides
        chunk = [describe_unit(u, layer, sides) for u in units]
        store.write(f"{place}/units-{number}.js", make_script("details", chunk, number))
        more = [describe_more(u, layer, sides) for u in units]
        if any(one["examples"] or one["classes"] for one in more):
            store.write(f"{place}/more-{number}.js", make_script("more", more, number))
    page = render(
        "layer.html",
        root="../../",
        network=network,
        layer=layer,
        chunk=UNITS_PER_FILE,
        before=_neighbour(network, layer.name, -1),
        after=_neighbour(network, layer.name, 1),
    )
    store.write(f"{place}/index.html", page)
    return found


def _neighbour(network: NetworkPages, layer: str, by: int) -> dict[str, str] | None:
    """Name and folder of the layer before or behind, None at an end."""
    names = network.layers()
    place = names.index(layer) + by
    if not 0 <= place < len(names):
        return None
    return {"name": names[place], "folder": layer_folder(network.info(names[place]))}


def write_kept(store: Store, network_folder: str) -> None:
    """The list of the pictures that people drew in the viewer and kept."""
    store.write(f"{network_folder}/drawn/drawn.js", make_script("kept", list_kept(store, network_folder)))


def render(template: str, **values: Any) -> bytes:
    """A page from a template; every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["link"] = quote_path
    pages.globals["version"] = __version__
    return pages.get_template(template).render(**values).encode()


def make_script(function: str, *values: Any) -> bytes:
    r"""A script that calls a function of the pages with data; read as JSON, so that no name becomes code.

    >>> make_script("kept", ["</b>"]) == rb'''filterscope.kept(JSON.parse('["\u003c/b>"]'));''' + b'\n'
    True
    """
    texts = [json.dumps(v, ensure_ascii=True, allow_nan=False, separators=(",", ":")) for v in values]
    escapes = str.maketrans({"\\": "\\\\", "'": "\\'", "<": "\\u003c"})
    literals = [f"JSON.parse('{text.translate(escapes)}')" for text in texts]
    return f"filterscope.{function}({', '.join(literals)});\n".encode()


def _layer_row(layer: LayerPages, found: Data) -> Data:
    """What a network's page shows of a layer, with the thumbnails of the units that were drawn best."""
    order = sorted(
        (i for i, shown in enumerate(found["sheets"]["shown"]) if shown == "1"),
        key=lambda i: -(layer.units[i].excitation or 0.0),
    )
    strip = []
    for i in _spread(order[: max(STRIP_THUMBNAILS, len(order) // 2)], STRIP_THUMBNAILS):
        at = locate_thumbnail(i)
        file = f"{layer.folder}/{found['sheets']['files'][at.sheet]}"
        strip.append(
            {"file": file, "column": at.column, "row": at.row, "rows": found["sheets"]["rows"][at.sheet]}
        )
    return {
        "layer": layer,
        "counts": layer.counts,
        "units": len(layer.units),
        "strip": strip,
    }


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
