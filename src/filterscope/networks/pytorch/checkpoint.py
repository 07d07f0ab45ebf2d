"""Checkpoints as people have them: found in their wrappings, read without running pickled code, fitted to a module.

A checkpoint is a dictionary of tensors, mostly inside another one (`state_dict`, `model`, Lightning's with its
hyper-parameters), with prefixes that wrappers leave on the names (`module.`, `_orig_mod.`, `model.`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from filterscope.errors import WeightsError, did_you_mean, first_line
from filterscope.networks.files.advice import HOW_TO_SAVE
from filterscope.networks.files.kinds import CHECKPOINTS, require_weights
from filterscope.networks.pytorch.copying import is_sound
from filterscope.networks.pytorch.standins import RefusedError, read_with_standins
from filterscope.networks.weights.table import part_of

log = logging.getLogger("filterscope")

# where wrappers keep their tensors, the likeliest first; averaged weights only where there are no others
_ORDER = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
_AVERAGED = re.compile(r"(^|[_.])(ema|swa|averaged?|shadow)([_.]|$)", re.IGNORECASE)
_COUNTER = (
    "num_batches_tracked"  # batch norm's count of training steps: older files lack it, pictures need it not
)
_SHOWN = 4
Renaming = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
# a legal checkpoint is stored as it is: much smaller than what it unpacks to is a bomb
_UNPACKED = 3


@dataclass(frozen=True)
class Fitted:
    """What a checkpoint gave a module: the modules whose weights it held, None for all of them; and where it holds the
    network's weights more than once, which were taken."""

    trained: frozenset[str] | None
    notes: tuple[str, ...] = ()


def load_checkpoint(module: nn.Module, path: Path, names: Renaming | None = None) -> Fitted:
    """Fill a module's parameters and statistics from a file; no code in the file is ever run.

    The file may lack whole layers. names: what gives tensors under the names of another library the module's; those
    that it does not know stay as they are. `FILE#PART` takes the tensors that it holds under a name, as FILE#ema.
    WeightsError where it is missing, damaged or unsafe, where it holds tensors that the module does not know, only a
    part of a layer's, or ones of other shapes.
    """
    path, part = part_of(path)
    found = _of_part(_candidates(read_tensors(path), path), part, path)
    wanted = {n: t for n, t in module.state_dict().items() if not n.endswith(_COUNTER)}
    if not wanted:
        raise WeightsError(f"{type(module).__name__} has no weights that {path.name} could fill")
    fitting = [
        (label, without_prefixes(names(tensors) if names else tensors, wanted)) for label, tensors in found
    ]
    taken, renamed = max(fitting, key=lambda pair: _matches(pair[1], wanted))
    _check(renamed, wanted, path, type(module).__name__)
    trained = _covered(module, renamed, path)
    trainable = dict(module.named_parameters(remove_duplicate=False))
    for name, tensor in renamed.items():
        constant = name not in trainable and not name.endswith(("running_mean", "running_var"))
        if not is_sound(tensor, constant=constant):
            raise WeightsError(f"{path.name} is damaged: {name} holds values that are NaN or infinite")
    try:
        module.load_state_dict(dict(renamed), strict=False)
    except RuntimeError as error:
        raise WeightsError(
            f"{path.name} does not fit {type(module).__name__}: {first_line(error)}"
        ) from error
    return Fitted(
        None if len(renamed) == len(wanted) else trained, _which(taken, renamed, fitting, wanted, path)
    )


def _which(
    taken: str,
    renamed: Mapping[str, Tensor],
    fitting: list[tuple[str, dict[str, Tensor]]],
    wanted: Mapping[str, Tensor],
    path: Path,
) -> tuple[str, ...]:
    """What to say where other tensors of the file would have fitted as well."""
    others = [
        label
        for label, own in fitting
        if label != taken
        and _matches(own, wanted) == _matches(renamed, wanted)
        and all(n not in own or own[n].shape == t.shape for n, t in renamed.items())
        and any(n in own and not torch.equal(own[n], t) for n, t in renamed.items())
    ]
    if not others:
        return ()
    return (
        f"has the weights that {path.name} holds {_under(taken)}; it holds others {' and '.join(map(_under, others))}: "
        f"take these with weights={f'{path.name}#{others[0]}'!r}",
    )


def _under(label: str) -> str:
    return f"under {label!r}" if label else "at its top"


def _of_part(
    found: list[tuple[str, Mapping[str, Tensor]]], part: str | None, path: Path
) -> list[tuple[str, Mapping[str, Tensor]]]:
    """Of a file's dictionaries of tensors those under a name; WeightsError where there are none."""
    if part is None:
        return found
    chosen = [(label, tensors) for label, tensors in found if label == part or label.startswith(f"{part}.")]
    if not chosen:
        labels = [label for label, _ in found if label]
        raise WeightsError(
            f"{path.name} holds no tensors under {part!r}{did_you_mean(part, labels)} "
            f"(it does under: {', '.join(labels) or 'no name'})"
        )
    return chosen


# --- reading ------------------------------------------------------------------------------------------------


