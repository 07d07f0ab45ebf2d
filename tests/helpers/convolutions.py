"""Convolutions in every shape a network may have, pictures for them, and the comparison with torch's own."""

import torch
from torch import nn

# kernel, stride, padding, dilation, groups
SHAPES = [
    (3, 1, 1, 1, 1), (1, 1, 0, 1, 1), (3, 1, 0, 1, 1), (3, 2, 1, 1, 1), (7, 2, 3, 1, 1), (3, 1, 2, 2, 1), (5, 1, 4, 1, 1),
    (3, 1, 4, 1, 1), (3, 1, 1, 1, 2), (3, 1, 1, 1, 8), (3, 2, 1, 1, 8), (2, 2, 0, 1, 1), ((3, 1), 1, (1, 0), 1, 1),
    ((1, 5), (2, 1), (0, 2), 1, 1), (4, 4, 0, 1, 1), (1, 2, 0, 1, 1),
]  # fmt: skip


def made(shape, channels=8, out=16, bias=True) -> nn.Conv2d:
    kernel, stride, padding, dilation, groups = shape
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=bias)
    return conv.requires_grad_(False)


def pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def picture(batch=2, channels=8, height=13, width=12, seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, height, width, generator=generator).requires_grad_()


def same(found, expected, inputs, tolerance=1e-5) -> None:
    """Equal outputs, and equal gradients of a weighted sum of them."""
    assert found.shape == expected.shape
    assert torch.allclose(
        found.float(), expected, rtol=tolerance, atol=tolerance * expected.abs().max().item()
    )
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((found.float() * weight).sum(), inputs)
    theirs = torch.autograd.grad((expected * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=tolerance, atol=tolerance * b.abs().max().item())
