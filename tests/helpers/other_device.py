"""A device beside the processor, for machines without one: tensors that say they are elsewhere and compute here.

Inside `OtherDevice()` the device "lazy", which no build of torch computes on, holds numbers of the processor behind tensors
that name it. As on a GPU, an operation that mixes the two devices' tensors is refused, and what would make the
processor wait for a GPU is noted in `waits`: a number read, a copy that is not sent ahead, an operation whose result's shape
depends on numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

OTHER = torch.device("lazy")
READS = (
    "_local_scalar_dense",
    "nonzero",
    "is_nonzero",
    "equal",
    "bincount",
    "masked_select",
    "_unique2",
    "unique_dim",
)
COPIES = ("_to_copy", "copy_", "copy")


class Elsewhere(Tensor):
    """A tensor of the processor's that names the other device."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=OTHER,
        )  # fmt: skip
        made.on_cpu = inner
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Elsewhere({self.on_cpu!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[override]
        return _computed(func, args, kwargs or {}, [])


class OtherDevice(TorchDispatchMode):
    """The other device is to be had inside; `waits` names what would have waited for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {}, self.waits)

    def __enter__(self) -> OtherDevice:
        self.makers = _Makers()
        self.makers.__enter__()
        entered: OtherDevice = super().__enter__()
        return entered

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.makers.__exit__(*error)


class _Makers(TorchFunctionMode):
    """Tensors made of Python's numbers are made here and sent, as on a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return args[0].on_cpu.new_tensor(*args[1:], **kwargs).to(OTHER)
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == OTHER:
            return func(*args, **{**kwargs, "device": "cpu"}).to(OTHER)
        if func is Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


def _computed(func: Any, args: Any, kwargs: dict[str, Any], waits: list[str]) -> Any:
    name = func.overloadpacket.__name__
    given = [v for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
    there = [isinstance(v, Elsewhere) for v in given]
    asked = kwargs.get("device")
    goes = any(there) if asked is None else torch.device(asked) == OTHER
    if not any(there) and not goes:
        return func(*args, **kwargs)
    crosses = any(there) != goes or (name in COPIES and not all(there))
    if name in READS or (crosses and given and not kwargs.get("non_blocking")) or _by_mask(name, args):
        waits.append(name)
    if (
        name not in COPIES
        and any(v.ndim for v, at in zip(given, there, strict=True) if not at)
        and any(there)
    ):
        raise RuntimeError(f"{name} of tensors on two devices")
    if asked is not None and goes:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = func(*tree_map(_here, args), **tree_map(_here, kwargs))
    known = {id(v.on_cpu): v for v in given if isinstance(v, Elsewhere)}
    return tree_map(lambda v: _there(v, known), found) if goes else found


def _by_mask(name: str, args: Any) -> bool:
    indices = args[1] if name in ("index", "index_put", "index_put_") else ()
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _here(value: Any) -> Any:
    return value.on_cpu if isinstance(value, Elsewhere) else value


def _there(value: Any, known: dict[int, Elsewhere]) -> Any:
    if not isinstance(value, Tensor):
        return value
    return known[id(value)] if id(value) in known else Elsewhere(value)
