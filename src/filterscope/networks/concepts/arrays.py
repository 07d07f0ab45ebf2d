"""`.npy`, `.npz` and `.safetensors` files as arrays, no larger than the bytes that hold them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from filterscope.errors import WeightsError, first_line
from filterscope.networks.concepts.table import MOST
from filterscope.networks.weights.table import absurd_size

FORM = "filterscope.concepts"  # of the metadata of our own `.safetensors` files
MOST_TEXT = 16 * 2**20  # bytes of JSON beside the numbers


def read_npy(path: Path) -> np.ndarray:
    """The array of a `.npy` file; objects are refused, and a shape that the file does not hold."""
    try:
        array = np.load(
            path, mmap_mode="r", allow_pickle=False
        )  # which compares the shape with the file's size
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise WeightsError(f"{path.name} is no whole .npy file of numbers: {first_line(error)}") from None
    _require_numbers(array.dtype, array.size, path.name)
    return np.array(array)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name; one that unpacks to far more than it is, is refused."""
    found: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
        if absurd_size(claimed, path.stat().st_size):
            raise WeightsError(
                f"{path.name} is refused: {path.stat().st_size:,} bytes unpack to {claimed:,}, as no numbers do"
            )
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                array = file[name]
                if array.dtype.kind in "fiub":
                    found[name] = array
    except (
        OSError,
        ValueError,
        EOFError,
        OverflowError,
        KeyError,
        zipfile.BadZipFile,
        zipfile.error,
    ) as error:
        raise WeightsError(f"{path.name} is no whole .npz file of numbers: {first_line(error)}") from None
    return found


def read_metadata(path: Path) -> Mapping[str, str]:
    """The metadata of a `.safetensors` file, texts by name; empty where it has none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path.name} is no whole safetensors file (cut short?): {first_line(error)}"
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file of at most 16 MiB; WeightsError for anything else."""
    try:
        if path.stat().st_size > MOST_TEXT:
            raise WeightsError(f"{path.name} is refused: {path.stat().st_size:,} bytes are no settings")
        return parse_json(path.read_bytes(), path.name)
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror or error}") from None


def parse_json(text: bytes | str, file: str) -> dict[str, Any]:
    """A JSON object; WeightsError for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file} is no JSON: {first_line(error)}") from None
    if not isinstance(found, dict):
        raise WeightsError(f"{file} holds a JSON {type(found).__name__}, expected an object")
    return found


def _require_numbers(dtype: np.dtype[Any], size: int, file: str) -> None:
    if dtype.kind not in "fiub" or size > MOST:
        raise WeightsError(
            f"{file} holds {size:,} values of type {dtype}, expected at most {MOST:,} real numbers"
        )
