"""The rules' shapes are torch's own, on the meta device and on numbers; where a rule does not fit torch decides."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterscope.networks.known_shapes import RULES, KnownShapes

MAPS, TOKENS = (2, 8, 9, 7), (2, 5, 8)
CASES = {
    "relu": (lambda x: F.relu(x), MAPS),
    "in place": (lambda x: F.relu(x * 1, inplace=True), MAPS),
    "hardswish": (nn.Hardswish(), MAPS),
    "gelu": (nn.GELU("tanh"), TOKENS),
    "leaky": (nn.LeakyReLU(0.1, inplace=True), MAPS),
    "clamp": (lambda x: x.clamp(0, 1), MAPS),
    "clamp by a tensor": (lambda x: x.clamp(min=x.mean()), MAPS),
    "batch norm": (nn.BatchNorm2d(8).eval(), MAPS),
    "batch norm, training": (nn.BatchNorm2d(8), MAPS),
    "batch norm of others": (nn.BatchNorm2d(4).eval(), MAPS),
    "layer norm": (nn.LayerNorm(8), TOKENS),
    "layer norm of others": (nn.LayerNorm(7), TOKENS),
    "layer norm of two": (nn.LayerNorm((5, 8)), TOKENS),
    "group norm": (nn.GroupNorm(4, 8), MAPS),
    "group norm of others": (lambda x: F.group_norm(x, 3), MAPS),
    "linear": (nn.Linear(8, 3), TOKENS),
    "linear of others": (nn.Linear(7, 3), TOKENS),
    "convolution": (nn.Conv2d(8, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=2, groups=2), MAPS),
    "convolution, same": (nn.Conv2d(8, 6, 3, padding="same"), MAPS),
    "convolution of others": (nn.Conv2d(7, 6, 3), MAPS),
    "convolution too large": (nn.Conv2d(8, 6, 11), MAPS),
    "convolution of a view": (
        lambda x: F.conv2d(x.permute(0, 1, 3, 2), torch.ones(2, 8, 3, 3, device=x.device)),
        MAPS,
    ),
    "adaptive": (nn.AdaptiveAvgPool2d(1), MAPS),
    "adaptive, one side": (nn.AdaptiveAvgPool2d((None, 3)), MAPS),
    "mean": (lambda x: x.mean((2, 3)), MAPS),
    "mean, kept": (lambda x: torch.mean(x, -1, keepdim=True), MAPS),
    "mean of all": (lambda x: x.mean(), MAPS),
    "mean of an axis too many": (lambda x: x.mean(7), MAPS),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x[..., :4]), TOKENS),
    "masked attention": (lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), TOKENS),
    "softmax": (nn.Softmax(-1), TOKENS),
    "softmax in float64": (lambda x: F.log_softmax(x, 1, dtype=torch.float64), TOKENS),
    "softmax of an axis too many": (lambda x: x.softmax(3), TOKENS),
    "attention with a mask": (
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x.new_zeros(5, 5), dropout_p=0.0),
        TOKENS,
    ),
    "attention with a mask of others": (
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x.new_zeros(4, 5)),
        TOKENS,
    ),
    "attention of others": (lambda x: F.scaled_dot_product_attention(x, x[..., :4], x), TOKENS),
    "sum": (lambda x: x + x, MAPS),
    "sum of unlike strides": (lambda x: x + x.permute(0, 2, 1).contiguous().permute(0, 2, 1), TOKENS),
    "scaled": (lambda x: 2 * x / 3 - 1, MAPS),
    "broadcast": (lambda x: x * x.mean((2, 3), keepdim=True) + x.mean((0, 2, 3)).view(8, 1, 1), MAPS),
    "no broadcast": (lambda x: x + x[:, :3], MAPS),
    "whole numbers": (lambda x: x.long() / 2, MAPS),
    "other types": (lambda x: x * x.double(), MAPS),
}


def result(make, x):
    try:
        out = make(x)
    except (RuntimeError, IndexError) as error:
        return type(error)
    return tuple(out.shape), out.dtype, out.stride()


@pytest.mark.parametrize("case", CASES)
def test_as_torch_says(case):
    """Shape, number type, order in memory, and whether it fails at all."""
    make, shape = CASES[case]
    meta = make.to("meta") if isinstance(make, nn.Module) else make
    with torch.no_grad():
        own = result(meta, torch.empty(shape, device="meta"))
        with KnownShapes():
            found = result(meta, torch.empty(shape, device="meta"))
    assert found == own


def test_every_rule_is_tried():
    """The table's functions are among the cases, by the rule that they share."""
    used = set()

    class Watching(KnownShapes):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            used.add(RULES.get(func))
            return super().__torch_function__(func, types, args, kwargs)

    for make, shape in CASES.values():
        with torch.no_grad(), Watching():
            result(make, torch.empty(shape, device="meta"))
    assert set(RULES.values()) <= used


def test_numbers_are_left_alone():
    """Of tensors that hold numbers nothing changes."""
    x = torch.rand(1, 2, 4, 4)
    with KnownShapes():
        assert torch.equal(F.relu(x - 0.5), (x - 0.5).clamp(min=0))


def test_a_common_network_opens_without_the_compiler():
    """torch imports it, and symbolic mathematics, for the shapes that it works out in Python: a second and more."""
    program = (
        "import sys, torch; from torch import nn; from filterscope import open_network\n"
        "n = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Hardswish()]\n"
        "open_network(nn.Sequential(*n, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))\n"
        "sys.exit('torch._dynamo' in sys.modules or 'sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
