"""Which axes of a graph's values count places of the picture, followed from operation to operation.

Rows and columns of a map, laid behind one another, are patches; with a class token in front they are patches with one
more. Whatever is as many and comes from elsewhere (a detector's queries, the steps of a line of text) is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from filterscope.networks.patches import Patches, is_map
from filterscope.networks.pytorch.axes import COLUMNS, ROWS, Tag, Tags, blocks, reshaped, sliced
from filterscope.networks.pytorch.channels import operation

_REDUCE = {
    "mean", "sum", "amax", "amin", "max", "min", "norm", "logsumexp", "std", "var", "argmax", "prod", "any", "all",
}  # fmt: skip
_RESHAPES = {"view", "reshape", "flatten", "unflatten", "unsafe_view", "reshape_as", "view_as"}
_OTHER_FORM = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)  # of arguments
_CAT = {"cat", "concat", "concatenate"}
_PRODUCTS = {"matmul", "bmm", "baddbmm"}


def place_axes(
    nodes: Iterable[fx.Node], holder: nn.Module, channels: dict[fx.Node, int]
) -> dict[fx.Node, Tags]:
    """For each value of a traced graph what its axes count; `channels` says which axis counts channels."""
    follower = _Follower(holder, channels)
    for node in nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            follower.tags[node] = follower.of(node, value)
        elif isinstance(value, list | tuple) and node.op != "placeholder":
            follower.tags[node] = ()
    return follower.tags


class _Follower:
    def __init__(self, holder: nn.Module, channels: dict[fx.Node, int]):
        self.holder, self.channels = holder, channels
        self.tags: dict[fx.Node, Tags] = {}
        self.picture = (1, 1)

    def of(self, node: fx.Node, value: Tensor) -> Tags:
        if node.op == "placeholder":
            self.picture = (value.shape[-2], value.shape[-1])
            return (None, None, ROWS, COLUMNS)
        if node.op == "get_attr":
            return (None,) * value.ndim
        try:
            found = self._followed(node, value)
        except _OTHER_FORM:
            found = ()
        if len(found) != value.ndim:  # what was not foreseen: nothing is known
            found = (None,) * value.ndim
        return self._fresh(node, value, found)

    def _followed(self, node: fx.Node, value: Tensor) -> Tags:
        module = self.holder.get_submodule(str(node.target)) if node.op == "call_module" else None
        name = operation(node)
        source = next((n for n in node.all_input_nodes if self._shape(n) is not None), None)
        if source is None:
            return (None,) * value.ndim
        before, tags = self._shape(source) or (), self.tags.get(source, ())
        if isinstance(module, nn.Linear) or name == "linear":
            same = before[-1:] == tuple(value.shape[-1:]) and isinstance(tags[-1], Patches)
            return (*tags[:-1], tags[-1] if same else None)
        if isinstance(module, nn.RNNBase):
            return (*tags[:-1], None)
        if isinstance(module, nn.Unfold):
            return (None, None, blocks(module, before))
        if isinstance(module, nn.Flatten | nn.Unflatten) or name in _RESHAPES:
            return reshaped(before, tags, tuple(value.shape))
        rule = _RULES.get(name) if module is None else None
        if rule is not None:
            return rule(self, node, value, source, tags)
        if name in _REDUCE and module is None:
            return self._reduced(node, value, tags)
        if len(before) == value.ndim == 4 and tags[2:] == (ROWS, COLUMNS):
            return tags  # convolutions, pools, whatever makes maps of maps
        return self._broadcast(node, value)

    def _fresh(self, node: fx.Node, value: Tensor, found: Tags) -> Tags:
        """Maps made of parts that lost their places on the way, as windows put together again."""
        channel = self.channels.get(node)
        if value.ndim != 4 or any(found) or channel not in (1, 3):
            return found
        first = 2 if channel == 1 else 1
        rows, columns = value.shape[first : first + 2]
        if is_map(rows, columns, *self.picture):
            return (*found[:first], ROWS, COLUMNS, *found[first + 2 :])
        return found

    def _shape(self, node: fx.Node) -> tuple[int, ...] | None:
        value = node.meta.get("val")
        if isinstance(value, list | tuple):
            value = next((v for v in value if isinstance(v, Tensor)), None)
        return tuple(value.shape) if isinstance(value, Tensor) and node in self.tags else None

    def _broadcast(self, node: fx.Node, value: Tensor) -> Tags:
        """Of operations that leave places where they are: of each axis what an input of that size says of it."""
        found: list[Tag] = [None] * value.ndim
        for source in node.all_input_nodes:
            shape, tags = self._shape(source), self.tags.get(source, ())
            if shape is None or len(shape) > value.ndim or len(tags) != len(shape):
                continue
            for back in range(1, len(shape) + 1):
                if shape[-back] == value.shape[-back] and found[-back] is None:
                    found[-back] = tags[-back]
        return tuple(found)

    def _reduced(self, node: fx.Node, value: Tensor, tags: Tags) -> Tags:
        dims = _argument(node, 1, "dim")
        if dims is None:
            return (None,) * value.ndim
        gone = {
            d % len(tags) for d in (dims if isinstance(dims, list | tuple) else (dims,)) if isinstance(d, int)
        }
        if value.ndim == len(tags):
            return tuple(None if i in gone else t for i, t in enumerate(tags))
        return tuple(t for i, t in enumerate(tags) if i not in gone)

    # --- rules by operation, see _RULES ---

    def _moved(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        marks = torch.empty(tuple(range(2, 2 + len(tags))), device="meta")  # each axis by a size of its own
        args = [marks if a is source else _known(a) for a in node.args]
        kwargs = {k: _known(a) for k, a in node.kwargs.items()}
        moving: Any = node.target
        made = (
            getattr(marks, moving)(*args[1:], **kwargs)
            if node.op == "call_method"
            else moving(*args, **kwargs)
        )
        return tuple(tags[size - 2] for size in made.shape)

    def _one_more(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        dim = _argument(node, 1, "dim")
        at = (dim if isinstance(dim, int) else 0) % value.ndim
        return (*tags[:at], None, *tags[at:])

    def _squeezed(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        shape, dim = self._shape(source) or (), _argument(node, 1, "dim")
        dims = {
            d % len(shape) for d in (dim if isinstance(dim, list | tuple) else (dim,)) if isinstance(d, int)
        }
        return tuple(t for i, t in enumerate(tags) if not (shape[i] == 1 and (dim is None or i in dims)))

    def _picked(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        if isinstance(source.meta.get("val"), list | tuple):
            return self._part_of_several(source, value)
        index = _known(node.args[1])
        shape = self._shape(source) or ()
        parts = list(index) if isinstance(index, tuple) else [index]
        if any(isinstance(p, Tensor | list) for p in parts):
            return (None,) * value.ndim
        given = sum(p is not None and p is not Ellipsis for p in parts)
        if Ellipsis not in parts:
            parts.append(Ellipsis)
        place = parts.index(Ellipsis)
        parts[place : place + 1] = [slice(None)] * (len(shape) - given)
        found: list[Tag] = []
        axis = 0
        for part in parts:
            if part is None:
                found.append(None)
                continue
            if isinstance(part, slice):
                found.append(sliced(tags[axis], shape[axis], part))
            axis += 1
        return tuple(found)

    def _part_of_several(self, source: fx.Node, value: Tensor) -> Tags:
        """One of the values that chunk, split, unbind or a module gave."""
        origin = next((n for n in source.all_input_nodes if self._shape(n) is not None), None)
        if origin is None:
            return (None,) * value.ndim
        shape, tags = self._shape(origin) or (), self.tags[origin]
        if operation(source) == "unbind":
            dim = _argument(source, 1, "dim")
            at = (dim if isinstance(dim, int) else 0) % len(shape)
            return (*tags[:at], *tags[at + 1 :])
        if len(shape) != value.ndim:
            return (None,) * value.ndim
        return tuple(t if a == b else None for t, a, b in zip(tags, shape, value.shape, strict=True))

    def _unfolded(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        if value.ndim == len(tags) + 1:  # Tensor.unfold
            return (*tags, None)
        sizes = [
            _argument(node, i, n) for i, n in enumerate(("kernel_size", "dilation", "padding", "stride"), 1)
        ]
        made = nn.Unfold(
            *(default if v is None else v for v, default in zip(sizes, (1, 1, 0, 1), strict=True))
        )
        return (None, None, blocks(made, self._shape(source) or ()))

    def _selected(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        dim = _argument(node, 1, "dim")
        at = (dim if isinstance(dim, int) else 0) % len(tags)
        return (*tags[:at], *tags[at + 1 :])

    def _narrowed(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        dim, start, length = (_argument(node, i, n) for i, n in ((1, "dim"), (2, "start"), (3, "length")))
        shape = self._shape(source) or ()
        if not all(isinstance(v, int) for v in (dim, start, length)):
            return (None,) * value.ndim
        at = dim % len(shape)
        part = sliced(tags[at], shape[at], slice(start, start + length))
        return (*tags[:at], part, *tags[at + 1 :])

    def _joined(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        inputs = [
            n
            for n in (node.args[0] if isinstance(node.args[0], list | tuple) else ())
            if isinstance(n, fx.Node)
        ]
        dim = _argument(node, 1, "dim")
        at = (dim if isinstance(dim, int) else 0) % value.ndim
        shapes = [self._shape(n) or () for n in inputs]
        if not inputs or any(len(s) != value.ndim for s in shapes):
            return (None,) * value.ndim
        found = list(self._broadcast(node, value))
        found[at] = None
        patches = [i for i, n in enumerate(inputs) if isinstance(self.tags[n][at], Patches)]
        if len(patches) == 1:
            own = self.tags[inputs[patches[0]]][at]
            assert isinstance(own, Patches)
            front = sum(s[at] for s in shapes[: patches[0]])
            back = sum(s[at] for s in shapes[patches[0] + 1 :])
            found[at] = Patches(own.rows, own.columns, own.front + front, own.back + back)
        return tuple(found)

    def _multiplied(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        pair = [n for n in node.args if isinstance(n, fx.Node) and self._shape(n) is not None][-2:]
        if len(pair) != 2 or any(len(self._shape(n) or ()) < 2 for n in pair):
            return (None,) * value.ndim
        left, right = (self.tags[n] for n in pair)
        rest = self._broadcast(node, value)[:-2]
        return (*rest, left[-2], right[-1])

    def _attended(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        return (*tags[:-1], None)

    def _summed(self, node: fx.Node, value: Tensor, source: fx.Node, tags: Tags) -> Tags:
        """einsum."""
        equation = node.args[0]
        operands = (
            node.args[1] if len(node.args) > 1 and isinstance(node.args[1], list | tuple) else node.args[1:]
        )
        if not isinstance(equation, str) or "->" not in equation or "." in equation:
            return (None,) * value.ndim
        into, _, out = equation.replace(" ", "").partition("->")
        known: dict[str, Tag] = {}
        for letters, operand in zip(into.split(","), operands, strict=False):
            if isinstance(operand, fx.Node):
                for letter, tag in zip(letters, self.tags.get(operand, ()), strict=False):
                    known[letter] = known.get(letter) or tag
        return tuple(known.get(letter) for letter in out)


_Rule = Callable[[_Follower, fx.Node, Tensor, fx.Node, Tags], Tags]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(
        ("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint"), _Follower._moved
    ),
    **dict.fromkeys(("unsqueeze", "stack"), _Follower._one_more), "squeeze": _Follower._squeezed,
    "getitem": _Follower._picked, "select": _Follower._selected, "narrow": _Follower._narrowed,
    "unfold": _Follower._unfolded, "einsum": _Follower._summed, "scaled_dot_product_attention": _Follower._attended,
    **dict.fromkeys(_CAT, _Follower._joined), **dict.fromkeys(_PRODUCTS, _Follower._multiplied),
}  # fmt: skip


def _argument(node: fx.Node, place: int, name: str) -> Any:
    value = node.args[place] if place < len(node.args) else node.kwargs.get(name)
    rest = node.args[place:]
    if (
        len(rest) > 1
        and name == "dim"
        and operation(node) in _REDUCE
        and all(isinstance(a, int) for a in rest)
    ):
        value = list(rest)
    return _known(value)


def _known(value: Any) -> Any:
    """An argument with the sizes that the graph computes as they are on the example."""
    return fx.node.map_arg(value, lambda n: n.meta.get("val"))
