"""Forward passes that drop the axis of pictures where there is one picture alone."""

import pytest
import torch
from torch import nn

from filterscope import open_network, visualize
from filterscope.networks.pytorch.untraced import UntracedNetwork


class Squeezed(nn.Module):
    def __init__(self, squeeze, asks=False):
        super().__init__()
        self.squeeze, self.asks = squeeze, asks
        self.body, self.act, self.head = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x):
        y = self.act(self.body(x))
        if self.asks and y.sum().item() > 1e9:
            y = y * 0
        return self.head(self.squeeze(y.mean((2, 3), keepdim=True)))


SQUEEZES = {
    "all": lambda y: y.squeeze(),
    "by torch": lambda y: torch.squeeze(y),
    "one by one": lambda y: y.squeeze(-1).squeeze(2),
    "several": lambda y: torch.squeeze(y, dim=(2, 3)),
    "of the batch too": lambda y: y.squeeze(-1).squeeze(-1).squeeze(0),
    "and needs two axes": lambda y: y.squeeze() * y.new_ones(1, 8).expand(y.squeeze().shape),
}


@pytest.mark.parametrize("asks", [False, True], ids=["traced", "untraced"])
@pytest.mark.parametrize("how", SQUEEZES)
def test_one_picture_alone_is_drawn(how, asks):
    """In both number types, of the layer before and behind; the numbers are those that it has among others."""
    torch.manual_seed(0)
    module = Squeezed(SQUEEZES[how], asks).eval()
    net = open_network(module)
    assert isinstance(net, UntracedNetwork) is asks
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        for layer, whole in (("head", module(x)), ("act", module.act(module.body(x)))):
            taps = net.part(layer)(x[:1])
            assert taps.output.shape == whole[:1].shape
            assert torch.allclose(taps.output, whole[:1], atol=1e-5)
            assert torch.allclose(net.part(layer)(x).output, whole, atol=1e-5)
    for precision in ("float32", "bfloat16"):
        picture = visualize(net, "head:1", steps=2, size=32, precision=precision, progress=False)
        assert picture.status
        assert net.output_shape("head", 32) == (3,)
