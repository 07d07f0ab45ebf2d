"""Receptive fields of the values of a torch graph: along convolutions, pools and all that keeps places."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from filterscope.networks.known_shapes import pair
from filterscope.networks.pytorch.channels import operation

# the receptive field's side in pixels, and pixels from one value to the next; None for all of the picture
Reach = tuple[int, int] | None

_POOLS = nn.MaxPool2d | nn.AvgPool2d | nn.LPPool2d
_KEEP_MODULES = (
    "activation", "batchnorm", "dropout", "normalization", "instancenorm", "linear", "padding", "channelshuffle",
)  # fmt: skip
# operations that leave every place where it is, or only move or mix values of the same place
_KEEP = {
    "add", "sub", "mul", "div", "truediv", "iadd", "imul", "neg", "pow", "cat", "concat", "chunk", "split", "getitem",
    "contiguous", "permute", "transpose", "flatten", "relu", "relu6", "gelu", "silu", "hardswish", "hardsigmoid",
    "leaky_relu", "elu", "selu", "mish", "tanh", "sigmoid", "softplus", "batch_norm", "layer_norm", "group_norm",
    "dropout", "clone", "to", "type_as", "float", "pad", "linear", "hardtanh", "clamp", "square", "rms_norm", "view",
    "reshape", "stochastic_depth", "unbind", "squeeze", "unsqueeze",
}  # fmt: skip


def reaches(nodes: Iterable[fx.Node], holder: nn.Module, axes: dict[fx.Node, int]) -> dict[fx.Node, Reach]:
    """The receptive field of every value of a traced graph, and the step to the next; None of values without a place."""
    found: dict[fx.Node, Reach] = {}
    for node in nodes:
        if node.op == "placeholder":
            found[node] = (1, 1)
        elif isinstance(node.meta.get("val"), Tensor | tuple | list) and node.op != "get_attr":
            found[node] = None if _mixes_places(node, holder, axes) else _reach(node, found, holder)
    return found


def _mixes_places(node: fx.Node, holder: nn.Module, axes: dict[fx.Node, int]) -> bool:
    """Whether a matrix product runs along places instead of channels, as in an MLP-Mixer."""
    if node.op != "call_module" or not isinstance(holder.get_submodule(str(node.target)), nn.Linear):
        return False
    source = node.all_input_nodes[0]
    return source in axes and axes[source] != source.meta["val"].ndim - 1


@dataclass(frozen=True)
class _Step:
    """A node with its module, and the receptive field and the step of its inputs, in pixels, the largest of each."""

    node: fx.Node
    module: nn.Module | None
    before: Any
    field: int
    jump: int


def _reach(node: fx.Node, found: dict[fx.Node, Reach], holder: nn.Module) -> Reach:
    known = [n for n in node.all_input_nodes if n in found]
    reached = [reach for n in known if (reach := found[n]) is not None]
    if not known or len(reached) < len(known):
        return None
    module = holder.get_submodule(str(node.target)) if node.op == "call_module" else None
    step = _Step(
        node, module, known[0].meta.get("val"), max(f for f, _ in reached), max(j for _, j in reached)
    )
    return next((rule(step) for fits, rule in _RULES if fits(step)), None)


def _is_window_call(step: _Step) -> bool:
    return step.node.op == "call_function" and operation(step.node) in ("conv2d", "max_pool2d", "avg_pool2d")


def _is_window_module(step: _Step) -> bool:
    return isinstance(step.module, nn.Conv2d | _POOLS)


def _keeps(step: _Step) -> bool:
    """Whether an operation or a module leaves every place where it is."""
    after = step.node.meta["val"]
    if isinstance(after, Tensor) and after.ndim < 3:
        return False
    if step.module is None:
        keeps = operation(step.node) in _KEEP
        return keeps and (not _reshapes(step.node) or _keeps_places(step.before, after))
    where = type(step.module).__mro__
    kinds = {c.__module__.rpartition(".")[2] for c in where if c.__module__.startswith("torch.nn.modules")}
    return isinstance(step.module, nn.Identity) or bool(kinds & set(_KEEP_MODULES))


def _reshapes(node: fx.Node) -> bool:
    return operation(node) in ("view", "reshape", "flatten")


def _keeps_places(before: Any, after: Any) -> bool:
    """Whether a reshape only lays rows behind one another: (B, C, H, W) to (B, C, H * W), or (B, H, W, C) to tokens."""
    if not isinstance(before, Tensor) or not isinstance(after, Tensor) or after.ndim < 3:
        return False
    return before.shape[:2] == after.shape[:2] or (before.shape[0], before.shape[-1]) == (
        after.shape[0],
        after.shape[-1],
    )


def _through_call(step: _Step) -> Reach:
    """As `_through_module`, of a function's arguments: the same places in torch.nn.functional and in ATen."""
    node = step.node
    given = dict(enumerate(node.args))
    convolves = operation(node) == "conv2d"
    weight = node.args[1] if len(node.args) > 1 else None
    if not convolves:
        kernel, stride = given.get(1, node.kwargs.get("kernel_size")), given.get(2, node.kwargs.get("stride"))
        dilation = given.get(4, 1) if operation(node) == "max_pool2d" else 1
    elif isinstance(weight, fx.Node) and isinstance(weight.meta.get("val"), Tensor):
        kernel = tuple(weight.meta["val"].shape[-2:])
        stride = given.get(3, node.kwargs.get("stride", 1))
        dilation = given.get(5, node.kwargs.get("dilation", 1))
    else:
        return None
    try:
        sides = [pair(kernel), pair(stride or kernel), pair(dilation)]
    except (TypeError, ValueError, IndexError):
        return None  # a size that is computed from the picture's
    window = max((k - 1) * d + 1 for k, d in zip(sides[0], sides[2], strict=True))
    return step.field + (window - 1) * step.jump, step.jump * max(sides[1])


def _through_module(step: _Step) -> Reach:
    module: Any = step.module
    kernel, dilation = pair(module.kernel_size), pair(getattr(module, "dilation", 1))
    stride = pair(getattr(module, "stride", None) or module.kernel_size)
    window = max((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    return step.field + (window - 1) * step.jump, step.jump * max(stride)


def _as_before(step: _Step) -> Reach:
    return step.field, step.jump


# in order: the first that fits; whatever fits none mixes all places
_RULES: tuple[tuple[Callable[[_Step], bool], Callable[[_Step], Reach]], ...] = (
    (_is_window_call, _through_call),
    (_is_window_module, _through_module),
    (_keeps, _as_before),
)
