"""How far a value of a torch graph sees: receptive fields along convolutions, pools and all that keeps places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, fx, nn

from filterscope.networks.known_shapes import pair
from filterscope.networks.pytorch.layout import operation

Reach = (
    tuple[int, int] | None
)  # (side in pixels, pixels from one value to the next), None for all of the picture

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
    """The reach of every value of a traced graph; values without a place see everything."""
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


def _reach(node: fx.Node, found: dict[fx.Node, Reach], holder: nn.Module) -> Reach:
    sources = [found[n] for n in node.all_input_nodes if n in found]
    if not sources or None in sources:
        return None
    sees = max(s[0] for s in sources if s)
    jump = max(s[1] for s in sources if s)
    if operation(node) in ("conv2d", "max_pool2d", "avg_pool2d") and node.op == "call_function":
        return _through_function(node, sees, jump)
    if node.op != "call_module":
        before = next(n for n in node.all_input_nodes if n in found).meta.get("val")
        after = node.meta["val"]
        flat = isinstance(after, Tensor) and after.ndim < 3
        if operation(node) not in _KEEP or flat or (_reshapes(node) and not _keeps_places(before, after)):
            return None
        return sees, jump
    module = holder.get_submodule(str(node.target))
    if isinstance(module, nn.Conv2d | _POOLS):
        return _through(module, sees, jump)
    where = type(module).__mro__
    kinds = {c.__module__.rpartition(".")[2] for c in where if c.__module__.startswith("torch.nn.modules")}
    if isinstance(module, nn.Identity) or kinds & set(_KEEP_MODULES):
        value = node.meta["val"]
        return (sees, jump) if not isinstance(value, Tensor) or value.ndim > 2 else None
    return None


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


def _through_function(node: fx.Node, sees: int, jump: int) -> Reach:
    """As `_through`, of a function's arguments: the same places in torch.nn.functional and in ATen."""
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
    return sees + (window - 1) * jump, jump * max(sides[1])


def _through(module: nn.Module, sees: int, jump: int) -> Reach:
    kernel, dilation = pair(module.kernel_size), pair(getattr(module, "dilation", 1))
    stride = pair(getattr(module, "stride", None) or module.kernel_size)
    window = max((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    return sees + (window - 1) * jump, jump * max(stride)