def read_tensors(path: Path) -> Any:
    """What a checkpoint file holds: tensors in dictionaries. WeightsError for one that is damaged or unsafe."""
    require_weights(path, takes=("safetensors", "checkpoint", "whole-model", "pickle", "pickled-model"))
    if path.suffix not in CHECKPOINTS:
        raise WeightsError(f"{path.name!r}: weights of a PyTorch network end in {', '.join(CHECKPOINTS)}")
    return _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # SafetensorError, and what absurd shapes raise in torch
        raise WeightsError(
            f"{path.name} is no whole safetensors file (cut short?): {first_line(error)}"
        ) from error


def _pickled(path: Path) -> Any:
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
                f"{path.name} is no whole PyTorch checkpoint (cut short?): {first_line(error)}"
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
    if content is None or not _dictionaries(content):
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


def _candidates(content: Any, path: Path) -> list[tuple[str, Mapping[str, Tensor]]]:
    """All dictionaries of tensors inside, each with the keys that lead to it, the likeliest first."""
    if isinstance(content, nn.Module) or not isinstance(content, Mapping):
        raise WeightsError(
            f"{path.name} holds a {type(content).__name__}, no dictionary of tensors; {HOW_TO_SAVE}"
        )
    found = _dictionaries(content)
    if not found:
        raise WeightsError(
            f"{path.name} holds no tensors (its keys: {', '.join(map(str, list(content)[:8]))})"
        )
    return found


def _dictionaries(content: Mapping[Any, Any]) -> list[tuple[str, Mapping[str, Tensor]]]:
    found: list[tuple[tuple[bool, int], str, Mapping[str, Tensor]]] = []

    def visit(value: Mapping[Any, Any], label: str, depth: int, rank: tuple[bool, int]) -> None:
        tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
        if tensors:
            found.append((rank, label, tensors))
        for key, inner in value.items():
            if isinstance(inner, Mapping) and depth < 3 and key not in ("optimizer", "optimizer_states"):
                averaged = rank[0] or bool(_AVERAGED.search(str(key)))
                place = _ORDER.index(key) if key in _ORDER else len(_ORDER)
                visit(inner, f"{label}.{key}".lstrip("."), depth + 1, (averaged, place))

    visit(content, "", 0, (False, -1))
    return [(label, tensors) for _, label, tensors in sorted(found, key=lambda row: row[0])]


# --- fitting ------------------------------------------------------------------------------------------------


def without_prefixes(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the module's own names: without the prefixes that wrappers leave."""
    plain = {n.replace("_orig_mod.", ""): t for n, t in tensors.items() if not n.endswith(_COUNTER)}
    names = list(wanted)
    some = [names[0], names[len(names) // 2], names[-1]]
    prefixes = [n[: -len(w)] for w in some for n in plain if n.endswith(f".{w}")]
    options = [plain]
    for prefix in dict.fromkeys(prefixes):
        options.append({n.removeprefix(prefix): t for n, t in plain.items() if n.startswith(prefix)})
    first = next(iter(plain), "")
    for name in names:  # the module itself wraps what was saved
        if name.endswith(f".{first}"):
            options.append({name[: -len(first)] + n: t for n, t in plain.items()})
            break
    options.append({re.sub(r"^(module\.|model\.|net\.)+", "", n): t for n, t in plain.items()})
    return max(options, key=lambda o: _matches(o, wanted))


def _matches(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> int:
    """How well names fit: names that agree count, and unknown ones count against."""
    known = sum(n in wanted for n in tensors)
    return 2 * known - (len(tensors) - known)


def _check(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path, kind: str) -> None:
    unknown = [n for n in tensors if n not in wanted]
    missing = [n for n in wanted if n not in tensors]
    for name, tensor in tensors.items():
        if name in wanted and tensor.shape != wanted[name].shape:
            raise WeightsError(
                f"{path.name} is of another architecture: {name} has shape {list(tensor.shape)}, "
                f"expected {list(wanted[name].shape)}"
            )
        if name in wanted and (tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided):
            raise WeightsError(f"{path.name}: {name} holds no plain numbers")
    if len(missing) == len(wanted):
        raise WeightsError(
            f"{path.name} holds no weights for any layer of this {kind}: it has {_listed(unknown)}, expected "
            f"{_listed(missing)}"
        )
    if unknown:
        near = did_you_mean(unknown[0], missing) or did_you_mean(unknown[0], wanted)
        lacks = f" and lacks {_listed(missing)}" if missing else ""
        raise WeightsError(
            f"{path.name} does not fit this {kind}: it holds {_listed(unknown)}, which the network does not have{lacks}"
            f"{near}"
        )


def _covered(module: nn.Module, tensors: Mapping[str, Tensor], file: Path) -> frozenset[str]:
    """The modules all of whose own tensors are there, with those that hold no others; WeightsError for a layer of
    which only some are."""
    trained = set()
    for path, part in module.named_modules():
        own = [
            f"{path}.{n}".lstrip(".")
            for n, t in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            if not n.endswith(_COUNTER) and n not in part._non_persistent_buffers_set
        ]
        lacking = [n for n in own if n not in tensors]
        if lacking and len(lacking) < len(own):
            raise WeightsError(
                f"{file.name} lacks {lacking[0]}, while it holds the rest of {path or 'the network'}"
            )
        if not lacking:
            trained.add(path)
    holes = [p for p, part in module.named_modules() if p not in trained]
    return frozenset(p for p in trained if not any(not p or h.startswith(f"{p}.") for h in holes))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
