"""Checkpoints as people have them: found in their wrappings, read without running pickled code, fitted to a module.

A checkpoint is a dictionary of tensors, mostly inside another one (`state_dict`, `model`, Lightning's with its
hyper-parameters), with prefixes that wrappers leave on the names (`module.`, `_orig_mod.`, `model.`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from filterscope.errors import WeightsError, did_you_mean, first_line
from filterscope.networks.checkpoints.reading import AVERAGED, dictionaries, read_tensors
from filterscope.networks.files.advice import HOW_TO_SAVE
from filterscope.networks.pytorch.copying import is_sound
from filterscope.networks.weights.table import part_of

_COUNTER = (
    "num_batches_tracked"  # batch norm's count of training steps: older files lack it, pictures need it not
)
_SHOWN = 4
Renaming = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


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
    known = [(label, names(tensors) if names else tensors) for label, tensors in found]
    fitting = [(label, without_prefixes(tensors, wanted)) for label, tensors in known]
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
        None if len(renamed) == len(wanted) else trained,
        _which(taken, renamed, fitting + _beside(dict(known)[taken], renamed, wanted), wanted, path),
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


def _beside(
    tensors: Mapping[str, Tensor], renamed: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> list[tuple[str, dict[str, Tensor]]]:
    """Of one dictionary the tensors under other prefixes, as `ema_model.` beside `model.`."""
    return [
        (prefix.rstrip("."), own)
        for prefix, own in _options(tensors, wanted)
        if prefix and any(own.get(n) is not t for n, t in renamed.items())
    ]


def _under(label: str) -> str:
    return f"under {label!r}" if label else "at its top"


def _of_part(
    found: list[tuple[str, Mapping[str, Tensor]]], part: str | None, path: Path
) -> list[tuple[str, Mapping[str, Tensor]]]:
    """Of a file's dictionaries of tensors those under a name; WeightsError where there are none."""
    if part is None:
        return found
    chosen = [(label, tensors) for label, tensors in found if label == part or label.startswith(f"{part}.")]
    if not chosen:  # or under names that begin so, as `ema_model.conv1.weight`
        begun = [
            (part, {n: t for n, t in tensors.items() if n.startswith(f"{part}.")}) for _, tensors in found
        ]
        chosen = [(label, tensors) for label, tensors in begun if tensors]
    if not chosen:
        labels = [label for label, _ in found if label]
        raise WeightsError(
            f"{path.name} holds no tensors under {part!r}{did_you_mean(part, labels)} "
            f"(it does under: {', '.join(labels) or 'no name'})"
        )
    return chosen


def _candidates(content: Any, path: Path) -> list[tuple[str, Mapping[str, Tensor]]]:
    """All dictionaries of tensors inside, each with the keys that lead to it, the likeliest first."""
    if isinstance(content, nn.Module) or not isinstance(content, Mapping):
        raise WeightsError(
            f"{path.name} holds a {type(content).__name__}, no dictionary of tensors; {HOW_TO_SAVE}"
        )
    found = dictionaries(content)
    if not found:
        raise WeightsError(
            f"{path.name} holds no tensors "
            + (f"(its keys: {', '.join(map(str, list(content)[:8]))})" if content else "(it is empty)")
        )
    return found


# --- fitting ------------------------------------------------------------------------------------------------


def without_prefixes(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the module's own names: without the prefixes that wrappers leave. Of several that fit, as
    `model.` and `ema_model.`, those that are no average."""
    return max(_options(tensors, wanted), key=lambda o: (_matches(o[1], wanted), not AVERAGED.search(o[0])))[
        1
    ]


def _options(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> list[tuple[str, dict[str, Tensor]]]:
    """The tensors with prefixes left out, each with the prefix that all of them had."""
    plain = {n.replace("_orig_mod.", ""): t for n, t in tensors.items() if not n.endswith(_COUNTER)}
    names = list(wanted)
    some = [names[0], names[len(names) // 2], names[-1]]
    prefixes = [n[: -len(w)] for w in some for n in plain if n.endswith(f".{w}")]
    options = [("", plain)]
    for prefix in dict.fromkeys(prefixes):
        options.append(
            (prefix, {n.removeprefix(prefix): t for n, t in plain.items() if n.startswith(prefix)})
        )
    first = next(iter(plain), "")
    for name in names:  # the module itself wraps what was saved
        if name.endswith(f".{first}"):
            options.append(("", {name[: -len(first)] + n: t for n, t in plain.items()}))
            break
    options.append(("", {re.sub(r"^(module\.|model\.|net\.)+", "", n): t for n, t in plain.items()}))
    return options


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
        if name in wanted and _loses(tensor, wanted[name]):
            advice = (
                "" if tensor.is_complex() else ": of quantised weights take those that they were made from"
            )
            raise WeightsError(
                f"{path.name}: {name} holds {_kind(tensor)} numbers, expected {_kind(wanted[name])}{advice}"
            )
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


def _loses(tensor: Tensor, wanted: Tensor) -> bool:
    """Whether a file's numbers stand for others, or lose a part, where they are taken as the network's."""
    if tensor.is_complex() or wanted.is_complex():
        return tensor.is_complex() and not wanted.is_complex()
    return wanted.is_floating_point() and tensor.dtype in (torch.int8, torch.uint8)


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


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
