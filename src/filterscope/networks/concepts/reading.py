"""A file or folder of concepts by its path: which form it is of, and what it holds. No code of a file is run."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from filterscope.errors import WeightsError, did_you_mean
from filterscope.files import is_there
from filterscope.networks.checkpoints.reading import dictionaries, read_pickled, read_safetensors
from filterscope.networks.concepts.arrays import (
    FORM,
    MOST_TEXT,
    parse_json,
    read_json,
    read_metadata,
    read_npy,
    read_npz,
)
from filterscope.networks.concepts.dictionaries import (
    is_cav,
    is_overcomplete,
    read_cav,
    read_overcomplete,
    read_plain,
)
from filterscope.networks.concepts.saes import is_sae, read_prisma, read_sae, read_saelens, read_saev
from filterscope.networks.concepts.table import ConceptFile, ConceptTable
from filterscope.networks.weights.table import part_of, sha256_weights

PICKLED = (".pt", ".pth", ".pkl", ".bin", ".ckpt")
FORMS = (
    "a folder with cfg.json and sae_weights.safetensors (SAELens) or with config.json and weights.pt (ViT-Prisma), "
    "saev's or Overcomplete's .pt, a CAV of Captum, or .npy, .npz or .safetensors of shape (concepts, channels)"
)
SAELENS = ("cfg.json", "sae_weights.safetensors")
PRISMA = "config.json"


def read_concepts(source: str | Path) -> ConceptFile:
    """Read a file or folder of concepts; one that was read last is not read again while it stays as it is.

    `FILE#NAME` takes the array of that name, of a file that holds several. WeightsError where it is missing, damaged, too
    large, of no known form, or holds values that are NaN or infinite.
    """
    path, part = part_of(Path(source).expanduser())
    if not is_there(path):
        raise WeightsError(f"there is no file or folder of concepts {str(source)!r}; it would be {FORMS}")
    folder = path if path.is_dir() else path.parent
    weights = weights_file(path)
    stamps = []
    for file in (weights, *(folder / name for name in (SAELENS[0], PRISMA))):
        stat = file.stat() if file.is_file() else None
        stamps.append((str(file), stat and stat.st_size, stat and stat.st_mtime_ns))
    return _read(str(path), part, tuple(stamps))


def weights_file(path: Path) -> Path:
    """The file whose sha256 stands for a file or folder of concepts; WeightsError for a folder of no known form."""
    if not path.is_dir():
        return path
    if all((path / name).is_file() for name in SAELENS):
        return path / SAELENS[1]
    found = (
        sorted(p for p in path.iterdir() if p.suffix in PICKLED and p.is_file())
        if (path / PRISMA).is_file()
        else []
    )
    if (path / "weights.pt") in found:
        return path / "weights.pt"
    if len(found) == 1:
        return found[0]
    holds = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
    raise WeightsError(f"the folder {path.name} is of no known form (it holds {holds}); expected {FORMS}")


def concept_files(path: Path) -> list[Path]:
    """The files that a file or folder of concepts is read from: its weights, and its settings beside them."""
    weights = weights_file(path)
    beside = [weights.parent / name for name in (SAELENS[0], PRISMA)]
    return [
        weights,
        *(file for file in beside if file.is_file() and weights.suffix in (*PICKLED, ".safetensors")),
    ]


def sha256_concepts(path: Path) -> str:
    """What identifies a file or folder of concepts: its weights file's sha256, of a part of one that with its name."""
    file, part = part_of(path)
    weights = weights_file(file)
    return sha256_weights(weights if part is None else weights.with_name(f"{weights.name}#{part}"))


@lru_cache(maxsize=2)
def _read(source: str, part: str | None, _: object) -> ConceptFile:
    path = Path(source)
    table = _table(path, part)
    own = path.parent if path.name == SAELENS[1] and (path.parent / SAELENS[0]).is_file() else path
    name = own.name or own.resolve().name
    whole = path if part is None else path.with_name(f"{path.name}#{part}")
    return ConceptFile(whole, name if part is None else f"{name}#{part}", sha256_concepts(whole), table)


def _table(path: Path, part: str | None) -> ConceptTable:
    file = weights_file(path)
    if file.suffix == ".npy":
        return read_plain(read_npy(file), "its array", file.name, ".npy")
    if file.suffix == ".npz":
        return _of_arrays(read_npz(file), {}, part, file)
    if file.suffix == ".safetensors":
        tensors = _arrays(read_safetensors(file))
        settings = file.parent / SAELENS[0]
        if is_sae(tensors) and settings.is_file():
            return read_saelens(tensors, read_json(settings), path.name)
        return _of_arrays(tensors, read_metadata(file), part, file)
    if file.suffix in PICKLED:
        return _of_pickle(path, file, part)
    raise WeightsError(f"{path.name} is of no known form; expected {FORMS}")


