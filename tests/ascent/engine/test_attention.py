"""engine/attention.py and networks/attending.py: attention by whichever way, values and gradients as torch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from filterscope.ascent.engine.attention import _attend_four, attended
from filterscope.networks.attending import _Attend, attend


def heads(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(*shape, generator=generator) for _ in range(3)]
    return [t.to(dtype).requires_grad_() for t in made]


def close(found, expected, inputs, others, tolerance) -> None:
    """Values and gradients within a share of the largest."""
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    pairs = [(found, expected)]
    pairs += zip(
        torch.autograd.grad((found.float() * weight).sum(), inputs),
        torch.autograd.grad((expected.float() * weight).sum(), others), strict=True,
    )  # fmt: skip
    for a, b in pairs:
        assert (a.float() - b.float()).abs().max() <= tolerance * b.float().abs().max()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.02), (torch.float32, 1e-5)])
def test_attention(dtype, tolerance, masked):
    """In both number types what torch computes in float32, with a bias added to the scores too."""
    mask = torch.randn(1, 3, 7, 7, generator=torch.Generator().manual_seed(2)) if masked else None
    ours = heads(2, 3, 7, 4, dtype=dtype)
    theirs = [t.detach().float().requires_grad_() for t in ours]
    found = attend(*ours, None if mask is None else mask.to(dtype), scale=0.3)
    assert found.dtype == dtype
    close(found, F.scaled_dot_product_attention(*theirs, mask, scale=0.3), ours, theirs, tolerance)


@pytest.mark.parametrize(
    "how", [{"is_causal": True}, {"attn_mask": torch.ones(7, 7, dtype=torch.bool).tril()}]
)
def test_what_else_torch_does(how, monkeypatch):
    """Causal attention and masks of yes and no are torch's own in bfloat16 too."""
    monkeypatch.setattr(_Attend, "forward", None)
    q, k, v = heads(2, 3, 7, 4, dtype=torch.bfloat16)
    assert torch.equal(attend(q, k, v, **how), F.scaled_dot_product_attention(q, k, v, **how))


class ByHand(nn.Module):
    def __init__(self, way: str):
        super().__init__()
        self.way, self.softmax = way, nn.Softmax(dim=-1)

    def forward(self, q, k, v):
        if self.way == "scaled":
            return torch.matmul(F.softmax(torch.matmul(q, k.transpose(-2, -1)) / 2.5, dim=-1), v)
        if self.way == "before":
            return self.softmax((q * 0.4) @ k.transpose(-1, -2)) @ v
        if self.way == "times":
            return (q.matmul(k.transpose(2, 3)) * 0.4).softmax(-1).matmul(v)
        if self.way == "fused":
            return F.scaled_dot_product_attention(q, k, v, scale=0.4)
        shares = (q @ k.transpose(-2, -1) * 0.4).softmax(-1 if self.way == "twice" else -2)
        return shares @ v + (shares.sum() if self.way == "twice" else 0)


@pytest.mark.parametrize(
    ("way", "found"),
    [("scaled", 1), ("before", 1), ("times", 1), ("fused", 1), ("twice", 0), ("other axis", 0)],
)
def test_by_hand(way, found):
    """Products around a softmax are attention; not where its shares are used elsewhere, nor over another axis."""
    net = ByHand(way)
    graph = attended(fx.symbolic_trace(net))
    targets = [n.target for n in graph.graph.nodes]
    assert targets.count(attend) + targets.count(_attend_four) == found
    ours, theirs = heads(2, 3, 7, 4), heads(2, 3, 7, 4)
    close(graph(*ours), net(*theirs), ours, theirs, 1e-5)


def test_three_axes():
    """A product of matrices without heads stays one."""
    net = ByHand("scaled")
    ours, theirs = heads(3, 7, 4), heads(3, 7, 4)
    close(attended(fx.symbolic_trace(net))(*ours), net(*theirs), ours, theirs, 1e-5)
