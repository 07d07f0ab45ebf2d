"""A made-up atlas in the format of docs/atlas-format.md: noise for pictures, every status, hostile names."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from filterscope.atlas.gallery.paths import folder_name
from filterscope.atlas.storage.index import INDEX, make_table, write_table
from filterscope.atlas.storage.rows import Row
from filterscope.atlas.storage.store import open_store
from filterscope.target import Target

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">'`${1}\\"


def png(seed: int, side: int = 32) -> bytes:
    """Smooth noise of that seed's own colour."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) // 2 + rng.integers(0, 128, 3, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def rows_of(
    network: str, layer: str, units: int, *, names: Sequence[str] = (), facets: int = 1, examples: bool = True
) -> list[dict[str, Any]]:
    """Index rows of a layer: the last unit failed, the one before dead, every seventh without gain."""
    rng = np.random.default_rng(units)
    rows = []
    for unit in range(units):
        status = {units - 1: "failed", units - 2: "dead"}.get(unit, "no-gain" if unit % 7 == 6 else "ok")
        for facet in range(facets):
            stem = Target(layer, unit).stem + (f"~{facet}" if facet else "")
            excitation = float(0.4 if status == "no-gain" else 0 if status == "dead" else rng.uniform(1, 9))
            failed = status == "failed"
            rows.append(
                {
                    "network": network, "layer": layer, "unit": unit, "facet": facet,
                    "class_name": names[unit] if names else None, "status": status,
                    "reason": "out of memory" if failed else None,
                    "activation": None if failed else 3 * excitation, "excitation": None if failed else excitation,
                    "probability": float(rng.uniform()) if names and not failed else None,
                    "start": None if failed else 0.1, "attempt": 0, "seconds": 1.25, "seed": 0, "recipe": "sharp",
                    "file": None if failed else f"{network}/{folder_name(layer)}/{stem}.png", "bytes": 1000,
                    "curve": [] if failed else (3 * excitation * (1 - np.exp(-np.arange(64) / 20))).tolist(),
                    "natural_mean": 0.4, "natural_p99": 2.0, "natural_best": 3.0,
                    "histogram": [900, 500, 200, 80, 40, 20, 8, 3, 1, 1], "histogram_low": 0.0, "histogram_high": 3.0,
                    "examples": [
                        {
                            "image": f"photo-{i}.jpg", "file": f"{network}/examples/{i:06d}.jpg",
                            "activation": 3.0 - i / 10, "row": 0.25 + i / 20, "column": 0.5,
                        }
                        for i in range(9)
                    ] if examples else None,
                    "alike": [{"unit": (unit + k) % units, "likeness": 1 - k / 10} for k in range(1, min(11, units))],
                    "rank": 1 if unit % 3 else 4, "top_unit": unit if unit % 3 else (unit + 1) % units,
                }
            )  # fmt: skip
    return rows


def write_atlas(place: Path, networks: dict[str, dict[str, list[dict[str, Any]]]], **record: Any) -> Path:
    """Write networks -> layers -> rows as an atlas, pictures and thumbnails too."""
    store = open_store(place)
    store.write_json("atlas.json", {"format": 1, "networks": list(networks)})
    for network, layers in networks.items():
        store.write_json(
            f"{network}/network.json",
            {
                "format": 1, "name": network, "source": network, "weights": None, "weights_sha256": "ab" * 32,
                "weights_file": f"{network}.safetensors", "input": "64 x 64 px or other sizes; RGB 0 to 255",
                "recipe": {"name": "sharp", "steps": 64}, "seed": 0, "precision": "float32", "version": "0.2.0",
                "images": None, "images_digest": None, "retries": 0,
                "layers": [
                    {
                        "name": layer, "folder": folder_name(layer), "kind": "Conv2D", "units": len(rows),
                        "output_shape": [len(rows), 8, 8], "receptive_field": 20, "size": 32, "batch": 4,
                        "classes": None,
                    }
                    for layer, rows in layers.items()
                ],
                **record,
            },
        )  # fmt: skip
        for i in range(9):
            store.write(f"{network}/examples/{i:06d}.jpg", png(500 + i, 112))
        for row in (row for rows in layers.values() for row in rows if row["file"]):
            store.write(row["file"], png(row["unit"] + 1000 * row["facet"]))
    tables = (
        make_table(map(Row.model_validate, rows)) for layers in networks.values() for rows in layers.values()
    )
    write_table(store, INDEX, tables)
    return place
