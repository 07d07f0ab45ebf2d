"""passes.py: a rewritten graph computes what it computed, gradient and all; narrowed, each picture's own unit."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from filterscope.ascent.engine.layers import Convolution, MaxPool
from filterscope.ascent.engine.narrowing import narrowed
from filterscope.ascent.engine.own import Own, OwnConvolution, OwnLinear
from filterscope.ascent.engine.passes import expanded, folded, fused


class Block(nn.Module):
    """A residual block with batch norms, as ResNet has them."""

    def __init__(self, channels, down=None):
        super().__init__()
        self.conv1, self.bn1 = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.conv2, self.bn2 = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.down = down

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.down is None else self.down(x)))


class Functional(nn.Module):
    """A batch norm called as a function on the module's own tensors, as timm's are, and a method for a ReLU."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8)

    def forward(self, x):
        n = self.norm
        y = F.batch_norm(self.conv(x), n.running_mean, n.running_var, n.weight, n.bias, False, 0.1, n.eps)
        return y.relu()


class Twice(nn.Module):
    """A convolution that two listen to: it may be neither folded nor put together with what follows."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.MaxPool2d(2)

    def forward(self, x):
        y = self.conv(x)
        z = F.relu(self.norm(y))
        return self.pool(z).sum((2, 3)) + F.relu(y).mean((2, 3)) + z.mean((2, 3))


class Clamps(nn.Module):
    """Every way to clamp by two numbers, and two that are none: by one number, by tensors."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(c, 8, 3, groups=g) for c, g in ((3, 1), *[(8, 8), (8, 1)] * 2, (8, 4))
        )
        self.act = nn.Hardtanh(-0.5, 0.3)

    def forward(self, x):
        a, b, c, d, e, f = self.convs
        x = F.relu6(b(self.act(a(x))))
        x = d(c(x).clamp_(0, max=0.2))
        x = e(torch.clamp(x, min=-0.1, max=0.1))
        return f(F.hardtanh(x, max_val=0.4))


class OtherClamps(nn.Module):
    """Clamps that are no clamp between two numbers."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(c, 8, 3) for c in (3, 8, 8))

    def forward(self, x):
        x = self.two(self.one(x).clamp(max=0.1))
        y = self.three(x)
        return y.clamp(y.detach() * 0.5, y.detach() * 0.6)


def nets() -> dict[str, nn.Module]:
    return {
        "plain": nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()),
        "nested": nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Identity(), nn.Dropout()), nn.Sequential(nn.ReLU())),
        "norms": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)),
        "residual": nn.Sequential(nn.Conv2d(3, 8, 3), Block(8), nn.MaxPool2d(3, 2, 1), Block(8, nn.Conv2d(8, 8, 1))),
        "functional": Functional(),
        "twice": Twice(),
        "clamps": Clamps(),
        "other clamps": OtherClamps(),
        "affine-free": nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8, affine=False), nn.ReLU(inplace=True)),
        "reflecting": nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.AvgPool2d(2)),
        "untracked": nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.GELU(), nn.Conv2d(8, 8, 3, groups=8)),
    }  # fmt: skip


def traced(net: nn.Module) -> fx.GraphModule:
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.data.normal_()
                module.bias.data.normal_()
    graph = fx.symbolic_trace(net.eval().requires_grad_(False))
    end = next(n for n in graph.graph.nodes if n.op == "output")
    end.args = ((end.args[0], end.args[0]),)
    graph.recompile()
    return graph


def picture(batch=2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, 16, 16, generator=generator).requires_grad_()


@pytest.mark.parametrize(
    "steps", [[expanded], [expanded, folded], [expanded, fused], [expanded, folded, fused]], ids=len
)
@pytest.mark.parametrize("name", nets())
def test_graphs_compute_the_same(name, steps):
    """After each pass the outputs and the picture's gradient are what they were."""
    net, x = nets()[name], picture()
    graph = traced(net)
    for step in steps:
        graph = step(graph)
    expected, found = net(x), graph(x)[0]
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (theirs,) = torch.autograd.grad((expected * weight).sum(), x)
    (ours,) = torch.autograd.grad((found * weight).sum(), x)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def kinds(graph: fx.GraphModule) -> list[type]:
    return [type(graph.get_submodule(n.target)) for n in graph.graph.nodes if n.op == "call_module"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", [Convolution, MaxPool, Convolution]),
        ("nested", [Convolution]),
        ("norms", [Convolution, nn.BatchNorm2d, Convolution]),
        ("clamps", [Convolution] * 6),
        ("functional", [Convolution]),
        ("reflecting", [nn.Conv2d, nn.ReLU, nn.AvgPool2d]),
    ],
)
def test_nothing_is_left_over(name, expected):
    """What can be put together is: batch norms, ReLUs, shortcuts, masks."""
    assert kinds(fused(folded(expanded(traced(nets()[name]))))) == expected


def test_shortcuts_are_taken_in():
    """A residual block is two calls, its shortcut and ReLU in the second; a projection makes it three."""
    graph = fused(folded(expanded(traced(nets()["residual"]))))
    assert kinds(graph) == [Convolution, Convolution, Convolution, MaxPool, *[Convolution] * 3]
    assert not [n for n in graph.graph.nodes if n.op == "call_function"]


