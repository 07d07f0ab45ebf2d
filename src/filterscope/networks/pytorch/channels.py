"""Which axis of a graph's values counts channels, followed from operation to operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn


def channel_axes(nodes: Iterable[fx.Node], holder: nn.Module) -> dict[fx.Node, int]:
    """For every value of a traced graph the axis that counts its channels."""
    axes: dict[fx.Node, int] = {}
    for node in nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.ndim:
            module = holder.get_submodule(str(node.target)) if node.op == "call_module" else None
            made = _Made(node, value, module, operation(node), _main_input(node, value, axes), axes)
            axes[node] = next(axis for axis in (rule(made) for rule in _RULES) if axis is not None)
    return axes


@dataclass(frozen=True)
class _Made:
    """A value with what made it: the module or the operation's name, and the first input whose channels are known."""

    node: fx.Node
    value: Tensor
    module: nn.Module | None
    name: str
    source: fx.Node | None
    axes: Mapping[fx.Node, int]

    @property
    def last(self) -> int:
        """The last axis."""
        return self.value.ndim - 1


def _flat(made: _Made) -> int | None:
    """The picture, and vectors."""
    return min(1, made.last) if made.node.op == "placeholder" or made.value.ndim < 3 else None


def _convolved(made: _Made) -> int | None:
    convolves = isinstance(made.module, nn.Conv2d | nn.ConvTranspose2d)
    return 1 if convolves or made.name in ("conv2d", "conv_transpose2d") else None


def _multiplied(made: _Made) -> int | None:
    multiplies = isinstance(made.module, nn.Linear | nn.Embedding)
    return made.last if multiplies or made.name in ("linear", "scaled_dot_product_attention") else None


def _permuted(made: _Made) -> int | None:
    if made.source is None:
        return None
    order = _order(made.node, made.name, made.source.meta["val"].ndim)
    return None if order is None else int(order.index(made.axes[made.source]))


def _of_as_many(made: _Made) -> int | None:
    """An axis with as many channels as the input has, of several the likeliest."""
    if made.source is None:
        return None
    before, axis = made.source.meta["val"], made.axes[made.source]
    likely = [made.last, axis, 1] if axis == before.ndim - 1 else [axis, 1, made.last]
    fits = [i for i in likely if i <= made.last and made.value.shape[i] == before.shape[axis]]
    return fits[0] if fits else None


def _usual(made: _Made) -> int:
    return 1 if made.value.ndim == 4 else made.last


# in order: the first that knows
_RULES: tuple[Callable[[_Made], int | None], ...] = (
    _flat,
    _convolved,
    _multiplied,
    _permuted,
    _of_as_many,
    _usual,
)


def _main_input(node: fx.Node, value: Tensor, axes: Mapping[fx.Node, int]) -> fx.Node | None:
    known = [n for n in node.all_input_nodes if n in axes and n.op != "get_attr"]
    return next((n for n in known if n.meta["val"].shape == value.shape), known[0] if known else None)


def _order(node: fx.Node, name: str, ndim: int) -> list[int] | None:
    """For a permutation of axes where each comes from, None for any other operation."""
    rest: list[Any] = list(node.args[1:])
    if name == "permute":
        dims: Any = rest[0] if rest and isinstance(rest[0], list | tuple) else rest or node.kwargs.get("dims")
        return [d % ndim for d in dims] if dims and all(isinstance(d, int) for d in dims) else None
    if name in ("transpose", "swapaxes", "swapdims"):
        a, b = rest if len(rest) == 2 else (node.kwargs.get("dim0"), node.kwargs.get("dim1"))
        if isinstance(a, int) and isinstance(b, int):
            order = list(range(ndim))
            order[a % ndim], order[b % ndim] = order[b % ndim], order[a % ndim]
            return order
    return None


def operation(node: fx.Node) -> str:
    """The operation's bare name: `relu` for torch.relu, Tensor.relu and torch.nn.functional.relu alike."""
    if node.op == "call_method":
        return str(node.target)
    name = str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""
    return name.partition(".")[0].removeprefix("_")  # `relu.default` and `_softmax.default` are ATen's
