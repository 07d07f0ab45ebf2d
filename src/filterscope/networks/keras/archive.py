"""`.keras` files: zip archives of a config, which is plain data, and weights in HDF5; none of them is trusted.

Nothing is unpacked to disk, nothing in an archive is run, and what claims to be far larger than it is, or than the
model that it is for, is refused before it is read.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

from filterscope.errors import FilterscopeError, NetworkError, WeightsError, first_line
from filterscope.networks.weights.hdf5 import hdf5_table
from filterscope.networks.weights.table import Slots, WeightTable, absurd_size, sha256_file

LARGEST_CONFIG = 64_000_000  # bytes; keras.applications' largest, NASNetLarge's, is 1 MB
MOST_MEMBERS = 10_000
SPARE = 64_000_000  # bytes of weights beyond those of the layers
COPIES = 8  # of each weight that a file may hold: in double precision, with an optimizer's two moments


def archived_config(path: Path) -> Any:
    """The config inside a `.keras` file."""
    text = _member(path, "config.json", LARGEST_CONFIG, NetworkError)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"the config.json in {path.name} is no whole JSON: {first_line(error)}") from error


def archived_weights(path: Path, slots: Slots) -> WeightTable:
    """The weights inside a `.keras` file, read from its HDF5 member."""
    wanted = 4 * sum(prod(slot.shape) for _, tensors in slots.values() for slot in tensors)
    content = _member(path, "model.weights.h5", COPIES * wanted + SPARE, WeightsError)
    table = hdf5_table(io.BytesIO(content), path.name, slots)
    weights = WeightTable(path.name, slots, table, lambda: sha256_file(path), path)
    weights.check()
    return weights


def _member(path: Path, name: str, limit: int, kind: type[FilterscopeError]) -> bytes:
    """A member's bytes, at most `limit` of them; an error of the given kind for anything that is not as Keras
    writes it."""
    try:
        with zipfile.ZipFile(path) as archive:
            _require_plain(archive, path.name)
            info = archive.getinfo(name)
            if info.flag_bits & 1:
                raise kind(f"{path.name} is encrypted, which is not supported")
            if info.file_size > limit or absurd_size(info.file_size, info.compress_size):
                raise kind(
                    f"{path.name} is refused: its {name} claims {info.file_size} bytes packed into {info.compress_size}, "
                    f"and at most {limit} make sense for it"
                )
            with archive.open(info) as file:
                return file.read(info.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        what = "is no whole .keras file" if kind is NetworkError else f"holds no whole {name}"
        raise kind(f"{path.name} {what} (cut short?): {first_line(error)}") from error
    except KeyError as error:
        raise kind(
            f"{path.name} holds no whole {name}, which is no whole .keras file: {first_line(error)}"
        ) from error


def _require_plain(archive: zipfile.ZipFile, label: str) -> None:
    names = archive.namelist()
    if len(names) > MOST_MEMBERS:
        raise NetworkError(f"{label} is refused: it holds {len(names)} members, more than {MOST_MEMBERS}")
    for name in names:
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise NetworkError(f"{label} is refused: its member {name!r} leads out of the archive")
    if len(set(names)) < len(names):
        double = next(n for n in names if names.count(n) > 1)
        raise NetworkError(f"{label} is refused: it holds {double!r} twice")
