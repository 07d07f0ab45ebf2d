"""engine/operations.py and padded.py: whatever computes a convolution becomes one; all else is left as it is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterscope.ascent.engine import operations
from filterscope.ascent.engine import prepare as prepare_module
from filterscope.ascent.engine.layers import Convolution
from filterscope.ascent.engine.padded import what_it_does
from filterscope.ascent.engine.prepare import prepare
from filterscope.networks import open_network
from filterscope.target import Target


class SameConv(nn.Conv2d):
    """Pads by the picture's size, as timm's and EfficientNet's convolutions do."""

    def forward(self, x):
        sizes = zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        rows, columns = (max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, k, s, d in sizes)
        if rows or columns:
            x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return F.conv2d(x, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)


class StandardConv(nn.Conv2d):
    """Standardises its weights (Qiao et al. 2019)."""

    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class StaticConv(nn.Conv2d):
    """Pads by a module of its own, and calls the function."""

    def __init__(self, *args, **named):
        super().__init__(*args, **named)
        self.static_padding = nn.ZeroPad2d((0, 1, 0, 1))

    def forward(self, x):
        x = self.static_padding(x)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Functional(nn.Module):
    """`F.pad` and `F.conv2d` on parameters that it standardises itself."""

    def __init__(self, count, out, groups=1, **_):
        super().__init__()
        self.unused = nn.Conv2d(count, out, 3)  # the number of a picture's channels is looked up here
        self.weight, self.groups = nn.Parameter(torch.randn(out, count // groups, 3, 3)), groups

    def forward(self, x):
        weight = self.weight / self.weight.flatten(1).norm(dim=1)[:, None, None, None]
        return F.conv2d(F.pad(x, (1, 2, 0, 1)), weight, stride=2, groups=self.groups)


class PaddedBefore(nn.Module):
    """A module and an operation that put zeros around a plain convolution's input."""

    def __init__(self, count, out, groups=1, **_):
        super().__init__()
        self.pad, self.conv = nn.ZeroPad2d(1), nn.Conv2d(count, out, 3, 2, groups=groups, bias=False)

    def forward(self, x):
        return self.conv(self.pad(x))


class Doubling(nn.Conv2d):
    """No convolution of its input alone."""

    def forward(self, x):
        return super().forward(x * x)


class Reflecting(nn.Conv2d):
    """Pads by something else than zeros."""

    def forward(self, x):
        return F.conv2d(
            F.pad(x, (1, 1, 1, 1), mode="reflect"), self.weight, self.bias, self.stride, 0, 1, self.groups
        )


class Grey(nn.Conv2d):
    """Pads by another number."""

    def forward(self, x):
        return F.conv2d(
            F.pad(x, (1, 1, 1, 1), value=0.5), self.weight, self.bias, self.stride, 0, 1, self.groups
        )


class Recropped(nn.Conv2d):
    """Cuts off a row and puts zeros there."""

    def forward(self, x):
        return F.conv2d(
            F.pad(F.pad(x, (-1, 0, 0, 0)), (1, 0, 0, 0)),
            self.weight,
            self.bias,
            self.stride,
            0,
            1,
            self.groups,
        )


class Residual(nn.Conv2d):
    """Adds what it has padded."""

    def forward(self, x):
        y = F.pad(x, (1, 1, 1, 1))
        return F.conv2d(y, self.weight, self.bias, self.stride, 0, 1, self.groups) + y.mean(
            (1, 2, 3), keepdim=True
        )


class Sized(nn.Conv2d):
    """Another convolution for small pictures."""

    def forward(self, x):
        stride = 2 if min(x.shape[2:]) > 100 else 1
        return F.conv2d(x, self.weight, self.bias, stride, 1, 1, self.groups)


class Net(nn.Module):
    """A stem, a convolution for each channel and one over them, each with its batch norm and ReLU6."""

    def __init__(self, kind: Any, **named):
        super().__init__()
        self.stem, self.norm = kind(3, 16, **named), nn.BatchNorm2d(16)
        self.each, self.norm2 = kind(16, 16, groups=16, **named), nn.BatchNorm2d(16)
        self.head, self.act = nn.Conv2d(16, 6, 1), nn.ReLU6()
        for norm in (self.norm, self.norm2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        return self.head(self.act(self.norm2(self.each(x))))


CONVOLUTIONS = [SameConv, StandardConv, StaticConv, Functional, PaddedBefore]
OTHERS = [Doubling, Reflecting, Grey, Recropped, Residual, Sized]


def prepared_and_plain(kind, dtype=torch.float32, size=45):
    torch.manual_seed(0)
    net = open_network(Net(kind, kernel_size=3, stride=2, bias=False).eval(), size=size)
    return net, prepare(net, [Target("head", 1), Target("head", 4)], dtype=dtype)


def kinds(prepared) -> list[str]:
    graph = prepared.parts.graph
    return [
        type(graph.get_submodule(n.target)).__name__ if n.op == "call_module" else n.name
        for n in graph.graph.nodes
        if n.op not in ("placeholder", "output")
    ]


@pytest.mark.parametrize("kind", CONVOLUTIONS, ids=lambda k: k.__name__)
def test_whatever_computes_a_convolution_is_one(kind):
    """It is folded and fused: no pass for the norm, the activation or the zeros is left."""
    _, prepared = prepared_and_plain(kind)
    assert [k for k in kinds(prepared) if k != "PadsOf"] == ["Convolution", "Convolution", "OwnConvolution"]
    each = [m for m in prepared.modules() if isinstance(m, Convolution)][1]
    assert each.bounds[:2] == (0, 6)


def test_masks_are_handed_on_where_zeros_depend_on_the_size():
    """What only the size of a clamp's output is read for leaves its mask to the convolution behind."""
    _, prepared = prepared_and_plain(StaticConv)
    layers = [m for m in prepared.modules() if isinstance(m, Convolution)]
    assert [layer.masked for layer in layers] == [True, False]
    assert layers[1].behind == layers[0].bounds is not None


@pytest.mark.parametrize("kind", [nn.ReLU6, nn.Hardswish, nn.SiLU, nn.MaxPool2d, nn.AdaptiveAvgPool2d])
def test_activations_and_pools_are_not_run(monkeypatch, kind):
    """Whether one puts zeros around its input need not be tried: that would import torch's compiler."""
    tried = []
    monkeypatch.setattr(operations, "what_it_does", lambda module, *how: tried.append(module) or (None, None))
    between = kind() if kind.__module__.endswith("activation") else kind(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), between, nn.Conv2d(4, 5, 1))
    prepare(open_network(net.eval(), size=16), [Target("2", 1)])
    assert not [m for m in tried if isinstance(m, kind)]


@pytest.mark.parametrize("size", [44, 45])
@pytest.mark.parametrize("kind", [*CONVOLUTIONS, *OTHERS], ids=lambda k: k.__name__)
def test_values_and_gradients_stay(kind, size):
    """At its size and at others, odd or even, the prepared network is the network."""
    net, prepared = prepared_and_plain(kind, size=size)
    for sides in ((size, size), (32, 35), (51, 38)):
        x = torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(0)).mul(255).requires_grad_()
        (taps,) = prepared(x).values()
        ours = taps.output[:, 0] if taps.output.shape[1] == 1 else taps.output[[0, 1], [1, 4]]
        theirs = net.part("head")(net.input.preprocess(x)).output[[0, 1], [1, 4]]
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())
        (a,), (b,) = (torch.autograd.grad(y.square().sum(), x) for y in (ours, theirs))
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


