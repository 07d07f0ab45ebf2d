"""The file of a torch.export program (`.pt2`), read as data: a graph as JSON, and raw tensors. Nothing is unpickled."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterscope.errors import NetworkError

LARGEST = 2**30  # values in one tensor of a program: more is an attack on memory
# torch/_export/serde/schema.py, ScalarType
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip


@dataclass
class Program:
    """A program as data: its graph, its tensors by name, and how its inputs map to them."""

    graph: dict[str, Any]
    tensors: dict[str, Tensor]
    inputs: list[dict[str, Any]]


def read_program(path: Path) -> Program:
    """The program in a file, of torch 2.8 and later or of the layout before."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "serialized_exported_program.json" in names:
            return _older(archive, path.name)
        found = next((n for n in names if n.endswith("models/model.json")), None)
        if found is None:
            if any("aotinductor" in n for n in names):
                raise NetworkError(
                    f"{path.name} holds compiled code, which is refused; save it with torch.export.save"
                )
            raise NetworkError(f"{path.name} is no torch.export program: it holds no models/model.json")
        root = found.removesuffix("models/model.json")
        module = json.loads(archive.read(found))["graph_module"]
        tensors: dict[str, Tensor] = {}
        for kind in ("weights", "constants"):
            config = f"{root}data/{kind}/model_{kind}_config.json"
            if config in names:
                for name, entry in json.loads(archive.read(config))["config"].items():
                    tensors[name] = _payload(
                        archive, f"{root}data/{kind}/{entry['path_name']}", name, entry, path.name
                    )
    return Program(module["graph"], tensors, module["signature"]["input_specs"])


def _payload(archive: zipfile.ZipFile, member: str, name: str, entry: dict[str, Any], file: str) -> Tensor:
    if entry.get("use_pickle") or entry.get("tensor_meta") is None:
        raise NetworkError(f"{file} is refused: reading {name} would run pickled code")
    meta = entry["tensor_meta"]
    sizes, strides = int_values(meta["sizes"]), int_values(meta["strides"])
    offset = int_value(meta.get("storage_offset", {"as_int": 0}))
    require_small(sizes, name, file)
    raw = bytearray(archive.read(member))
    if not raw:
        return torch.zeros(sizes, dtype=DTYPES[meta["dtype"]])
    return torch.frombuffer(raw, dtype=DTYPES[meta["dtype"]]).as_strided(sizes, strides, offset).clone()


def _older(archive: zipfile.ZipFile, file: str) -> Program:
    """The layout of torch 2.2 to 2.7: the tensors in two checkpoints, read without running pickled code."""
    module = json.loads(archive.read("serialized_exported_program.json"))["graph_module"]
    tensors: dict[str, Tensor] = {}
    for member in ("serialized_state_dict.pt", "serialized_constants.pt"):
        if member in archive.namelist() and (content := archive.read(member)):
            try:
                tensors |= torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            except Exception as error:
                raise NetworkError(
                    f"{file} is refused: reading its {member} would run pickled code"
                ) from error
    return Program(module["graph"], tensors, module["signature"]["input_specs"])


def require_small(sizes: tuple[int, ...], name: str, file: str) -> None:
    """NetworkError for a tensor of more values than any network's."""
    if math.prod(sizes) > LARGEST or any(s < 0 for s in sizes):
        raise NetworkError(f"{file} is refused: {name} would have the shape {list(sizes)}")


def int_value(value: Mapping[str, Any]) -> int:
    """A size: a number, or a symbol's value when the program was exported."""
    if "as_int" in value:
        return int(value["as_int"])
    return int(value["as_expr"]["hint"]["as_int"])


def int_values(values: list[Mapping[str, Any]]) -> tuple[int, ...]:
    """Several sizes."""
    return tuple(int_value(v) for v in values)
