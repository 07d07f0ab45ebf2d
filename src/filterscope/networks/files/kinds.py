"""What a file is, by its first bytes, its ending and what an archive or folder holds; nothing of it is run.

Used alike for NET and for weights, so that a file of a kind that is never read is refused by its own name, with what
to do, and not as a damaged file of another kind.
"""

from __future__ import annotations

import io
import os
import pickletools
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from filterscope.catalog import meant
from filterscope.errors import NetworkError, WeightsError
from filterscope.files import is_dangling, is_there
from filterscope.networks.files.advice import KINDS

HEAD = 4096  # bytes of a file that are looked at
PICKLE = 65_536  # of a pickle: its outermost object's class stands first
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6: its magic number, pickled

MAGIC: tuple[tuple[int, bytes, str], ...] = (  # (place, bytes, kind)
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"version https://git-lfs", "git-lfs"),
    (0, b"/annex/objects/", "git-annex"),
    (0, b"GGUF", "gguf"),
    (0, b"ggml", "gguf"),
    (0, b"lmgg", "gguf"),
    (0, b"ggjt", "gguf"),
    (0, b"tjgg", "gguf"),
    (4, b"TFL3", "tflite"),
    (4, b"ORTM", "ort"),
    (0, b"ftrt", "tensorrt"),
    (0, b"ptrt", "tensorrt"),
    (0, b"\x93NUMPY", "npy"),
    (0, b"MATLAB 5.0", "mat"),
    (257, b"ustar", "tar"),
    (0, b"\x1f\x8b", "compressed"),
    (0, b"BZh", "compressed"),
    (0, b"\xfd7zXZ\0", "compressed"),
    (0, b"\x28\xb5\x2f\xfd", "compressed"),
    (0, b"7z\xbc\xaf\x27\x1c", "compressed"),
    (0, b"Rar!\x1a\x07", "compressed"),
    (0, b"\x89PNG\r\n", "picture"),
    (0, b"\xff\xd8\xff", "picture"),
    (0, b"GIF8", "picture"),
    (0, b"%PDF", "document"),
    (0, b"\x7fELF", "library"),
)
SUFFIXES = {
    ".onnx": "onnx", ".ort": "ort", ".tflite": "tflite", ".lite": "tflite", ".gguf": "gguf", ".ggml": "gguf",
    ".mlmodel": "coreml", ".mlpackage": "coreml", ".mlmodelc": "coreml", ".engine": "tensorrt", ".trt": "tensorrt",
    ".plan": "tensorrt", ".pb": "tensorflow-graph", ".pbtxt": "tensorflow-graph", ".meta": "tensorflow-checkpoint",
    ".index": "tensorflow-checkpoint", ".caffemodel": "caffe", ".prototxt": "caffe", ".pdparams": "paddle",
    ".pdmodel": "paddle", ".pdiparams": "paddle", ".params": "mxnet", ".msgpack": "flax", ".npz": "npz", ".npy": "npy",
    ".mat": "mat", ".t7": "torch7", ".weights": "darknet", ".cfg": "darknet", ".rknn": "rknn", ".so": "library",
    ".dll": "library", ".dylib": "library", ".pkl": "pickle", ".pickle": "pickle", ".joblib": "pickle", ".ipynb": "notebook",
    ".json": "json", ".yaml": "settings", ".yml": "settings", ".toml": "settings", ".mar": "torchserve",
}  # fmt: skip


NETWORKS = {
    ".keras": "keras",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".pt2": "program",
}  # models that open, by ending
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")  # weights of PyTorch's networks
WEIGHTS = (".safetensors", ".h5", ".hdf5")  # weights of Keras' networks
DAMAGED = ("empty", "zip", "damaged-zip")  # of these endings the readers themselves say what is missing


def kind_of(path: Path) -> str | None:
    """The kind of what lies at a path (see file_advice.KINDS), or None where it is none that is known."""
    try:
        return _of_folder(path) if path.is_dir() else _of_file(path)
    except (OSError, ValueError):  # gone meanwhile, not to be read, or a name that no file can have
        return None


def _of_file(path: Path) -> str | None:
    if not path.is_file():  # a pipe would be waited for
        return None
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "empty"
    for place, sign, kind in MAGIC:
        if head[place : place + len(sign)] == sign:
            return kind
    if head.startswith(b"PK\x03\x04") or zipfile.is_zipfile(path):
        return _of_archive(path)
    return _of_pickle(path, head) or _of_text(head) or _of_binary(path, head)


def _of_folder(path: Path) -> str:
    inside = {entry.name for entry in path.iterdir()}
    if path.suffix.lower() in (".mlpackage", ".mlmodelc"):
        return "coreml"
    if inside & {"saved_model.pb", "saved_model.pbtxt"}:
        return "saved-model"
    if "atlas.json" in inside:
        return "atlas"
    if "config.json" in inside and any(n.startswith(("model", "pytorch_model", "tf_model")) for n in inside):
        return "hub-folder"
    if ".metadata" in inside and any(n.endswith(".distcp") for n in inside):
        return "distributed"
    if any(n.endswith(".index") for n in inside) and any(".data-" in n for n in inside):
        return "tensorflow-checkpoint"
    return "folder"


def _of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(n.endswith(".npy") for n in names):
                return "npz"
            if "config.json" in names:
                return "keras"
            if any("aotinductor" in n for n in names):
                return "program"
            if any(n.endswith(("models/model.json", "serialized_exported_program.json")) for n in names):
                return "program"
            if any(n.endswith("MAR-INF/MANIFEST.json") for n in names):
                return "torchserve"
            if any(n.endswith("/constants.pkl") or "/code/" in n for n in names):
                return "torchscript"
            pickled = next((n for n in names if n.endswith("data.pkl")), None)
            if pickled is None:
                return "zip"
            with archive.open(pickled) as file:
                return "whole-model" if outermost_class(file) else "checkpoint"
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
        return "damaged-zip"