def test_original_is_untouched():
    """The modules that a graph shares with the network keep their numbers and names."""
    net = nets()["residual"]
    graph = traced(net)
    before = {n: p.clone() for n, p in net.state_dict().items()}
    fused(folded(expanded(graph)))
    assert {*before} == {*net.state_dict()}
    assert all(torch.equal(p, before[n]) for n, p in net.state_dict().items())


@pytest.mark.parametrize("name", ["plain", "nested", "residual", "functional", "affine-free"])
def test_narrowed(name):
    """Picture i has unit i alone, with the same value and gradient."""
    net, x, units = nets()[name], picture(3), [5, 2, 5]
    graph = folded(expanded(traced(net)))
    assert narrowed(graph, units, flat=False)
    found, _ = fused(graph)(x)
    expected = net(x)[torch.arange(3), units][:, None]
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    (ours,) = torch.autograd.grad(found.square().sum(), x)
    (theirs,) = torch.autograd.grad(expected.square().sum(), x)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    assert OwnConvolution in kinds(graph)


def test_narrowed_shortcut():
    """Of a shortcut that no product makes, the own channel is taken."""
    graph = folded(expanded(traced(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Block(8)))))
    assert narrowed(graph, [1, 2], flat=False)
    assert OwnConvolution in kinds(graph)


def test_narrowed_where_it_cannot_be():
    """A layer that mixes channels behind its last convolution is left whole."""
    for net in (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)),
        nn.Conv2d(3, 9, 3, groups=3),
        nets()["reflecting"],
    ):
        graph = expanded(traced(net))
        code = graph.code
        assert not narrowed(graph, [1, 2], flat=False)
        assert graph.code == code


def test_narrowed_product():
    """A matrix product is narrowed where its output is flat; where it runs along a map's rows it is not."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10), nn.ReLU())
    graph = expanded(traced(net))
    assert narrowed(graph, [3, 9], flat=True)
    assert kinds(graph) == [nn.Flatten, OwnLinear, nn.ReLU]
    x = picture()
    assert torch.allclose(graph(x)[0], net(x)[[0, 1], [3, 9]][:, None], atol=1e-5)
    assert not narrowed(expanded(traced(nn.Sequential(nn.Linear(16, 5)))), [3, 4], flat=False)


def test_sums_by_a_module():
    """A module that adds (`function`) counts as an addition, one that divides as well does not."""

    class Merge(nn.Module):
        def __init__(self, divide):
            super().__init__()
            self.function, self.divide = operator.add, divide

        def forward(self, a, b):
            return self.function(a, b) / self.divide

    class Net(nn.Module):
        def __init__(self, divide):
            super().__init__()
            self.conv, self.merge = nn.Conv2d(3, 3, 3, padding=1), Merge(divide)

        def forward(self, x):
            return self.merge(self.conv(x), x)

    class Leaves(fx.Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            return not isinstance(m, Net)

    for divide, expected in ((1, [Convolution]), (2, [Convolution, Merge])):
        net = Net(divide).requires_grad_(False)
        graph = fx.GraphModule(net, Leaves().trace(net))
        x = picture()
        expected_values = net(x)
        assert kinds(fused(graph)) == expected
        assert torch.allclose(graph(x), expected_values, atol=1e-5)


def test_own_channel():
    """Of a whole layer, each picture's own channel."""
    x = picture(2)
    assert torch.equal(Own(torch.tensor([2, 0]))(x), torch.stack([x[0, 2:3], x[1, 0:1]]))


def test_masks_are_handed_on():
    """The mask of a clamp is taken by the convolution or pool that alone uses its output."""
    graph = fused(expanded(traced(nets()["clamps"])))
    layers = [graph.get_submodule(n.target) for n in graph.graph.nodes if n.op == "call_module"]
    bounds = [(-0.5, 0.3), (0, 6), (0, 0.2), (-0.1, 0.1), (-1, 0.4)]
    assert [layer.bounds and layer.bounds[:2] for layer in layers] == [*bounds, None]
    assert [layer.behind and layer.behind[:2] for layer in layers] == [None, *bounds]
    assert [layer.masked for layer in layers] == [True] * 5 + [False]


def test_masks_stay_where_two_use_the_output():
    """A clamp whose output goes to a convolution and to its shortcut, or is captured, has its mask itself."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = (nn.Conv2d(c, 8, 3, padding=1) for c in (3, 8, 8))

        def forward(self, x):
            x = F.relu6(self.one(x))
            x = F.relu6(self.two(x) + x)
            return self.three(x) + x.mean()

    net, x = Net(), picture()
    graph = fused(traced(net))
    layers = [graph.get_submodule(n.target) for n in graph.graph.nodes if n.op == "call_module"]
    assert [layer.bounds and layer.bounds[:2] for layer in layers] == [(0, 6), (0, 6), None]
    assert not any(layer.masked or layer.behind for layer in layers)
    (ours,) = torch.autograd.grad(graph(x)[0].square().sum(), x)
    (theirs,) = torch.autograd.grad(net(x).square().sum(), x)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
