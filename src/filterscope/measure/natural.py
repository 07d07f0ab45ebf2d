"""How far natural images excite each unit: mean, 99th percentile, best, and which nine are best.

Computed by `filterscope examples`, kept in the cache by the weights' hash, shipped for the embedded network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_path

from filterscope.errors import ArgumentError, OutputError
from filterscope.files import writing
from filterscope.networks.network import Network
from filterscope.objective import Objective
from filterscope.pictures.reading import load_batch
from filterscope.target import Selection, Target

BEST = 9
BATCH = 50


@dataclass(frozen=True)
class NaturalActivations:
    """Of one layer over a set of natural images, per unit.

    mean, p99, best: (units,) of the unit's activation (a channel's mean over space). peak: (units,), the
    largest value at any place of any image. top: (units, 9) numbers of the images with the largest
    activations, best first; top_values: their activations. images: the files' names, by number.
    """

    layer: str
    mean: np.ndarray
    p99: np.ndarray
    best: np.ndarray
    peak: np.ndarray
    top: np.ndarray
    top_values: np.ndarray
    images: tuple[str, ...]
    folder: str = ""


_ARRAYS = ("mean", "p99", "best", "peak", "top", "top_values")


def natural_activations(
    network: Network,
    layers: Sequence[str],
    images: Sequence[Path],
    *,
    size: int | None = None,
    on_batch: Callable[[int], object] | None = None,
) -> dict[str, NaturalActivations]:
    """Run the network over the images, once for all layers, in batches, in float32.

    `on_batch` is told how many images are done. Raises ImageError for a file that is no picture.
    """
    probe = network.probe(layers).eval()
    values: dict[str, list[torch.Tensor]] = {layer: [] for layer in layers}
    peaks: dict[str, torch.Tensor] = {}
    for begin in range(0, len(images), BATCH):
        pixels = load_batch(images[begin : begin + BATCH], network.input, size=size)
        with torch.no_grad():
            maps = probe(network.input.preprocess(pixels).to(memory_format=torch.channels_last))
        for layer, found in zip(layers, maps, strict=True):
            flat = found.flatten(2) if found.ndim == 4 else found[..., None]  # (B, units, places)
            values[layer].append(flat.mean(2))
            peak = flat.amax((0, 2))
            peaks[layer] = torch.maximum(peaks[layer], peak) if layer in peaks else peak
        if on_batch is not None:
            on_batch(min(begin + BATCH, len(images)))
    names = tuple(p.name for p in images)
    folder = str(images[0].parent)
    return {layer: _summed(layer, torch.cat(values[layer]), peaks[layer], names, folder) for layer in layers}


def _summed(
    layer: str, values: torch.Tensor, peak: torch.Tensor, names: tuple[str, ...], folder: str
) -> NaturalActivations:
    top = values.topk(min(BEST, len(values)), dim=0)
    p99 = np.quantile(values.numpy(), 0.99, axis=0).astype(np.float32)
    return NaturalActivations(
        layer, values.mean(0).numpy(), p99, top.values[0].numpy(), peak.numpy(), top.indices.T.numpy().astype(np.int32),
        top.values.T.contiguous().numpy(), names, folder,
    )  # fmt: skip


def layers_with_units(network: Network) -> list[str]:
    """The layers whose units are worth a picture: all that have trained weights, but for plain plumbing."""
    plumbing = ("InputLayer", "Rescaling", "Normalization", "Flatten", "Dropout", "ZeroPadding2D")
    covered = [n for n, row in network.layers.items() if row.kind not in plumbing]
    return [n for n in covered if all(network.layers[d].trained for d in (*network.layers[n].depends_on, n))]


def images_digest(images: Sequence[Path]) -> str:
    """Identifies a set of image files by names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in images:
        stat = path.stat()
        digest.update(f"{path}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def remember(network: Network, found: NaturalActivations, *, images: str, size: int) -> None:
    """Keep a layer's activations in the cache; a cache that cannot be written is no error."""
    meta = {
        "images": images,
        "size": size,
        "layer": found.layer,
        "folder": found.folder,
        "names": list(found.images),
    }
    with (
        contextlib.suppress(OutputError),
        writing(_cached(network, found.layer)) as spare,
        spare.open("wb") as file,
    ):
        np.savez(file, meta=np.array(json.dumps(meta)), **{n: getattr(found, n) for n in _ARRAYS})


def recall(
    network: Network, layer: str, *, images: str | None = None, size: int | None = None
) -> NaturalActivations | None:
    """A layer's activations from the cache, or those shipped with the embedded network, or None.

    With `images` and `size` only those computed from that very set at that size.
    """
    try:
        with _cached(network, layer).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            arrays = {name: file[name] for name in _ARRAYS}
        if images is not None and (meta["images"], meta["size"]) != (images, size):
            return None
        return NaturalActivations(layer, **arrays, images=tuple(meta["names"]), folder=meta["folder"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None if images is not None else shipped(network, layer)


def shipped(network: Network, layer: str) -> NaturalActivations | None:
    """The embedded network's own, measured over the 10,000 validation pictures of Tiny ImageNet."""
    place = resources.files("filterscope.networks") / "data" / f"{network.name}.natural.npz"
    if not place.is_file():
        return None
    with resources.as_file(place) as path, np.load(path, allow_pickle=False) as file:
        if str(file["weights_sha256"]) != network.weights.sha256 or f"{layer}/best" not in file:
            return None
        arrays = {name: file[f"{layer}/{name}"] for name in _ARRAYS}
        count = int(file["images"])
    return NaturalActivations(layer, **arrays, images=tuple(f"val-{i:05d}" for i in range(count)))


def natural_best(network: Network, goals: Sequence[Objective]) -> list[float | None]:
    """Each target's largest activation on natural images, None where none are known.

    Of a channel the largest mean over space; of a neuron the largest value at any place; of anything but a
    unit nothing is known.
    """
    targets = {g.layer for g in goals if isinstance(g, Target)}
    known = {layer: recall(network, layer) for layer in targets}

    def best(goal: Objective) -> float | None:
        found = known[goal.layer] if isinstance(goal, Target) else None
        if found is None or not isinstance(goal, Target):
            return None
        return float((found.peak if goal.at else found.best)[goal.unit])

    return [best(goal) for goal in goals]


def _cached(network: Network, layer: str) -> Path:
    name = "".join(c if c.isalnum() or c in "._-#@" else "." for c in layer)
    fed = hashlib.sha256(network.name.encode()).hexdigest()[:12] if "?" in network.name else ""
    key = (
        f"{network.weights.sha256}-{fed}" if fed else network.weights.sha256
    )  # fed otherwise, excited otherwise
    return user_cache_path("filterscope") / "natural" / key / f"{name}.npz"


def check_layers(network: Network, texts: Sequence[str]) -> list[str]:
    """Layer names, or "*" for all; ArgumentError where there is nothing to measure."""
    if "*" in texts:
        return layers_with_units(network)
    if not texts:
        raise ArgumentError("name a layer, or '*' for all")
    for text in texts:
        network.targets(text)
    return list(dict.fromkeys(Selection.parse(text).layer for text in texts))
