"""Checkpoints that hold more than tensors, read with inert stand-ins: paths, dates, configuration objects, whatever
training scripts leave in them. Only what tensors are made of is ever called; all else becomes a name that does nothing.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from filterscope.networks.checkpoints.arrays import (
    ArrayKind,
    ArrayNumbers,
    array,
    array_of_bytes,
    with_tensors,
)

# what no settings need, and what a file that would harm asks for: it is not read at all
_HARMFUL = {
    "os", "posix", "nt", "subprocess", "_posixsubprocess", "sys", "importlib", "runpy", "shutil", "socket", "ctypes",
    "webbrowser", "pty", "commands", "popen2", "code", "codeop", "timeit", "pdb", "bdb", "marshal", "pip",
}  # fmt: skip
_HARMFUL_BUILTINS = {"eval", "exec", "compile", "open", "__import__", "input", "breakpoint", "exit", "quit"}
_KEYS = str | int | float | bool | bytes | None  # of dictionaries: what else is hashed may take for ever


class RefusedError(pickle.UnpicklingError):
    """A file that asks for what would harm; `name` is what it asks for."""

    def __init__(self, name: str):
        super().__init__(f"it asks for {name}")
        self.name = name


class StandIn:
    """In place of a class, a function, or what one would have made: it holds nothing and does nothing."""

    def __init__(self, name: str):
        self.name = self.__name__ = name

    def append(self, _: object) -> None:
        """What a pickle puts into a list."""

    def extend(self, _: object) -> None:
        """Likewise, several."""

    def add(self, _: object) -> None:
        """What a pickle puts into a set."""

    def __repr__(self) -> str:
        return f"<{self.name}, not made>"


def _plain(func: Any, kind: Any, args: tuple[Any, ...], state: Any) -> Any:
    """torch's tensors of other classes, as plain tensors."""
    return func(*args) if func in _CALLED.values() and func is not _plain else StandIn("a tensor's class")


def _parameter(data: Tensor, requires_grad: bool, hooks: Any, state: Any = None) -> Tensor:
    return nn.Parameter(data, requires_grad=False) if isinstance(data, Tensor) else data


def _ordered(*pairs: Any) -> OrderedDict[Any, Any]:
    """A dictionary with an order; a default's factory is left out."""
    given = pairs[0] if len(pairs) == 1 and isinstance(pairs[0], list) else []
    items = [p for p in given if isinstance(p, list | tuple) and len(p) == 2]
    return OrderedDict((k, v) for k, v in items if isinstance(k, _KEYS))


def _encoded(text: Any, codec: Any = "latin1") -> Any:
    return text.encode("latin1") if isinstance(text, str) and codec == "latin1" else StandIn("_codecs.encode")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A tensor's numbers as they lie in its storage; hooks and gradients are left out."""
    made: Tensor = torch._utils._rebuild_tensor(storage, offset, tuple(size), tuple(stride))  # type: ignore[no-untyped-call]
    return made


# NumPy's arrays are made of bytes by our own reader (`arrays`)
_CALLED: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _plain,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _ordered,
    "_codecs.encode": _encoded,
    **{f"numpy.{core}.multiarray._reconstruct": array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": array_of_bytes for core in ("core", "_core")},
    "numpy.dtype": ArrayKind,
    "torch.Size": lambda sizes=(): tuple(sizes) if isinstance(sizes, list | tuple) else (),
}


_Python: Any = pickle._Unpickler  # written in Python: its steps can be replaced


class Unpickler(_Python):  # type: ignore[misc]
    """Reads a pickle and makes tensors, numbers, texts, lists and dictionaries alone."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Python.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        whole = f"{module}.{name}"
        root = module.partition(".")[0]
        if root in _HARMFUL or (root in ("builtins", "__builtin__") and name in _HARMFUL_BUILTINS):
            raise RefusedError(whole)
        if whole in _CALLED:
            return _CALLED[whole]
        if module == "torch" and isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        return StandIn(whole)

    def _called(self, func: Any, args: Any) -> Any:
        known = isinstance(args, tuple) and any(func is own for own in _CALLED.values())
        return func(*args) if known else StandIn(getattr(func, "name", "a call"))

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._called(self.stack[-1], args)

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self.stack.append(self._called(self.stack.pop(), args))

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_newobj()

    def load_build(self) -> None:
        state = self.stack.pop()  # of what is not made, nothing; of a dictionary its versions
        if isinstance(self.stack[-1], ArrayKind | ArrayNumbers):
            self.stack[-1].set_state(state)

    def _instantiate(self, kind: Any, args: Any) -> None:
        self.append(self._called(kind, tuple(args)))

    def get_extension(self, code: int) -> None:
        self.append(StandIn(f"extension {code}"))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _put(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        made: dict[Any, Any] = {}
        _put(made, items)
        self.append(made)

    def load_additems(self) -> None:
        self.pop_mark()  # sets are of settings alone

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(frozenset())

    for code, own in (
        (pickle.REDUCE, load_reduce), (pickle.NEWOBJ, load_newobj), (pickle.NEWOBJ_EX, load_newobj_ex),
        (pickle.BUILD, load_build), (pickle.SETITEM, load_setitem), (pickle.SETITEMS, load_setitems),
        (pickle.DICT, load_dict), (pickle.ADDITEMS, load_additems), (pickle.FROZENSET, load_frozenset),
    ):  # fmt: skip
        dispatch[code[0]] = own
    del code, own


def _put(held: Any, items: list[Any]) -> None:
    if isinstance(held, dict):
        held.update({k: v for k, v in zip(items[::2], items[1::2], strict=False) if isinstance(k, _KEYS)})


class _Pickles:
    """What torch.load takes for Python's pickle module."""

    Unpickler = Unpickler

    @staticmethod
    def load(file: Any, **how: Any) -> Any:
        """One pickle of a file."""
        return Unpickler(file, **how).load()


def read_with_standins(path: Path) -> Mapping[Any, Any] | None:
    """What a checkpoint holds, all but tensors, numbers and texts as stand-ins; None where that is no dictionary.

    RefusedError where the file asks for what would harm. Raises whatever damaged files make torch raise.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return None  # TorchScript, which torch.load would hand on
    if is_plain_pickle(path):
        with path.open("rb") as file:
            found = Unpickler(file).load()
    else:
        found = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_Pickles)
    return with_tensors(found) if isinstance(found, Mapping) else None


def is_plain_pickle(path: Path) -> bool:
    """Whether a file is one that pickle.dump wrote, and not torch.save."""
    with path.open("rb") as file:
        head = file.read(64)
    return (
        head[:1] == b"\x80"
        and head[1:2] in (b"\2", b"\3", b"\4", b"\5")
        and b"\x8a\nl\xfc\x9cF\xf9" not in head
    )
