"""random_numbers.py and own_hooks.py: forward passes that draw numbers, and a person's hooks that change one."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from filterscope.api import visualize
from filterscope.networks import open_network


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.generator = torch.Generator().manual_seed(3)
        self.noise = random.Random(4)

    def forward(self, x):
        return self.head(self.draw(self.body(x)).mean((2, 3)))


class Dropping(Base):
    def draw(self, x):
        return F.dropout(x, 0.5)


class Noisy(Base):
    def draw(self, x):
        return x + torch.randn_like(x)


class Constant(Base):
    """What it draws has nothing of the picture in it."""

    def draw(self, x):
        return x * torch.rand(1, 8, 1, 1)


class Slightly(Base):
    """Less than two passes of one network differ by."""

    def draw(self, x):
        return x + 1e-7 * torch.randn_like(x)


class Numpys(Base):
    def draw(self, x):
        return x * float(np.random.random())


class Pythons(Base):
    def draw(self, x):
        return x * random.random()


class OfItsOwn(Base):
    def draw(self, x):
        return x * torch.rand(1, 8, 1, 1, generator=self.generator)


class Depth(Base):
    """A block that is left out now and then."""

    def draw(self, x):
        return x if float(torch.rand(())) < 0.5 else x * 2


RANDOM = [Dropping, Noisy, Constant, Slightly, Numpys, Pythons, OfItsOwn, Depth]


@pytest.mark.parametrize("kind", RANDOM)
def test_the_same_picture_twice(kind, caplog):
    """One seed, one picture, alone or among others; it is said once; a person's own numbers go on as they would."""
    caplog.set_level(logging.WARNING, logger="filterscope")
    torch.manual_seed(0)
    model = kind().eval()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    how = {"steps": 3, "size": 16, "progress": False, "precision": "float32"}
    first, second = (visualize(model, "head:1", **how) for _ in range(2))
    among = visualize(model, "head:0-3", **how)[1]
    assert first.image.tobytes() == second.image.tobytes() == among.image.tobytes()
    assert first.scores.activation == pytest.approx(among.scores.activation, abs=1e-6)
    assert sum("draws random numbers when it runs" in said for said in caplog.messages) == 1
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


class Unseeded(Base):
    def draw(self, x):
        return x * float(np.random.default_rng().random())


class UnseededToo(Base):
    def draw(self, x):
        return x * random.SystemRandom().random()


class TorchUnseeded(Base):
    def draw(self, x):
        generator = torch.Generator()
        generator.seed()
        return x * torch.rand(1, 8, 1, 1, generator=generator)


@pytest.mark.parametrize("kind", [Unseeded, UnseededToo, TorchUnseeded])
def test_numbers_that_nothing_seeds(kind, caplog):
    """A generator that each forward pass makes anew gives other pictures each time, which is said."""
    caplog.set_level(logging.WARNING, logger="filterscope")
    open_network(kind().eval(), size=16, range=(0, 1))
    assert ["gives other values for the same picture each time" in said for said in caplog.messages] == [True]


class Counting(nn.Module):
    steps: torch.Tensor

    def __init__(self, buffer):
        super().__init__()
        self.body, self.runs, self.buffer = nn.Conv2d(3, 8, 3), 0, buffer
        self.register_buffer("steps", torch.zeros(1))

    def forward(self, x):
        self.runs += 1
        if self.buffer:
            self.steps += 1
        return self.body(x) * (self.steps if self.buffer else self.runs)


@pytest.mark.parametrize("buffer", [False, True])
def test_other_values_each_time(buffer, caplog):
    """A forward pass that counts is not taken for one that mixes the pictures of a batch, and what it does is said."""
    caplog.set_level(logging.INFO, logger="filterscope")
    open_network(Counting(buffer).eval(), size=16, range=(0, 1))
    assert (
        sum("gives other values for the same picture the next time" in said for said in caplog.messages) == 1
    )
    assert not any("mixes the pictures" in said for said in caplog.messages)


class Seeded(Base):
    def draw(self, x):
        return x * float(np.random.default_rng(3).random())


def test_numbers_with_a_seed_of_their_own(caplog):
    """They are the same each time: nothing is said."""
    caplog.set_level(logging.WARNING, logger="filterscope")
    open_network(Seeded().eval(), size=16, range=(0, 1))
    assert not caplog.messages


class Attends(Base):
    """Attention and layers that could draw, and do not."""

    def draw(self, x):
        y = F.scaled_dot_product_attention(x, x, x)
        y = F.scaled_dot_product_attention(
            y, x, x, attn_mask=torch.zeros(x.shape[-1], x.shape[-1]), dropout_p=0.0
        )
        y = F.rrelu(F.alpha_dropout(F.dropout(y, 0.5, self.training), 0.5, False), training=False)
        return F.feature_alpha_dropout(F.dropout2d(y, 0.5, False), 0.5, self.training)


@pytest.mark.parametrize(
    "model", [nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5)), Attends()], ids=["dropout", "attention"]
)
def test_networks_that_draw_none(caplog, model):
    """Dropout that looks at self.training is none."""
    caplog.set_level(logging.WARNING, logger="filterscope")
    net = open_network(model.eval(), size=16, range=(0, 1))
    assert not net.notes
    assert not caplog.messages


