"""What feeds a unit as a page that opens from the file system, made of the gallery's parts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from filterscope.atlas.gallery.pages import render, write_assets
from filterscope.atlas.storage.store import open_store


def write_page(folder: Path, shown: Mapping[str, Any]) -> Path:
    """Write STEM.wires.html beside the pictures that it shows; the kernels lie in the page itself."""
    store = open_store(folder)
    write_assets(store)
    sides = [
        (title, sign, [{**wire, "kernel": _embedded(wire["kernel"])} for wire in wires])
        for title, sign, wires in shown["sides"]
    ]
    name = f"{shown['stem']}.wires.html"
    store.write(name, render("wires.html", root="", shown={**shown, "sides": sides}))
    return folder / name


def _embedded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
