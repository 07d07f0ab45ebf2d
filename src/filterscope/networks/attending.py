"""Attention by torch's fused kernel, or in steps where that is slow."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

MANY = (
    1024  # places from which on the fused kernel, which keeps no map of all pairs, is no slower in bfloat16
)
MOST = 2**24  # values in the maps of all pairs of a batch, which each layer keeps for the way back


def attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """`F.scaled_dot_product_attention`: softmax(query key^T * scale + mask) value, (B, heads, N, width).

    On a processor in bfloat16 torch's fused kernel and its gradient take 1.4 to 7 times as long as the products and the
    softmax one by one, which is what runs there.
    """
    plain = not (dropout_p or is_causal or enable_gqa) and _in_steps(query, key, value)
    if plain and (attn_mask is None or _is_added(attn_mask, query)):
        factor = query.shape[-1] ** -0.5 if scale is None else float(scale)
        return cast(Tensor, _Attend.apply(query, key, value, attn_mask, factor))  # type: ignore[no-untyped-call]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def _in_steps(query: Tensor, key: Tensor, value: Tensor) -> bool:
    if query.device.type != "cpu" or any(
        t.dtype != torch.bfloat16 or t.ndim != 4 for t in (query, key, value)
    ):
        return False
    pairs = query.shape[-2] * key.shape[-2]
    return pairs <= MANY**2 and query.shape[0] * query.shape[1] * pairs <= MOST


def _is_added(mask: Tensor, query: Tensor) -> bool:
    """Whether a mask is of numbers that are added to the scores, and no gradient is wanted for it."""
    return mask.dtype == query.dtype and not mask.requires_grad


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        batch, heads, places, _ = query.shape
        q, k, v = (t.reshape(-1, *t.shape[2:]) for t in (query, key, value))
        scores = _product(q, k.transpose(1, 2), scale)
        if mask is not None:
            scores.view(batch, heads, places, -1).add_(mask)
        shares = torch.softmax(scores, -1)
        ctx.save_for_backward(q, k, v, shares)
        ctx.scale, ctx.shape = scale, (batch, heads)
        return torch.bmm(shares, v).view(batch, heads, places, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, shares = ctx.saved_tensors
        g = g.reshape(-1, *g.shape[2:])
        of_value = torch.bmm(shares.transpose(1, 2), g)
        of_shares = torch.bmm(g, v.transpose(1, 2))
        of_scores = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        of_query = _product(of_scores, k, ctx.scale)
        of_key = _product(of_scores.transpose(1, 2), q, ctx.scale)
        return (*(t.view(*ctx.shape, *t.shape[1:]) for t in (of_query, of_key, of_value)), None, None)


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Products of matrices times a number, in one pass."""
    nothing = a.new_empty(()).expand(len(a), a.shape[1], b.shape[2])
    return torch.baddbmm(nothing, a, b, beta=0, alpha=scale)
