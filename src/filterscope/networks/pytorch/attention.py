"""Multi-head attention as an open module, so that the outputs of its heads can be captured."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class OpenAttention(nn.Module):
    """torch.nn.MultiheadAttention in steps that a graph can name: the same weights, the same numbers.

    query, key, value: (B, N, C), or (N, B, C) without `batch_first`. Attention maps are not returned: the
    second result is None.
    """

    def __init__(self, own: nn.MultiheadAttention):
        super().__init__()
        self.num_heads, self.batch_first = own.num_heads, own.batch_first
        self.in_proj_weight, self.in_proj_bias = own.in_proj_weight, own.in_proj_bias
        self.out_proj = own.out_proj
        self._qkv_same_embed_dim = True  # torch's encoder layers ask for it
        self.training = False

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, None]:
        x = query if self.batch_first else query.transpose(0, 1)
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        split = (q.shape[0], q.shape[1], self.num_heads, -1)
        q, k, v = (t.reshape(split).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = self.out_proj(mixed)
        return (y if self.batch_first else y.transpose(0, 1)), None


def open_attention(module: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Open each self-attention of torch's own, in place; what was replaced, as (owner, name, module)."""
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    for part in list(module.modules()):
        for name, child in list(part.named_children()):
            if type(child) is nn.MultiheadAttention and _can_open(child):
                part._modules[name] = OpenAttention(child)
                replaced.append((part, name, child))
    return replaced


def _can_open(attention: nn.MultiheadAttention) -> bool:
    return attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn
