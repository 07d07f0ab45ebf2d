"""The private copy: what counts as damage, and TorchScript parts, which run as they are."""

import copy

import pytest
import torch
from torch import nn

from filterscope import NetworkError, open_network, visualize
from filterscope.networks.pytorch.untraced import UntracedNetwork

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


class Masked(nn.Module):
    """Attention over 16 patches, each of which sees those before it."""

    def __init__(self, mask):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, 8), nn.Linear(8, 4)
        mask(self, torch.full((16, 16), float("-inf")).triu(1))

    def forward(self, x):
        tokens = self.body(x).flatten(2).transpose(1, 2)
        weights = (tokens @ tokens.transpose(1, 2) + self.mask).softmax(-1)
        return self.head((weights @ tokens).mean(1))


MASKS = {
    "buffer": lambda m, mask: m.register_buffer("mask", mask),
    "not kept in files": lambda m, mask: m.register_buffer("mask", mask, persistent=False),
    "parameter": lambda m, mask: m.register_parameter("mask", nn.Parameter(mask, requires_grad=False)),
    "plain tensor": lambda m, mask: setattr(m, "mask", mask),
    "biases and infinity": lambda m, mask: m.register_buffer("mask", mask + 0.5),
}


@pytest.mark.parametrize("how", MASKS)
def test_a_mask_of_infinity_is_no_damage(how, tmp_path):
    """In the module, and in a file of its weights."""
    torch.manual_seed(0)
    module = Masked(MASKS[how]).eval()
    x = torch.rand(2, 3, 32, 32)
    net = open_network(module)
    torch.save(module.state_dict(), tmp_path / "own.pt")
    filled = open_network(Masked(MASKS[how]), weights=tmp_path / "own.pt")
    with torch.no_grad():
        for one in (net, filled):
            assert torch.allclose(one.part("head")(x).output, module(x), atol=1e-5)
    assert visualize(net, "head:1", steps=2, size=32, progress=False).status


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["body.weight", "head.bias", "norm.running_var"])
def test_damage_is_refused(name, value):
    """What training makes is finite: weights, and a batch norm's statistics; NaN is damage wherever it stands."""
    module = Masked(MASKS["buffer"])
    module.norm = nn.BatchNorm2d(8)
    with torch.no_grad():
        module.get_submodule(name.partition(".")[0]).state_dict()[name.partition(".")[2]].view(-1)[0] = value
    with pytest.raises(NetworkError, match=rf"{name} holds values that are NaN or infinite"):
        open_network(module)


def test_a_mask_with_nan_is_damage():
    """Infinity alone is a mask's."""
    module = Masked(MASKS["buffer"])
    module.mask[0, 0] = torch.nan
    with pytest.raises(NetworkError, match="mask holds values that are NaN or infinite"):
        open_network(module)


class Scripted(nn.Module):
    def __init__(self, asks=False):
        super().__init__()
        self.asks = asks
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 1)
        self.part = torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()))

    def forward(self, x):
        y = self.part(self.body(x))
        if self.asks and y.sum().item() > 1e9:
            y = y * 0
        return self.head(y)


@pytest.mark.parametrize("asks", [False, True], ids=["traced", "untraced"])
def test_a_part_in_torchscript_runs_as_it_is(asks):
    """It is a layer itself, what lies behind it too, in both number types; the person's part stays as it was."""
    torch.manual_seed(0)
    module = Scripted(asks).eval()
    before = copy.deepcopy(module.part.state_dict())
    net = open_network(module)
    assert isinstance(net, UntracedNetwork) is asks
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(net.part("head")(x).output, module(x), atol=1e-5)
        assert torch.allclose(net.part("part")(x).output, module.part(module.body(x)), atol=1e-5)
    assert net.layer("part").parameters == sum(p.numel() for p in module.part.parameters())
    for target in ("head:1", "part:1"):
        one = visualize(net, target, steps=3, size=32, precision="float32", progress=False)
        half = visualize(net, target, steps=3, size=32, precision="bfloat16", progress=False)
        assert one.scores.activation == pytest.approx(half.scores.activation, rel=0.2)
        assert one.scores.activation >= one.scores.start
    assert net.output_shape("head", 200) == (3, 196, 196)
    assert all(torch.equal(t, before[n]) for n, t in module.part.state_dict().items())
    assert all(p.requires_grad for p in module.part.parameters())


def test_other_weights_in_torchscript_are_other_weights():
    """A network is known by all of its numbers."""
    torch.manual_seed(0)
    module = Scripted().eval()
    first = open_network(module).weights.sha256
    assert open_network(module).weights.sha256 == first
    with torch.no_grad():
        next(iter(module.part.parameters())).add_(1.0)
    assert open_network(module).weights.sha256 != first
