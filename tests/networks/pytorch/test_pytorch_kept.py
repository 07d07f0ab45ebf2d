"""A live module is opened once, and again as soon as anything of it that could show has changed."""

import gc
import threading
import types

import pytest
import torch
from torch import nn

from filterscope import open_network, visualize
from filterscope.networks.pytorch.kept import REMEMBERED
from filterscope.networks.remembered import MOST

GAIN = 1.0


def helper(x):
    """Beside the module, with a global of its own."""
    return x * GAIN


def other_forward(self, x):
    return self.head(self.body(x).amax((2, 3)))


class Settings:
    def __init__(self):
        self.gain, self.steps = 1.0, [1.0, {"deep": 1.0}]


class Own(nn.Module):
    power = 1.0

    def __init__(self, asks=False):
        super().__init__()
        self.asks = asks
        self.body, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.scale, self.settings, self.shift = 1.0, Settings(), torch.zeros(1)
        offset = [0.0]
        self.offset, self.offsets = lambda: offset[0], offset
        self.guard = threading.Lock()

    def forward(self, x):
        y = self.norm(self.body(x))
        if self.asks and y.sum().item() > 1e9:
            y = y * 0
        y = helper(y) * self.scale * self.settings.gain * self.settings.steps[1]["deep"] * self.power
        return self.head(y.mean((2, 3)) + self.offset() + self.shift)


def made(asks=False):
    torch.manual_seed(0)
    return Own(asks).eval()


@torch.no_grad()
def swap_two(module):
    weight = module.body.weight.data.view(-1)
    weight[:2] = weight[:2].flip(0).clone()


def set_global(module):
    globals()["GAIN"] = 2.0


CHANGES = {
    "in place": lambda m: m.body.weight.data.add_(0.5),
    "through .data": lambda m: setattr(m.head.weight, "data", m.head.weight.data * 2),
    "two weights swapped": swap_two,
    "a statistic": lambda m: m.norm.running_mean.add_(0.5),
    "a tensor that is no buffer": lambda m: m.shift.add_(0.5),
    "an attribute": lambda m: setattr(m, "scale", 2.0),
    "an object's attribute": lambda m: setattr(m.settings, "gain", 2.0),
    "deep in lists": lambda m: m.settings.steps[1].update(deep=2.0),
    "within a closure": lambda m: m.offsets.__setitem__(0, 0.5),
    "its class": lambda m: setattr(Own, "power", 2.0),
    "its class' forward": lambda m: setattr(Own, "forward", other_forward),
    "its own forward": lambda m: setattr(m, "forward", types.MethodType(other_forward, m)),
    "a global of its file": set_global,
    "a function of its file": lambda m: globals().update(helper=lambda x: x * 3),
    "a part": lambda m: setattr(m, "norm", nn.Tanh()),
    "a part's setting": lambda m: setattr(m.body, "stride", (2, 2)),
}


@pytest.fixture
def _as_before():
    kept = {n: globals()[n] for n in ("GAIN", "helper")}
    forward, power = Own.forward, Own.power
    yield
    globals().update(kept)
    Own.forward, Own.power = forward, power


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("asks", [False, True], ids=["traced", "untraced"])
@pytest.mark.parametrize("change", CHANGES)
def test_opened_again_when_anything_changes(change, asks):
    """As it was it is not opened twice; after each change the new network says what the module says now."""
    module = made(asks)
    x = torch.rand(2, 3, 32, 32)
    net = open_network(module)
    assert open_network(module).graph is net.graph
    with torch.no_grad():
        before = module(x)
        CHANGES[change](module)
        now = module.eval()(x)
        assert not torch.allclose(before, now)
        again = open_network(module)
        assert again.graph is not net.graph
        assert torch.allclose(again.part("head")(x).output, now, atol=1e-5)
    assert open_network(module).graph is again.graph


def test_a_step_of_training_between_two_pictures():
    """The picture after it is that of a fresh copy of the module; without it the same network draws."""
    module = made()
    first = visualize(module, "head:1", steps=2, size=32, progress=False).image
    assert (visualize(module, "head:1", steps=2, size=32, progress=False).image == first).all()
    optimizer = torch.optim.SGD(module.parameters(), lr=5.0)
    module.train()(torch.rand(4, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    after = visualize(module, "head:1", steps=2, size=32, progress=False).image
    twin = made()
    twin.load_state_dict(module.state_dict())
    assert (after == visualize(twin, "head:1", steps=2, size=32, progress=False).image).all()
    assert (after != first).any()


def test_what_cannot_be_compared_is_opened_each_time():
    """A random generator, say, whose next numbers nobody can compare without taking them."""
    module = made()
    module.generator = torch.Generator()
    assert open_network(module).graph is not open_network(module).graph


def test_other_options_are_another_network():
    """Another range, and the first one again."""
    module = made()
    one, other = open_network(module, range=(0, 1)), open_network(module, range=(-1, 1))
    assert one.input.high == other.input.high == 1
    assert other.input.low == -1
    assert open_network(module, range=(0, 1)).input == one.input


def test_what_is_set_on_one_does_not_show_on_the_other():
    """Each call gives an object of its own."""
    module = made()
    net = open_network(module)
    net.name = "mine"
    net.layers.pop("head")
    again = open_network(module)
    assert again.name == "Own"
    assert "head" in again.layers


def test_memory_is_free_again_when_the_module_is_gone():
    """Nothing keeps a network whose module no longer is; of many only a few are kept."""
    modules = [made() for _ in range(5)]
    for module in modules:
        open_network(module)
    assert len(REMEMBERED.kept) == MOST
    del modules, module
    gc.collect()
    open_network(made())
    assert len(REMEMBERED.kept) <= 1