def _of_pickle(path: Path, file: Path, part: str | None) -> ConceptTable:
    head = _head_line(file)
    if head is not None:
        content = _behind(file, len(head) + 1)
        return read_saev(_state(content, file), parse_json(head, f"the head line of {file.name}"), file.name)
    content = read_pickled(file)
    if isinstance(content, Tensor):
        return read_plain(_array(content, "its tensor", file.name), "its tensor", file.name, file.suffix)
    if isinstance(content, Mapping) and is_cav(content):
        return read_cav(_plain(content), file.name)
    tensors = _state(content, file)
    settings = file.parent / PRISMA
    if is_sae(tensors) and settings.is_file():
        return read_prisma(tensors, read_json(settings), path.name)
    if is_sae(tensors) and isinstance(content, Mapping) and "cfg" in content:
        cfg = content["cfg"] if isinstance(content["cfg"], Mapping) else {}
        return read_prisma(tensors, cfg, path.name)
    return _of_arrays(tensors, {}, part, file)


def _of_arrays(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], part: str | None, file: Path
) -> ConceptTable:
    """Named arrays: a sparse autoencoder's or a state dict of Overcomplete by their names, else one array of directions."""
    if part is None and is_sae(arrays):
        return read_sae(arrays, {}, file.name, form=f"{file.suffix}, W_enc and W_dec")
    if part is None and is_overcomplete(arrays):
        return read_overcomplete(arrays, file.name)
    if part is not None and part not in arrays:
        raise WeightsError(
            f"{file.name} holds no array {part!r}{did_you_mean(part, arrays)} ({_listed(arrays)})"
        )
    rows = (
        {name: a for name, a in arrays.items() if a.ndim in (1, 2)} if part is None else {part: arrays[part]}
    )
    flat = {name: a for name, a in rows.items() if a.ndim == 2} or rows
    if len(flat) != 1:
        raise WeightsError(
            f"{file.name} is of no known form: it holds {_listed(arrays)}; expected {FORMS}; of several arrays one is named "
            f"as {file.name}#NAME"
        )
    ((name, array),) = flat.items()
    return _with_words(read_plain(array, name, file.name, file.suffix), metadata, file.name)


def _with_words(table: ConceptTable, metadata: Mapping[str, str], file: str) -> ConceptTable:
    """The table with the layer and names that a `.safetensors` file's metadata has: our own files', and others' alike."""
    words = metadata.get(FORM)
    told: dict[str, Any] = parse_json(words, f"the metadata of {file}") if words else dict(metadata)
    names, layer = told.get("names"), told.get("layer")
    if isinstance(names, str):
        try:
            names = json.loads(names)
        except ValueError:
            names = None
    known = tuple(map(str, names)) if isinstance(names, list) and len(names) == table.count else ()
    return replace(table, names=known, layer=layer if isinstance(layer, str) else None)


def _head_line(file: Path) -> bytes | None:
    """The JSON line that a file of saev begins with, None of any other file."""
    with file.open("rb") as opened:
        if opened.read(1) != b"{":
            return None
        opened.seek(0)
        line = opened.readline(MOST_TEXT)
    if not line.endswith(b"\n"):
        raise WeightsError(
            f"{file.name} begins with a line of JSON that does not end, and is of no known form"
        )
    return line[:-1]


def _behind(file: Path, begin: int) -> Any:
    """What torch.save wrote behind a head line: read through a file of its own, by the reader of all checkpoints."""
    with tempfile.TemporaryDirectory(prefix="filterscope.") as folder:
        rest = Path(folder) / file.name
        with file.open("rb") as source, rest.open("wb") as target:
            source.seek(begin)
            shutil.copyfileobj(source, target)
        return read_pickled(rest)


def _state(content: Any, file: Path) -> dict[str, np.ndarray]:
    """The likeliest dictionary of tensors in a checkpoint, as arrays; the one with an autoencoder's names, where one has."""
    found = [tensors for _, tensors in dictionaries(content)] if isinstance(content, Mapping) else []
    if not found:
        raise WeightsError(f"{file.name} holds no tensors; expected {FORMS}")
    known = [tensors for tensors in found if is_sae(tensors) or is_overcomplete(tensors)]
    return _arrays((known or found)[0], file.name)


def _plain(value: Any) -> Any:
    """Tensors in dictionaries and lists as arrays."""
    if isinstance(value, Tensor):
        return _array(value, "a tensor", "the file")
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _arrays(tensors: Mapping[str, Tensor], file: str = "") -> dict[str, np.ndarray]:
    return {name: _array(tensor, name, file) for name, tensor in tensors.items()}


def _array(tensor: Tensor, name: str, file: str) -> np.ndarray:
    if tensor.is_sparse or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise WeightsError(f"{file}: {name} holds no plain numbers")
    tensor = tensor.detach()
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _listed(arrays: Mapping[str, np.ndarray]) -> str:
    some = [f"{name} {' x '.join(map(str, a.shape))}" for name, a in list(arrays.items())[:6]]
    return (", ".join(some) + (", ..." if len(arrays) > 6 else "")) or "no numbers"
