"""What a forward pass gives, as tensors by place: of a dictionary, a tuple, an output dataclass, a distribution."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, fx

DEEPEST = 5
MOST = 256  # tensors: what holds more is no output that a person looks through


def tensors_of(value: Any) -> dict[str, Any]:
    """The tensors (or values of a graph) in an output, each by its place as Python would write it behind the output's
    name: "" for a tensor itself, ".logits" of a dictionary's or dataclass' logits, "[0]", "[0].boxes".

    >>> list(tensors_of({"logits": Tensor(), "hidden": [Tensor(), None], "loss": None}))
    ['.logits', '.hidden[0]']
    """
    found: dict[str, Any] = {}
    for place, tensor in _walk(value, "", 0):
        found.setdefault(place, tensor)
        if len(found) == MOST:
            break
    return found


def first_tensor(value: Any) -> Any:
    """The first of them, None where there are none."""
    return next((tensor for _, tensor in _walk(value, "", 0)), None)


def _walk(value: Any, place: str, depth: int) -> Iterator[tuple[str, Any]]:
    several = isinstance(value, fx.Proxy) and isinstance(value.node.meta.get("val"), list | tuple)
    if isinstance(value, Tensor | fx.Proxy | fx.Node) and not several:
        yield place, value
    elif depth < DEEPEST:
        for name, inner in _members(value):
            yield from _walk(inner, place + name, depth + 1)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, fx.Proxy):  # a list or tuple that the graph makes
        parts: Any = value
        yield from ((f"[{i}]", parts[i]) for i in range(len(value.node.meta["val"])))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield (f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key}]"), inner
    elif isinstance(value, tuple) and (names := getattr(value, "_fields", None)):
        yield from ((f".{name}", inner) for name, inner in zip(names, value, strict=False))
    elif isinstance(value, list | tuple):
        yield from ((f"[{i}]", inner) for i, inner in enumerate(value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{f.name}", getattr(value, f.name, None)) for f in dataclasses.fields(value))
    elif not isinstance(value, type) and hasattr(value, "__dict__"):
        held = vars(value).items()  # a distribution, a box of results: what it holds openly
        yield from ((f".{name}", v) for name, v in held if isinstance(v, Tensor) and not name.startswith("_"))