def test_numbers_of_another_thread(caplog):
    """Another thread's numbers go on as they would have, and are not taken for the network's."""
    caplog.set_level(logging.WARNING, logger="filterscope")
    torch.manual_seed(5)
    expected = [float(torch.rand(())) for _ in range(3000)]
    models = [
        Dropping().eval(),
        *(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)) for _ in range(3)),
    ]
    found, done = [], threading.Event()

    def use():
        while not done.is_set() and len(found) < len(expected):
            found.append(float(torch.rand(())))
            time.sleep(0.0002)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    torch.manual_seed(5)
    user = threading.Thread(target=use)
    user.start()
    try:
        nets = [open_network(model, size=32, range=(0, 1)) for model in models]
        visualize(nets[0], "head:1", steps=2, size=32, progress=False)
        visualize(nets[1], "0:1", steps=2, size=32, progress=False)
    finally:
        done.set()
        user.join()
        sys.setswitchinterval(usual)
    assert len(found) > 20
    assert found == expected[: len(found)]
    assert [bool(net.notes) for net in nets] == [True, False, False, False]


# --- hooks ----------------------------------------------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.body(x).relu().mean((2, 3)))

    def doubled(self, module, args, out):
        return out * 2 + self.head.bias


def _in_place(module, args, out):
    out[:, 1] = 7.0


STEER = torch.arange(4.0)


def _steered(module, args, out):
    return out + STEER


def _keyword(module, args, kwargs, out):
    return out - 1


CHANGING = {
    "a value": lambda m: m.head.register_forward_hook(lambda *a: a[2] * 3),
    "in place": lambda m: m.head.register_forward_hook(_in_place),
    "before": lambda m: m.head.register_forward_pre_hook(lambda module, args: (args[0] * 2,)),
    "a tensor of the file": lambda m: m.head.register_forward_hook(_steered),
    "a method": lambda m: m.head.register_forward_hook(m.doubled),
    "keywords": lambda m: m.head.register_forward_hook(_keyword, with_kwargs=True),
    "of the whole": lambda m: m.register_forward_hook(lambda *a: {"logits": a[2] / 2}),
}


@pytest.mark.parametrize("hook", CHANGING)
def test_hooks_that_change_what_is_computed(hook):
    """They belong to the network: its layers give what the person's own module gives."""
    torch.manual_seed(0)
    model = Plain().eval()
    CHANGING[hook](model)
    net = open_network(model, size=16)
    x = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        own = model(x)
    name = "output.logits" if hook == "of the whole" else "head"
    own = own["logits"] if hook == "of the whole" else own
    assert torch.allclose(net.part(name)(x).output, own, atol=1e-5)
    assert visualize(net, f"{name}:1", steps=2, size=16, progress=False).status


def test_hooks_that_watch():
    """They are left out, and what they note down stays a person's own: the network is traced as ever."""
    model, heard = Plain().eval(), {}
    noted = []
    model.body.register_forward_hook(lambda m, a, out: heard.update(body=out))
    model.head.register_forward_hook(lambda m, a, out: noted.append(out))
    net = open_network(model, size=16)
    visualize(net, "head:1", steps=2, size=16, progress=False)
    assert not heard
    assert not noted
    assert type(net).__name__ == "Network"


def test_a_hook_that_fails(caplog):
    """It is left out, and named with what it raised."""
    caplog.set_level(logging.WARNING, logger="filterscope")
    model = Plain().eval()
    model.head.register_forward_hook(lambda m, a, out: out.missing)
    visualize(open_network(model, size=16), "head:1", steps=1, size=16, progress=False)
    assert any("at head (AttributeError" in said for said in caplog.messages)


def _of_convolutions(module, args, out):
    return out * 3 + 1 if isinstance(module, nn.Conv2d) else None


def _of_all(module, args, out):
    return out + 1 if isinstance(out, torch.Tensor) else None


def _before(module, args):
    return (args[0] * 2,) if isinstance(module, nn.Linear) else None


COMMON = {
    "of one kind": lambda: register_module_forward_hook(_of_convolutions),
    "of all": lambda: register_module_forward_hook(_of_all),
    "before": lambda: register_module_forward_pre_hook(_before),
}


@pytest.mark.parametrize("hook", COMMON)
def test_hooks_for_all_modules(hook):
    """They belong to the network too, also where they are gone when it is drawn; opened again without them it has none."""
    torch.manual_seed(0)
    model, x = Plain().eval(), torch.rand(3, 3, 16, 16)
    plain = model(x).detach()
    handle = COMMON[hook]()
    try:
        own = model.head(model.body(x).relu().mean((2, 3))).detach()
        net = open_network(model, size=16)
        found = [net.part("head").forward(x).output]
        assert visualize(net, "head:1", steps=2, size=16, progress=False).status
    finally:
        handle.remove()
    found.append(net.part("head")(x).output)
    assert all(torch.allclose(out, own, atol=1e-5) for out in found)
    assert visualize(net, "head:1", steps=2, size=16, progress=False).status
    assert torch.allclose(open_network(model, size=16).part("head")(x).output, plain, atol=1e-5)


def test_hooks_for_all_modules_that_watch():
    """The network is traced as ever."""
    handle = register_module_forward_hook(lambda m, a, out: None)
    try:
        assert type(open_network(Plain().eval(), size=16)).__name__ == "Network"
    finally:
        handle.remove()
