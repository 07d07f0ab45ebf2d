"""Whatever a person has set for torch around the call: the same picture, and their settings as they were."""

import contextlib

import pytest
import torch
from torch import nn

from filterscope import locate, open_network, visualize
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given
from filterscope.networks.torch_state import our_torch
from filterscope.recipe import get_recipe


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AROUND = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "gradients off": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "meta device": lambda: torch.device("meta"),
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
}


class Own(nn.Module):
    """Makes tensors of its own as it runs, of no type or device that it names."""

    def __init__(self, asks):
        super().__init__()
        self.asks = asks
        self.body, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        y = self.body(x)
        if self.asks and y.sum().item() > 1e9:
            y = y * 0
        place = (
            torch.arange(y.shape[-1]) / y.shape[-1]
            + torch.zeros(1)
            + torch.tensor(0.3)
            + torch.linspace(0, 1, 1)
        )
        return self.head((y * place).mean((2, 3)))


def made(asks=False):
    torch.manual_seed(0)
    return Own(asks).eval()


def drawn(module):
    return visualize(module, "head:1", recipe="natural", steps=3, size=32, progress=False).image.tobytes()


@pytest.mark.parametrize("asks", [False, True], ids=["traced", "untraced"])
@pytest.mark.parametrize("around", AROUND)
def test_the_same_picture(around, asks):
    """A module that is opened and drawn inside, whether it can be traced or not."""
    module, usual = made(asks), drawn(made(asks))
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    with AROUND[around]():
        assert drawn(module) == usual
    assert (torch.is_grad_enabled(), torch.get_default_dtype()) == (grad, dtype)


@pytest.mark.parametrize("around", ["inference_mode", "meta device", "bfloat16"])
def test_weights_that_are_read_inside_are_as_ever(around):
    """A network by name reads its weights when they are first needed; what was read inside serves outside."""
    usual = visualize("tiny-vgg16", "block2_conv1:3", steps=2, size=32, progress=False).image
    net = open_network("tiny-vgg16")
    with AROUND[around]():
        inside = visualize(net, "block2_conv1:3", steps=2, size=32, progress=False).image
        locate(net, usual, "block2_conv1:3")
    outside = visualize(net, "block2_conv1:3", steps=2, size=32, progress=False).image
    assert inside.tobytes() == usual.tobytes() == outside.tobytes()


def test_a_module_made_in_inference_mode():
    """Its parameters never have gradients; the copy's pixels have."""
    usual = drawn(made())
    with torch.inference_mode():
        module = made()
    assert drawn(module) == usual


def test_nothing_holds_between_the_pictures_of_a_generator():
    """Who takes pictures one by one keeps their own state between them."""
    net = open_network(made())
    pictures = draw(net, net.targets("body:0-1"), get_recipe(steps=2, size=32), given=Given(batch=1))
    with torch.inference_mode():
        for picture in pictures:
            assert picture.status
            assert torch.is_inference_mode_enabled()
            assert not torch.is_grad_enabled()


def test_numbers_of_another_type_are_had_where_they_are_asked_for():
    """Inside, float64 by default is no reason for float64, and asking for it is."""
    with default_dtype(torch.float64), our_torch():
        assert torch.zeros(2).dtype == torch.tensor(0.5).dtype == (torch.arange(3) / 2).dtype == torch.float32
        assert torch.zeros(2, dtype=torch.float64).dtype == torch.rand(2).double().dtype == torch.float64
        assert (torch.ones(1, dtype=torch.float64) + 1).dtype == torch.float64
    with default_dtype(torch.bfloat16), our_torch():
        assert float(torch.tensor(0.3)) == pytest.approx(0.3, abs=1e-7)
        assert float(torch.tensor(1) / 3) == pytest.approx(1 / 3, abs=1e-7)


class Casts(nn.Module):
    """Autocast within the forward pass."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def of(self, x):
        return self.head(self.body(x).relu().mean((2, 3)))

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.of(x)


class Asks(Casts):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.body(x)
            return self.head((y if y.sum().item() < 1e9 else y * 0).relu().mean((2, 3)))


class Decorated(Casts):
    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, x):
        return self.of(x)


@pytest.mark.parametrize("kind", [Casts, Asks, Decorated])
def test_autocast_within_a_forward_pass(kind):
    """The network is that without it: float32 numbers, traced or not."""
    torch.manual_seed(0)
    model, x = kind().eval(), torch.rand(2, 3, 16, 16)
    net = open_network(model, size=16, range=(0, 1))
    found = net.part("head")(x).output
    assert found.dtype == torch.float32
    assert torch.allclose(found, model.of(x).detach(), atol=1e-6)
    assert model(x).dtype == torch.bfloat16
    assert visualize(net, "head:1", steps=2, size=16, progress=False).status
