"""Networks that cannot be climbed: refused in words that say which layer, and why."""

import numpy as np
import pytest
import torch
from torch import nn

from filterscope import NetworkError, TargetError, WorkError, locate, open_network, visualize
from filterscope.drawing.draw import draw
from filterscope.recipe import get_recipe


class Cut(nn.Module):
    """No gradient reaches `head`, whatever is done between the two."""

    def __init__(self, between):
        super().__init__()
        self.between = between
        self.stem, self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        return self.head(self.between(self.body(self.stem(x))))


def without_gradient(x):
    with torch.no_grad():
        return torch.from_numpy((x * 2).numpy())


CUTS = {
    "detach": lambda x: x.detach(),
    "NumPy": lambda x: torch.from_numpy(x.detach().numpy()),
    "no_grad": without_gradient,
    "whole numbers": lambda x: (x * 9).to(torch.int32).float(),
    "rounded in bytes": lambda x: x.clamp(0, 1).mul(255).to(torch.uint8).float() / 255,
    "asks and detaches": lambda x: x.detach() * x.max().item(),
}


@pytest.mark.parametrize("recipe", ["sharp", "tv", "natural"])
@pytest.mark.parametrize("between", CUTS)
def test_a_layer_without_gradient_is_refused(between, recipe):
    """Also where penalties alone would be climbed; what lies before it is drawn."""
    net = open_network(Cut(CUTS[between]).eval())
    message = r"no gradient comes from head of Cut .* detaches .* body is the last layer before it that can be drawn"
    with pytest.raises(TargetError, match=message):
        visualize(net, "head:1", recipe=recipe, steps=2, size=32, progress=False)
    assert visualize(net, "body:1", recipe=recipe, steps=2, size=32, progress=False).status


@pytest.mark.filterwarnings("ignore")  # torch says that its quantised layers are old
def test_operations_without_a_derivative(tmp_path):
    """As //, and layers quantised when they run: no traceback of torch's, and what lies before them is drawn."""
    net = open_network(Cut(lambda x: x // 2).eval())
    with pytest.raises(
        TargetError, match=r"no gradient comes from head of Cut .* no derivative, as // .*floor_divide"
    ):
        visualize(net, "head:1", steps=2, size=32, progress=False)
    net = open_network(
        Cut(lambda x: x.relu_().mul_(2)).eval()
    )  # what relu_ keeps for its gradient is overwritten
    assert visualize(
        net, "head:1", steps=2, size=32, progress=False
    ).status  # a graph changes nothing in place
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    net = open_network(torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8))
    with pytest.raises(TargetError, match=r"no gradient comes from 3 of Sequential .* quantised"):
        visualize(net, "3:1", steps=2, size=32, progress=False)
    assert visualize(net, "0:1", steps=2, size=32, progress=False).status


@pytest.mark.filterwarnings("ignore")
def test_quantised_networks():
    """One that computes in whole numbers is refused for that; one that is trained to be quantised is drawn."""
    quantization = torch.ao.quantization
    parts = [quantization.QuantStub(), nn.Conv2d(3, 8, 3), nn.ReLU(), quantization.DeQuantStub()]
    net = nn.Sequential(*parts)
    net.qconfig = quantization.default_qat_qconfig  # type: ignore[assignment]
    quantization.prepare_qat(net.train(), inplace=True)
    net(torch.rand(2, 3, 16, 16))
    assert visualize(net, "1:1", steps=2, size=16, progress=False).status
    torch.backends.quantized.engine = next(
        e for e in torch.backends.quantized.supported_engines if e != "none"
    )
    with pytest.raises(NetworkError, match=r"quantised: .* pass the float network"):
        open_network(quantization.convert(net.eval()))


def test_long_work_is_refused_as_well():
    """Before the number of pictures drawn together is measured."""
    net = open_network(Cut(CUTS["detach"]).eval())
    with pytest.raises(TargetError, match="no gradient comes from head"):
        list(draw(net, net.targets("head:*") * 700, get_recipe(steps=32, size=32)))


def test_a_class_without_gradient_is_not_located():
    """A heat map of it would be all black."""

    class Classes(Cut):
        def forward(self, x):
            return super().forward(x).mean((2, 3))

    net = open_network(Classes(CUTS["detach"]).eval())
    with pytest.raises(TargetError, match="no gradient comes from output of Classes"):
        locate(net, np.zeros((32, 32, 3), np.uint8), "output:1")


@pytest.mark.parametrize(
    ("between", "value"), [(lambda x: torch.log(-1 - x.abs()), "nan"), (lambda x: 1 / (x * 0), "inf|nan")]
)
@pytest.mark.parametrize("recipe", ["sharp", "tv"])
def test_values_that_are_no_numbers(between, value, recipe):
    """Said at the first step, with what may be the reason; nothing is saved."""
    with pytest.raises(
        WorkError, match=rf"head:1 is -?({value}) at step 1: the network's forward pass gives NaN"
    ):
        visualize(Cut(between).eval(), "head:1", recipe=recipe, steps=2, size=32, progress=False)


def test_numbers_that_end_at_the_finished_picture():
    """A forward pass that is sound for the noise and not for the picture that comes of it."""

    class Ends(Cut):
        def forward(self, x):
            whole = (x * 255 - (x * 255).round()).abs().max() < 1e-3  # only saved pictures have whole values
            y = super().forward(x)
            return torch.where(whole, torch.full_like(y, torch.nan), y)

    with pytest.raises(WorkError, match="output:1 is nan for a finished picture"):
        visualize(Ends(lambda x: x).eval(), "output:1", steps=2, size=32, precision="float32", progress=False)