@pytest.mark.parametrize("kind", OTHERS, ids=lambda k: k.__name__)
def test_others_are_left(kind, caplog):
    """What is no convolution with zeros around its input keeps its own code, and the log says so."""
    caplog.set_level("INFO", logger="filterscope")
    prepare_module._logged.clear()
    _, prepared = prepared_and_plain(kind)
    assert kinds(prepared)[0] == kind.__name__
    assert f"; left as they are: 2 {kind.__name__}, " in caplog.text


def test_bfloat16():
    """Weights are standardised and folded before they are rounded."""
    net, prepared = prepared_and_plain(StandardConv, torch.bfloat16)
    x = torch.rand(2, 3, 45, 45, generator=torch.Generator().manual_seed(0)).mul(255)
    (taps,) = prepared(x).values()
    theirs = net.part("head")(net.input.preprocess(x)).output[[0, 1], [1, 4]]
    assert torch.allclose(taps.output[:, 0].float(), theirs, atol=0.03 * theirs.abs().max().item())


def test_zeros_that_two_use_stay():
    """Padding whose result goes elsewhere too is computed as it is."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.pad, self.conv = nn.ZeroPad2d(1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            x = self.pad(x)
            return self.conv(x) + x

    torch.manual_seed(0)
    net = open_network(Two().eval(), size=20)
    prepared = prepare(net, [Target("output", 0), Target("output", 2)])
    assert "ZeroPad2d" in kinds(prepared)
    x = torch.rand(2, 3, 20, 20)
    (taps,) = prepared(x).values()
    theirs = net.part("output")(net.input.preprocess(x)).output[[0, 1], [0, 2]]
    assert torch.allclose(taps.output[:, 0], theirs, rtol=1e-4, atol=1e-5)


def test_what_a_module_does():
    """The zeros that it puts around its input, and its convolution."""
    assert what_it_does(nn.ZeroPad2d((1, 2, 3, 0)), 3, (9, 9))[0] == (1, 2, 3, 0)
    assert what_it_does(nn.Identity(), 3, (9, 9))[0] == (0, 0, 0, 0)
    assert what_it_does(nn.ReflectionPad2d(1), 3, (9, 9)) == (None, None)
    assert what_it_does(nn.ReLU(), 3, (9, 9)) == (None, None)
    pads, found = what_it_does(SameConv(3, 4, 3, 2), 3, (8, 9))
    assert pads == (1, 1, 0, 1)
    assert found is not None
    assert found.how["stride"] == (2, 2)