def _of_pickle(path: Path, head: bytes) -> str | None:
    if not re.match(rb"\x80[\x02-\x05]", head):
        return None
    with path.open("rb") as file:
        if not head.startswith(_LEGACY):
            return "pickled-model" if outermost_class(file) else "pickle"
        content = io.BytesIO(file.read(PICKLE))
    for _ in range(3):  # the magic number, the protocol's, the machine's
        for _ in _operations(content):
            pass
    return "whole-model" if outermost_class(content) else "checkpoint"


def outermost_class(file: IO[bytes]) -> str | None:
    """The class of the object that a pickle holds, where that is no plain dictionary or list; read, never run."""
    words: list[str] = []
    for name, argument in _operations(io.BytesIO(file.read(PICKLE))):
        if name == "GLOBAL" and isinstance(argument, str):
            found = argument.replace(" ", ".")
        elif name == "STACK_GLOBAL":
            found = ".".join(words[-2:])
        elif name in ("PROTO", "FRAME", "MEMOIZE", "MARK") or "UNICODE" in name or "PUT" in name:
            words += [argument] if isinstance(argument, str) else []
            continue
        else:
            return None
        return None if found.startswith(("collections.", "torch._utils.", "builtins.")) else found
    return None


def _operations(content: io.BytesIO) -> Iterator[tuple[str, object]]:
    try:
        for operation, argument, _ in pickletools.genops(content):
            yield operation.name, argument
    except Exception:  # a pickle that ends early or is none fails in every way there is
        return


def _of_text(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if text.startswith(
        (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<body", b"<error", b"<script", b"<!--")
    ):
        return "openvino" if b"<net " in head.lower() else "web-page"
    if text.startswith((b"{", b"[")):
        return "notebook" if b'"nbformat"' in head or b'"cells"' in text else "json"
    return None


def _of_binary(path: Path, head: bytes) -> str | None:
    length = int.from_bytes(head[:8], "little")
    if len(head) > 8 and head[8:9] == b"{" and 2 <= length < 100_000_000:
        return "safetensors"
    if (
        len(head) > 3
        and head[0] == 8
        and 3 <= head[1] <= 20
        and head[2] == 0x12
        and path.suffix.lower() != ".mlmodel"
    ):
        return "onnx"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "picture"
    if path.name.startswith("saved_model.pb"):
        return "saved-model"
    if re.search(r"\.data-\d+-of-\d+$", path.name):
        return "tensorflow-checkpoint"
    return SUFFIXES.get(path.suffix.lower())


def require_network(name: str) -> None:
    """NetworkError for a text that names a file or folder of a kind that does not open, an address, an id of the
    Hugging Face hub, or a file that is not there; nothing for a model file that opens, and for a bare word."""
    ending = Path(name).suffix.lower()
    if not name or not is_there(name):
        _require_bare_word(name, ending)
        return
    kind = kind_of(Path(name))
    if ending in NETWORKS and kind in (None, NETWORKS[ending], *DAMAGED):
        return
    if kind is not None:
        raise NetworkError(f"{name!r} is {_advice(kind, name, 'network')}")
    raise NetworkError(
        f"{name!r} is no model file: NET is a name, or a file FILE.keras, FILE.h5, FILE.pt2, FILE.py:FACTORY"
    )


def _require_bare_word(name: str, ending: str) -> None:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name):
        raise NetworkError(f"{name!r} is an address: download the file and give its path")
    if is_dangling(name):
        raise NetworkError(f"{name!r} is a link to a file that is not there")
    known = ending in NETWORKS or ending in SUFFIXES or ending in CHECKPOINTS
    hub = re.fullmatch(r"(?:hf[-_]hub:|hf:)?(\w[\w.-]*/[\w.-]+)", name)
    if hub and not known:
        raise NetworkError(
            f"there is no file {name!r}; if it is a model of the Hugging Face hub, it does not open by its id: load it in "
            f"Python and pass the model (transformers.AutoModel.from_pretrained({hub[1]!r})), or write a file.py:factory "
            f"that does{meant(name)}"
        )
    if known and ending not in NETWORKS:
        would_be = _advice(SUFFIXES.get(ending, "checkpoint"), name, "network")
        raise NetworkError(f"there is no file {name!r}; it would be {would_be}")
    if ending in NETWORKS or os.sep in name:
        raise NetworkError(f"there is no model file {name!r}")


def require_weights(path: Path, takes: Collection[str]) -> None:
    """WeightsError for a file that is not there, or of a kind that is known and not among those that are taken here."""
    if is_dangling(path):
        raise WeightsError(f"{str(path)!r} is a link to a file that is not there")
    if not is_there(path):
        raise WeightsError(f"there is no weights file {str(path)!r}")
    kind = kind_of(path)
    taken = (*takes, *DAMAGED) if path.suffix in (*WEIGHTS, *CHECKPOINTS) else tuple(takes)
    if kind is not None and kind not in taken:
        name = path.name or str(path)
        raise WeightsError(f"{name} is {_advice(kind, name, 'weights')}")


def _advice(kind: str, name: str, role: str) -> str:
    told = KINDS[kind]
    advice = told.weights if role == "weights" and told.weights else told.network
    return f"{told.what}: {advice.format(name=name)}"
