"""Files of tensors, read without running pickled code: safetensors, and what torch.save wrote."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from filterscope.errors import WeightsError, first_line
from filterscope.networks.checkpoints.standins import RefusedError, read_with_standins
from filterscope.networks.files.advice import HOW_TO_SAVE
from filterscope.networks.files.kinds import CHECKPOINTS, require_weights

log = logging.getLogger("filterscope")

# where wrappers keep their tensors, the likeliest first; averaged weights only where there are no others
_ORDER = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
AVERAGED = re.compile(r"(^|[_.])(ema|swa|averaged?|shadow)([_.]|$)", re.IGNORECASE)
# a legal checkpoint is stored as it is: much smaller than what it unpacks to is a bomb
_UNPACKED = 3


def read_tensors(path: Path) -> Any:
    """What a checkpoint file holds: tensors in dictionaries. WeightsError for one that is damaged or unsafe."""
    require_weights(path, takes=("safetensors", "checkpoint", "whole-model", "pickle", "pickled-model"))
    if path.suffix not in CHECKPOINTS:
        raise WeightsError(f"{path.name!r}: weights of a PyTorch network end in {', '.join(CHECKPOINTS)}")
    return read_safetensors(path) if path.suffix == ".safetensors" else read_pickled(path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file's tensors by name; WeightsError for one that is damaged."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # SafetensorError, and what absurd shapes raise in torch
        raise WeightsError(
            f"{path.name} is no whole safetensors file (cut short?): {first_line(error)}"
        ) from error


def read_pickled(path: Path) -> Any:
    """What torch.save wrote, whatever the file's ending; errors as for `read_tensors`."""
    check_archive(path)
    try:
        with _harmless(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickles fail in every way there is
        name = _asked_for(path)
        content, name = _with_standins(path, name)
        if content is not None:
            return content
        if name is None:
            raise WeightsError(
                f"{path.name} is no whole PyTorch checkpoint (cut short?): {_damage(path, error)}"
            ) from error
    if name.startswith("numpy."):
        raise WeightsError(
            f"{path.name} holds NumPy arrays and something beside them that is no plain number ({name}): save them as "
            "tensors, torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, 'weights.pt')"
        )
    raise WeightsError(
        f"{path.name} is refused: reading it would run code ({name}), which no weights file is allowed to. "
        f"If it is a whole pickled model: {HOW_TO_SAVE}"
    )


def _damage(path: Path, error: Exception) -> str:
    """What is wrong with a file that torch.load does not read; never its advice to run what the file says."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "it is empty"
    if not head.startswith((b"PK", b"\x80")):
        return f"it begins with {head!r}, neither as a zip archive nor as a pickle"
    said = first_line(error).partition(". ")[0]
    if head.startswith(b"\x80") and ("weights_only" in said or "Weights only" in said):
        return f"it is a pickle, but none of torch.save; {HOW_TO_SAVE}"
    return said


def _with_standins(path: Path, name: str | None) -> tuple[Mapping[Any, Any] | None, str | None]:
    """A checkpoint's tensors where it holds more, None where it holds none beside; and what it asks for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = read_with_standins(path)
    except RefusedError as error:
        return None, error.name
    except Exception:  # pickles fail in every way there is
        return None, name
    if content is None or not dictionaries(content):
        return None, name
    log.info("%s holds more than tensors: these were read, nothing else was made (%s)", path.name, name)
    return content, name


def _asked_for(path: Path) -> str | None:
    """The first thing that a pickle would import beside what tensors are made of; read, never run."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
        else:
            content = path.read_bytes()
    except Exception:  # a damaged archive fails in every way there is
        return None
    stream = io.BytesIO(content)
    words: list[str] = []
    with contextlib.suppress(Exception):  # where the pickle ends, or is damaged
        while stream.tell() < len(content):  # the older format is several pickles in a row
            for operation, argument, _ in pickletools.genops(stream):
                if isinstance(argument, str):
                    words.append(argument)
                if operation.name in ("GLOBAL", "STACK_GLOBAL"):
                    name = words[-1].replace(" ", ".") if operation.name == "GLOBAL" else ".".join(words[-2:])
                    if not _makes_tensors(name):
                        return name
    return None


def _makes_tensors(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if module in (
        "torch",
        "torch._utils",
        "torch.nn.parameter",
        "torch.storage",
        "collections",
        "argparse",
        "_codecs",
    ):
        return True
    return module.startswith("numpy") and attribute in ("scalar", "dtype")


def check_archive(path: Path) -> None:
    """WeightsError where a zip archive holds paths that leave it, or unpacks to far more than it is."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:
        raise WeightsError(f"{path.name} is a damaged archive: {first_line(error)}") from error
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or member.filename.startswith("/"):
            raise WeightsError(
                f"{path.name} is refused: its member {member.filename!r} points out of the archive"
            )
    size = sum(member.file_size for member in members)
    if size > _UNPACKED * path.stat().st_size + 1_000_000:
        raise WeightsError(
            f"{path.name} is refused: {path.stat().st_size:,} bytes unpack to {size:,}, as no checkpoint does"
        )


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """Let through plain data that training scripts leave in their checkpoints: numbers of numpy, arguments."""
    numbers = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "?")]
    scalar = np.float64(0).__reduce__()[0]
    allow = getattr(torch.serialization, "safe_globals", None)
    if allow is None:
        yield
        return
    with allow([argparse.Namespace, np.dtype, scalar, *numbers]):
        yield


def dictionaries(content: Mapping[Any, Any]) -> list[tuple[str, Mapping[str, Tensor]]]:
    """All dictionaries of tensors inside, each with the keys that lead to it, the likeliest first."""
    found: list[tuple[tuple[bool, int], str, Mapping[str, Tensor]]] = []

    def visit(value: Mapping[Any, Any], label: str, depth: int, rank: tuple[bool, int]) -> None:
        tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
        if tensors:
            found.append((rank, label, tensors))
        for key, inner in value.items():
            if isinstance(inner, Mapping) and depth < 3 and key not in ("optimizer", "optimizer_states"):
                averaged = rank[0] or bool(AVERAGED.search(str(key)))
                place = _ORDER.index(key) if key in _ORDER else len(_ORDER)
                visit(inner, f"{label}.{key}".lstrip("."), depth + 1, (averaged, place))

    visit(content, "", 0, (False, -1))
    return [(label, tensors) for _, label, tensors in sorted(found, key=lambda row: row[0])]
