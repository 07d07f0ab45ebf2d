"""An explanation as one page, with its pictures in a folder beside it; it opens from the file system."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from filterscope.atlas.gallery.pages import SHARED, read_asset, render
from filterscope.explanation.chart import chart_of
from filterscope.explanation.evidence import Channel
from filterscope.explanation.found import Found, Key, LayerFound
from filterscope.explanation.masks import enlarged, light
from filterscope.explanation.words import amount, share_text, signed, unit_of, unit_text
from filterscope.files import safe_name, writing

ASSETS = ("gallery.css", "theme.js")
QUALITY = 90  # of masks and photographs, JPEG


@dataclass
class Files:
    """The pictures of an explanation by their paths, relative to its page's folder, and where each is on the page."""

    data: dict[str, bytes] = field(default_factory=dict, repr=False)
    shapes: dict[Key, str] = field(default_factory=dict)
    masks: dict[Key, str] = field(default_factory=dict)
    examples: dict[Key, list[str]] = field(default_factory=dict)
    photograph: str = ""


def make_files(found: Found) -> Files:
    """Everything that the page shows, encoded."""
    files, folder = Files(), found.stem
    files.photograph = f"{folder}/photograph.jpg"
    files.data[files.photograph] = _jpeg(enlarged(found.seen.image))

    def add(key: Key, mask: Image.Image | None) -> None:
        stem = (
            f"{folder}/{safe_name(key[0])}-{key[1]:04d}"
            if isinstance(key[1], int)
            else f"{folder}/{safe_name(key[0])}-{key[1]}"
        )
        if (shape := found.shapes.get(key)) is not None:
            files.shapes[key] = f"{stem}.png"
            files.data[files.shapes[key]] = shape.png
        if mask is not None:
            files.masks[key] = f"{stem}-where.jpg"
            files.data[files.masks[key]] = _jpeg(mask)
        images = found.examples.get(key, [])
        files.examples[key] = [f"{stem}-example-{i}.jpg" for i in range(1, len(images) + 1)]
        files.data |= dict(zip(files.examples[key], map(_jpeg, images), strict=True))

    for layer in found.layers:
        spatial = layer.attribution.spatial
        for against, channels in ((False, layer.raising), (True, layer.lowering)):
            for one in channels:
                mask = light(found.seen.image, one.relevance, against=against) if spatial else None
                add((one.layer, one.unit), mask)
        for group in layer.groups:
            add(
                (group.layer, f"group-{group.number}"),
                light(found.seen.image, group.relevance, against=group.share < 0),
            )
    return files


def write_page(found: Found, files: Files, folder: Path) -> Path:
    """Write the pictures and the style sheet, then the page, which is complete as soon as it is there."""
    for name in ASSETS:
        _write(folder / SHARED / name, read_asset(name))
    for path, data in files.data.items():
        _write(folder / path, data)
    page = folder / f"{found.stem}.html"
    _write(page, render("explain.html", root="", **page_data(found, files)))
    return page


def page_data(found: Found, files: Files) -> dict[str, Any]:
    """What the template shows."""
    return {
        "found": found,
        "amount": amount(found),
        "unit": unit_of(found),
        "photograph": files.photograph,
        "classes": [
            {"name": g.name, "percent": f"{100 * g.probability:.1f}", "asked": g.name in found.names}
            for g in found.seen.classes
        ],
        "layers": [_layer(found, files, layer) for layer in found.layers],
        "drawn": bool(found.shapes),
    }


def _layer(found: Found, files: Files, layer: LayerFound) -> dict[str, Any]:
    count, *places = layer.attribution.activations.shape
    sums = layer.attribution.contributions
    return {
        "name": layer.layer,
        "channels": count,
        "map": " \N{MULTIPLICATION SIGN} ".join(map(str, places)) if layer.attribution.spatial else "",
        "field": field_text(layer.receptive_field, min(found.seen.image.size)),
        "raising": [_channel(found, files, one) for one in layer.raising],
        "lowering": [_channel(found, files, one) for one in layer.lowering],
        "sum_for": signed(float(sums[sums > 0].sum()), 2),
        "sum_against": signed(float(sums[sums < 0].sum()), 2),
        "groups": [
            {
                "title": f"Group {group.number}", "share": share_text(group.share),
                "percent": _percent(group.share, full=1.0),
                "picture": files.shapes.get(key := (group.layer, f"group-{group.number}")), "mask": files.masks.get(key),
                "channels": ", ".join(map(str, group.channels)), "against": group.share < 0, "votes": [], "examples": [],
            }
            for group in layer.groups
        ],
        "check": layer.check,
        "chart": chart_of(layer.check),
        "alone": layer.alone,
    }  # fmt: skip


def field_text(field: int | None, side: int) -> str:
    """How much of the picture a place of the layer depends on; nothing where that is not known."""
    if field is None:
        return ""
    return f"{field} px of the picture" if field < side else "all of the picture"


def _channel(found: Found, files: Files, channel: Channel) -> dict[str, Any]:
    key = (channel.layer, channel.unit)
    asked = [(name, channel.votes[name]) for name in found.names if name in channel.votes]
    others = [vote for vote in channel.votes.items() if vote[0] not in found.names and vote[1] > 0]
    votes = asked + sorted(others, key=lambda vote: -vote[1])[: max(1, 3 - len(asked))]
    return {
        "title": unit_text(channel),
        "share": share_text(channel.share),
        "percent": _percent(channel.share),
        "contribution": signed(channel.contribution, 2),
        "picture": files.shapes.get(key),
        "mask": files.masks.get(key),
        "examples": files.examples.get(key, []),
        "channels": "",
        "votes": [f"{name} {signed(value, 2)}" for name, value in votes],
    }


def _percent(share: float, *, full: float = 0.1) -> str:
    """The width of a bar that is filled by a share of `full`: those of single channels are small."""
    return f"{min(100.0, 100 * abs(share) / full):.1f}"


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    with writing(path) as spare:
        spare.write_bytes(data)
