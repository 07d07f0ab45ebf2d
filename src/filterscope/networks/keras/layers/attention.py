"""Keras' attention and einsum layers, as torch modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from filterscope.errors import NetworkError
from filterscope.networks.attending import attend
from filterscope.networks.keras.layers.activations import activation_of
from filterscope.networks.keras.layers.base import (
    Builder,
    Built,
    Config,
    Joiner,
    Shape,
    keras_order,
    keras_shape,
    meta,
    own_order,
)
from filterscope.networks.weights.table import Slot


class MultiHeadAttention(nn.Module):
    """softmax(query key^T / sqrt(width)) value in several heads, over all places of (B, C, ...) tensors.

    With `scores` the attention of each head (B, heads, places, places) comes out too; with `causal` a place attends
    to none behind it.
    """

    def __init__(self, widths: Sequence[int], heads: int, width: int, value_width: int, out: int, bias: bool):
        super().__init__()
        query, value, key = widths
        shapes = {
            "query": ((query, heads, width), (heads, width)),
            "key": ((key, heads, width), (heads, width)),
            "value": ((value, heads, value_width), (heads, value_width)),
            "attention_output": ((heads, value_width, out), (out,)),
        }
        self.slots: list[Slot] = []
        self.scores = self.causal = False
        for part, (kernel, offset) in shapes.items():
            folder = "output_dense" if part == "attention_output" else f"{part}_dense"
            self.register_parameter(part, meta(*kernel))
            self.slots.append(Slot(f"{part}/kernel", kernel, part, store=f"{folder}/vars/0"))
            self.register_parameter(f"{part}_bias", meta(*offset) if bias else None)
            if bias:
                self.slots.append(Slot(f"{part}/bias", offset, f"{part}_bias", store=f"{folder}/vars/1"))

    def _heads(self, x: Tensor, part: str) -> Tensor:
        bias: Tensor | None = getattr(self, f"{part}_bias")
        kernel: Tensor = getattr(self, part)
        result = torch.einsum("bte,ehd->bhtd", x, kernel)
        return result if bias is None else result + bias[:, None]

    def forward(
        self, query: Tensor, value: Tensor, key: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        places = query.shape[2:]
        tokens = [x.flatten(2).transpose(1, 2) for x in (query, value, value if key is None else key)]
        q, v, k = (self._heads(x, part) for x, part in zip(tokens, ("query", "value", "key"), strict=True))
        scores = None
        if self.scores:
            scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            if self.causal:
                seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
                scores = scores.masked_fill(~seen, float("-inf"))
            scores = scores.softmax(-1)
            mixed = scores @ v
        else:
            mixed = attend(q, k, v, is_causal=self.causal)
        kernel: Tensor = getattr(self, "attention_output")  # noqa: B009
        out = torch.einsum("bhtd,hde->bte", mixed, kernel)
        bias: Tensor | None = getattr(self, "attention_output_bias")  # noqa: B009
        out = out if bias is None else out + bias
        out = out.transpose(1, 2).reshape(out.shape[0], out.shape[2], *places)
        return out if scores is None else (out, own_order(scores))


def _attention(config: Config, shapes: Sequence[Shape]) -> Built:
    call = config.get("call_arguments", {})
    for option in ("attention_mask", "query_mask", "value_mask", "key_mask"):
        if call.get(option):
            raise NetworkError(f"{option} is not supported")
    axes = config.get("attention_axes")
    if config.get("use_gate") or config.get("sliding_window"):
        raise NetworkError("use_gate and sliding_window are not supported")
    if axes is not None and sorted([axes] if isinstance(axes, int) else axes) != list(
        range(1, len(shapes[0]))
    ):
        raise NetworkError(f"attention_axes {axes!r} are not supported; attention over all places is")
    if not 2 <= len(shapes) <= 3:
        raise NetworkError(f"it takes {len(shapes)} inputs; it needs query, value and perhaps key")
    out = config.get("output_shape")
    out = out[0] if isinstance(out, list | tuple) and len(out) == 1 else out
    if out is not None and not isinstance(out, int):
        raise NetworkError(f"output_shape {out!r} is not supported; one axis is")
    width = int(config["key_dim"])
    widths = [shapes[0][0], shapes[1][0], shapes[-1][0]]
    module = MultiHeadAttention(
        widths,
        int(config["num_heads"]),
        width,
        int(config.get("value_dim") or width),
        out or shapes[0][0],
        bool(config.get("use_bias", True)),
    )
    module.scores, module.causal = (bool(call.get(k)) for k in ("return_attention_scores", "use_causal_mask"))
    return Built(module, tuple(module.slots), window=None)


class EinsumDense(nn.Module):
    """An einsum of the input with a kernel, plus a bias, in Keras' order."""

    def __init__(self, equation: str, kernel: Shape, bias: Shape | None):
        super().__init__()
        self.equation = equation
        self.kernel = meta(*kernel)
        self.bias = None if bias is None else meta(*bias)

    def forward(self, x: Tensor) -> Tensor:
        result = torch.einsum(self.equation, keras_order(x), self.kernel)
        return own_order(result if self.bias is None else result + self.bias)


def _einsum_dense(config: Config, shape: Shape) -> Built:
    equation = str(config["equation"]).replace(" ", "")
    source, _, rest = equation.partition(",")
    kernel, _, result = rest.partition("->")
    sizes: dict[str, int] = {}
    known = (0, *keras_shape(shape))
    letters = source.replace("...", "")
    outs = config["output_shape"]
    outs = [outs] if isinstance(outs, int) else list(outs)
    sizes.update(zip(reversed(result.replace("...", "")), reversed(outs), strict=False))
    sizes.update(
        zip(letters, known, strict=False)
        if "..." not in source
        else zip(letters[::-1], known[::-1], strict=False)
    )
    if not all(sizes.get(letter) for letter in kernel):
        raise NetworkError(f"the equation {equation!r} leaves the kernel's shape open")
    shape_of_kernel = tuple(int(sizes[letter]) for letter in kernel)
    slots, offset = [Slot("kernel", shape_of_kernel, "kernel")], None
    if axes := config.get("bias_axes"):
        first = min(result.index(a) for a in axes)
        offset = tuple(int(sizes[a]) if a in axes else 1 for a in result[first:])
        slots.append(Slot("bias", offset, "bias"))
    window = (1, 1) if source[:-1] == result[: len(source) - 1] and len(source) == len(result) else None
    return Built(EinsumDense(equation, shape_of_kernel, offset), tuple(slots), activation_of(config), window)


BUILDERS: dict[str, Builder] = {"EinsumDense": _einsum_dense}
JOINERS: dict[str, Joiner] = {"MultiHeadAttention": _attention}
