"""What an atlas says of itself (atlas.json, network.json), and whether a run may go on with it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from filterscope._version import __version__
from filterscope.ascent.engine.batch import batch_size
from filterscope.atlas.plan import PlannedLayer, differences, folder_names
from filterscope.atlas.storage.index import INDEX, network_folders
from filterscope.atlas.storage.store import Store
from filterscope.errors import ArgumentError, DamagedError, OutputError
from filterscope.formats import ATLAS
from filterscope.networks.network import Network
from filterscope.recipe import Recipe
from filterscope.sides import checked_size

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

REPORT = "report.json"
KEPT = ("weights_sha256", "recipe", "seed", "precision", "version", "images_digest")  # that pictures rest on
Manifest = dict[str, Any]


def describe(
    network: Network,
    recipe: Recipe,
    *,
    source: str | None,
    weights: str | None,
    seed: int,
    precision: str,
    images: Path | None,
    images_digest: str | None,
) -> Manifest:
    """network.json for pictures to be drawn so, without its layers."""
    told = {
        "name": network.name,
        "source": source,
        "weights": weights,
        "weights_sha256": network.weights.sha256,
        "weights_file": network.weights_file,
        "input": str(network.input),
        "recipe": json.loads(recipe.model_dump_json()),
        "seed": seed,
        "precision": precision,
        "version": __version__,
        "images": None if images is None else str(images),
        "images_digest": images_digest,
        "layers": [],
    }
    return ATLAS.stamped(told)


def read_manifest(store: Store, folder: str) -> Manifest | None:
    """A network's network.json, None where there is none yet; DamagedError where it is not one."""
    found = store.read_json(f"{folder}/network.json")
    if found is None:
        return None
    where = f"{store.address}/{folder}/network.json"
    told = ATLAS.newest(found, where) if isinstance(found, dict) and "format" in found else {}
    if not {*KEPT, "layers", "images"} <= set(told):
        raise DamagedError(f"{where} is damaged; remove the folder and draw anew")
    return told


def refuse_changes(told: Manifest, asked: Manifest, where: str) -> None:
    """ArgumentError that says what differs, where pictures would be drawn otherwise than those that are there."""
    before, now = ({key: side[key] for key in KEPT} for side in (told, asked))
    before["version"], now["version"] = (_minor(side["version"]) for side in (before, now))
    found = differences(before, now)
    if found:
        raise ArgumentError(
            f"{where} holds pictures that were drawn otherwise: {'; '.join(found)}. Nothing was changed. Draw as "
            "they were drawn, choose another --out or --name, or draw all of them anew with --overwrite"
        )


def _minor(version: str) -> str:
    """Fixes do not change pictures; a new minor version may."""
    return ".".join(version.split(".")[:2])


def refuse_foreign(store: Store, folder: str) -> None:
    """ArgumentError where the place is no atlas and holds files that an atlas would overwrite."""
    if store.exists("atlas.json"):
        return
    names = {*store.sizes(), *store.folders()}
    ours = sorted(names & {REPORT, INDEX, "index.html", folder})
    if ours:
        raise ArgumentError(
            f"{store.address} is no atlas and holds {', '.join(ours)}, which one would overwrite; "
            "choose another --out, or say --overwrite"
        )


def add_network(store: Store, folder: str) -> None:
    """Note a network's folder in atlas.json."""
    known = network_folders(store)
    if folder not in known:
        store.write_json("atlas.json", ATLAS.stamped({"networks": [*known, folder]}))


def layer_entries(
    network: Network, names: list[str], recipe: Recipe, told: Manifest | None, device: torch.device
) -> list[dict[str, Any]]:
    """The `layers` of network.json: those that are there and the named ones, in the network's order.

    A chunk is as large as is usual for the device, not as a measurement on this machine would have it: whoever draws
    the same atlas anew draws the same batches.
    """
    known = {row["name"]: row for row in told["layers"]} if told else {}
    folders = folder_names(network.layers)
    facets = recipe.facet_count
    rows = []
    for name, layer in network.layers.items():
        if name in known:
            rows.append(known[name])
        elif name in names:
            size = recipe.size or network.picture_size(name, recipe.usual_size)
            network.output_shape(name, size)  # whatever cannot be drawn is refused before any work
            classes = [own[0] for own in network.class_names(name)]
            rows.append(
                {
                    "name": name,
                    "folder": folders[name],
                    "kind": layer.kind,
                    "units": layer.units,
                    "output_shape": list(layer.output_shape),
                    "receptive_field": layer.receptive_field,
                    "size": list(size) if isinstance(size, tuple) else size,  # as it is read back
                    "batch": max(1, batch_size(size, device) // (facets * recipe.looks)),
                    "classes": classes or None,
                    "natural": False,
                }
            )
    return rows


def planned(row: Mapping[str, Any]) -> PlannedLayer:
    """An entry of `layers` as the plan takes it."""
    return PlannedLayer(
        row["name"], row["folder"], row["units"], checked_size("size", row["size"]), row["batch"]
    )


@contextlib.contextmanager
def locked(store: Store, folder: str) -> Iterator[None]:
    """Held while a run draws into a network's folder; OutputError where another one does already.

    The lock ends with its process, however that ends. At an object store there is none: two runs there draw
    the same pictures and write the same bytes, whole each time.
    """
    if not store.local or fcntl is None:
        yield
        return
    place = Path(store.path(f".{folder}.lock"))
    made = not place.parent.exists()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = _locked_file(place)
    except BlockingIOError:
        raise OutputError(
            f"another run is drawing {folder} into {store.address}; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                place.unlink()
                if made:  # nothing came of it
                    place.parent.rmdir()


def _locked_file(place: Path) -> IO[str]:
    """The lock file, held; anew where another run removed the one that was opened before it was ours."""
    while True:
        file = place.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if place.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError:
            file.close()
            raise
        except OSError:
            return file  # a file system without locks
        file.close()
