"""Opening and drawing beside other threads: nothing that they see is patched, and the person's code runs as it is."""

import math
import sys
import threading
import warnings

import pytest
import torch
from torch import fx, nn

from filterscope import open_network, visualize
from filterscope.networks.pytorch.untraced import UntracedNetwork

SCALE = 2.0
_wrapped_calls = []


def rows_of(x):
    """A helper beside the module, with a `len` of its own."""
    return x.new_ones(len(x), 1)


@fx.wrap
def kept_whole(x):
    """Writes into a slice, which no graph can hold: it stays one node."""
    _wrapped_calls.append(type(x))
    y = x.clone()
    y[:, :1] = 0
    return y


class Base(nn.Module):
    """What is inherited is traced as well."""

    told = []  # noqa: RUF012

    def __init_subclass__(cls, **kwargs):
        Base.told.append(cls.__name__)

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.full((6,), 1.5))

    def forward(self, x):
        y = self.body(x).mean((2, 3))
        return y * self.scale * math.sqrt(y.shape[1]) * y.new_ones(len(y), 1)


class Own(Base):
    seen = {}  # noqa: RUF012

    def forward(self, x):
        Own.seen = {
            "call": nn.Module.__call__,
            "getattr": nn.Module.__getattr__,
            "len": "len" in vars(sys.modules[__name__]),
            "sqrt": sys.modules["math"].sqrt,
            "fast": torch.backends.mha.get_fastpath_enabled(),
            "tracing": fx._symbolic_trace._is_fx_tracing_flag,
            "dispatch": sys.modules["torch.utils._python_dispatch"]._is_in_torch_dispatch_mode,
            "stderr": sys.stderr,
            "filters": list(warnings.filters),
        }
        return self.head(kept_whole(super().forward(x)) * rows_of(x))


def seeded(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(torch.randn_like(tensor) * 0.3)
    return module.eval()


def deep(layers=12):
    rows = [nn.Conv2d(3, 6, 3, padding=1)]
    for _ in range(layers):
        rows += [nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*rows, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


def test_nothing_that_other_threads_see_is_patched():
    """While its forward pass is traced, torch's classes, the person's file and Python's math are as always."""
    open_network(seeded(Own()))  # what torch imports at first use has filters of its own
    before = (nn.Module.__call__, nn.Module.__getattr__, math.sqrt, sys.stderr, list(warnings.filters))
    open_network(seeded(Own()))
    seen = Own.seen
    during = tuple(seen[n] for n in ("call", "getattr", "sqrt", "stderr", "filters"))
    assert during == before
    assert (seen["len"], seen["fast"], seen["tracing"], seen["dispatch"]) == (False, True, False, False)


def test_a_persons_code_is_traced_with_what_it_calls():
    """Inherited methods, helpers and `len` are followed, marked functions kept whole; numbers at any batch agree."""
    module = seeded(Own())
    told = list(Base.told)
    net = open_network(module)
    assert not isinstance(net, UntracedNetwork)
    assert Base.told == told  # no class of ours is told to theirs
    assert all(type(part).__module__ != "filterscope" for part in net.graph.modules())
    with torch.no_grad():
        for batch in (1, 2, 5):
            x = torch.rand(batch, 3, 32, 32)
            assert torch.allclose(net.part("head")(x).output, module(x), atol=1e-6)
    assert net.layer("output" if "output" in net.layers else "head").units == 4
    assert type(module) is Own


def test_threads_that_open_and_one_that_runs_its_own():
    """Networks opened from several threads beside a person's loop: no error there, none here, none afterwards."""
    errors, own, done = [], [], threading.Event()
    mine = deep().eval()
    expected = mine(torch.ones(1, 3, 16, 16))

    def use():
        while not done.is_set():
            try:
                assert torch.equal(mine(torch.ones(1, 3, 16, 16)), expected)
            except BaseException as error:
                own.append(error)

    def open_some():
        try:
            for _ in range(2):
                assert "1" in open_network(deep()).layers
        except BaseException as error:
            errors.append(error)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        user, openers = threading.Thread(target=use), [threading.Thread(target=open_some) for _ in range(3)]
        for thread in (user, *openers):
            thread.start()
        for thread in openers:
            thread.join()
        done.set()
        user.join()
    finally:
        sys.setswitchinterval(usual)
    assert errors == []
    assert own == []
    assert torch.equal(mine(torch.ones(1, 3, 16, 16)), expected)


class Asks(nn.Module):
    """Cannot be traced."""

    def __init__(self):
        super().__init__()
        self.net = deep(3)

    def forward(self, x):
        return self.net(x * 1.0 if x.sum().item() > 0 else x)


@pytest.mark.parametrize("kind", [lambda: deep(3), Asks], ids=["traced", "untraced"])
def test_threads_that_draw_with_one_network(kind):
    """Pictures of one network drawn at once are those drawn one after the other."""
    net = open_network(seeded(kind()))
    layers = [n for n, row in net.layers.items() if row.kind == "Conv2d"]
    texts = [f"{layer}:{unit}" for layer in layers for unit in (0, 1)]

    def draw(text):
        return visualize(net, text, steps=3, size=32, progress=False).image.tobytes()

    alone = {text: draw(text) for text in texts}
    again = open_network(seeded(kind()))
    found, errors = {}, []

    def draw_some(mine):
        try:
            for text in mine:
                found[text] = visualize(again, text, steps=3, size=32, progress=False).image.tobytes()
        except BaseException as error:
            errors.append(error)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=draw_some, args=(texts[i::2],)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(usual)
    assert errors == []
    assert found == alone


def test_a_module_that_runs_while_it_is_copied():
    """A forward pass that notes down what it saw, in another thread: the copy is whole."""

    class Notes(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.notes = deep(20), {}

        def forward(self, x):
            self.notes[len(self.notes)] = [0]
            setattr(self, f"last{len(self.notes) % 500}", x.shape)
            return self.body(x)

    module, done = Notes().eval(), threading.Event()

    def use():
        while not done.is_set():
            for _ in range(50):
                module.notes[len(module.notes)] = [0]
                setattr(module, f"last{len(module.notes)}", 1)

    user = threading.Thread(target=use)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        user.start()
        for _ in range(3):
            assert "body.0" in open_network(module).layers
    finally:
        done.set()
        user.join()
        sys.setswitchinterval(usual)
