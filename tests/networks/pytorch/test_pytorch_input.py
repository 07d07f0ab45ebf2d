"""input.py and its parts: how forward passes take their pictures, and the true reason where they take none."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterscope.api import visualize
from filterscope.cli import main
from filterscope.errors import NetworkError
from filterscope.networks import open_network
from filterscope.networks.pytorch.untraced import UntracedNetwork
from filterscope.rerun import draw_again


class Body(nn.Module):
    """One convolution; what stands around it is each test's own."""

    def __init__(self, channels: int = 3, units: int = 0):
        super().__init__()
        self.body = nn.Conv2d(channels, 4, 3, padding=1)
        if units:
            self.head = nn.Linear(units, 5)


class ByName(Body):
    main_input_name = "seen"

    def forward(self, mask=None, seen=None):
        return self.body(seen)


class AmongOthers(Body):
    def forward(self, labels=None, pixel_values=None, *, scale=1.0):
        x = self.body(pixel_values) * scale
        return x if labels is None else (x, labels.sum())


class KeywordOnly(Body):
    def forward(self, *, image):
        return self.body(image)


class AnyKeyword(Body):
    def forward(self, **inputs):
        return self.body(inputs["pixel_values"])


class ChannelsLast(Body):
    def forward(self, x):
        assert x.shape[-1] == 3
        return self.body(x.movedim(-1, 1))


class ListOfPictures(Body):
    def forward(self, images):
        if not isinstance(images, list):
            raise TypeError("expected a list of tensors")
        return [self.body(image[None]) for image in images]


class OfDictionary(Body):
    def forward(self, batch):
        return self.body(batch.get("image"))


class OneByOne(Body):
    def forward(self, x):
        return torch.stack([self.body(picture).amax((1, 2)) for picture in x])


class ViewsAll(Body):
    def __init__(self):
        super().__init__(units=4 * 16 * 16)

    def forward(self, x):
        return self.head(self.body(x).view(-1))


class ViewsEach(ViewsAll):
    def forward(self, x):
        return self.head(self.body(x).view(x.size(0), -1))


class ViewsUntraced(ViewsAll):
    def forward(self, x):
        x = self.body(x)
        if float(x.detach().sum()) > 1e30:
            x = x * 0
        return self.head(x.view(x.size(0), -1))


DRAWN = [ByName, AmongOthers, KeywordOnly, AnyKeyword, ChannelsLast, ListOfPictures, OfDictionary, OneByOne]
DRAWN += [ViewsAll, ViewsEach, ViewsUntraced]


@pytest.mark.parametrize("kind", DRAWN)
def test_fed_as_they_take_their_pictures(kind):
    """The layer's own numbers, for pictures given as all others are, one or several together."""
    torch.manual_seed(0)
    model = kind().eval()
    net = open_network(model, size=16)
    assert "body" in net.layers
    x = torch.rand(3, 3, 16, 16)
    maps = net.part("body")(x).output
    assert torch.allclose(maps, model.body(x), atol=1e-6)
    pictures = visualize(net, "body:0-2", steps=2, size=16, progress=False, precision="float32")
    alone = visualize(net, "body:1", steps=2, size=16, progress=False, precision="float32")
    assert np.array_equal(pictures[1].image, alone.image)
    if hasattr(model, "head"):
        own = torch.cat([model(p[None]).reshape(1, -1) for p in x]) if kind is ViewsAll else model(x)
        assert torch.allclose(net.part("head")(x).output, own, atol=1e-5)


class Text(Body):
    def forward(self, input_ids=None, pixel_values=None):
        return self.body(pixel_values) + input_ids.shape[0]


class Two(Body):
    def forward(self, x, y):
        return self.body(x + y)


class TwoKeys(Body):
    def forward(self, batch):
        return self.body(batch["image"]) * batch["mask"]


class Series(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv1d(3, 4, 3)

    def forward(self, x):
        return self.body(x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.GRU(40, 8, batch_first=True)

    def forward(self, x):
        return self.body(x)[0]


class Vectors(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(240, 32), nn.Linear(32, 10)

    def forward(self, x):
        return self.last(F.relu(self.first(x)))


class FlatVectors(Vectors):
    def forward(self, x):
        batch, count = x.shape
        return super().forward(x.reshape(batch, count))


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts, self.scale = {"a": nn.Conv2d(3, 4, 3)}, nn.Parameter(torch.ones(1))

    def forward(self, x):
        with torch.no_grad():
            return {"result": self.parts["a"](x) * self.scale}


class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return ["a result"] * len(x)


REFUSED = [
    (Text, r"takes text \(input_ids\) beside pictures \(pixel_values\).* sees pictures \(.body\)"),
    (Two, r"several inputs are not supported \(Two.forward takes x, y\): wrap it"),
    (TwoKeys, "a dictionary of several inputs .image, mask.: wrap it"),
    (lambda: nn.Sequential(nn.Conv3d(1, 4, 3)), "takes volumes or films.*three-dimensional"),
    (Series, "takes sequences.*one-dimensional"),
    (Recurrent, "takes sequences of 40 numbers .its first layer is a GRU"),
    (Vectors, r"takes vectors of 240 numbers.*put nn.Flatten\(\) in front"),
    (FlatVectors, "takes vectors of 240 numbers"),
    (lambda: nn.Linear(7, 3), "takes vectors of 7 numbers"),
    (Hidden, r"no layer of it can be captured: it keeps modules where torch does not see them \(parts"),
    (Wrapper, "no layer of it can be captured: its forward pass calls none of its parts.*inside: .model"),
]


@pytest.mark.parametrize(
    ("make", "reason"), REFUSED, ids=lambda v: getattr(v, "__name__", "") if callable(v) else ""
)
def test_refused_for_the_true_reason(make, reason):
    """When opened, with what to do; never a table with one row."""
    with pytest.raises(NetworkError, match=reason):
        open_network(make().eval())


def test_products_alone():
    """A network of products behind a Flatten is one of pictures: of one channel where three do not divide."""
    net = open_network(nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10)))
    assert (net.input.channels, net.input.size) == (1, 28)
    assert visualize(net, "3:1", steps=2, progress=False).image.shape == (28, 28, 1)


# --- sizes --------------------------------------------------------------------------------------------------


class OneSize(Body):
    def __init__(self, height: int, width: int, channels: int = 3):
        super().__init__(channels, units=4 * (height // 2) * (width // 2))

    def forward(self, x):
        return self.head(F.max_pool2d(self.body(x), 2).flatten(1))


@pytest.mark.parametrize("size", [(64, 128), (24, 94), (32, 100), (66, 200), (40, 88), 84, 30])
def test_a_size_found_by_trying(size, caplog):
    """One that runs is found where the network takes one alone, square or not; not square, it is said to be a guess."""
    height, width = (size, size) if isinstance(size, int) else size
    net = open_network(OneSize(height, width), range=(0, 1))
    found = net.input.size
    own = found if isinstance(found, tuple) else (found, found)
    assert (own[0] // 2) * (own[1] // 2) == (height // 2) * (width // 2)
    assert net.input.fixed
    assert net.guessed == (() if isinstance(size, int) else ("size",))
    if size in ((64, 128), (24, 94), (66, 200), 84):
        assert found == size
    assert visualize(net, "head:1", steps=1, progress=False).image.shape == (*own, 3)


class Positions(nn.Module):
    """A transformer that cuts its embedding of positions to as many patches as there are."""

    def __init__(self, side: int, front: int = 0):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 16, 16)
        self.pos_embed = nn.Parameter(torch.randn(1, (side // 16) ** 2, 8))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(tokens + self.pos_embed[:, : tokens.shape[1]]).mean(1))


@pytest.mark.parametrize("side", [48, 96, 224, 384])
def test_the_size_that_positions_were_made_for(side):
    """The largest that runs, not the smallest or the first."""
    net = open_network(Positions(side), range=(0, 1))
    assert net.input.size == side
    assert not net.guessed


# --- what a network does to its pixels itself -----------------------------------------------------------------


class Scales(Body):
    def __init__(self, mean, std, *, before=1.0):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.before = before

    def forward(self, x):
        return self.body((x / self.before - self.mean) / self.std)


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("model", "low", "high"),
    [
        (lambda: Scales(*IMAGENET), 0, 1),
        (lambda: Scales(*IMAGENET, before=255.0), 0, 255),
        (lambda: Scales([0.0] * 3, [1.0] * 3, before=255.0), 0, 255),
        (lambda: Scales([127.5] * 3, [127.5] * 3), 0, 255),
        (lambda: Scales([0.5] * 3, [0.5] * 3), 0, 1),
        (lambda: Scales([-1.0] * 3, [2.0] * 3), -1, 1),
    ],
)
def test_a_range_told_by_the_network_itself(model, low, high):
    """What its first convolution is fed tells the values that it is fed with: nothing is guessed, or done twice."""
    spec = open_network(model(), size=16).input
    assert (spec.low, spec.high) == (low, high)
    assert not any(spec.mean)
    assert not open_network(model(), size=16).guessed


class Caffe(Body):
    """Takes a mean from pixel values, as Caffe's networks do, of channels as they come or of swapped ones."""

    def __init__(self, mean, *, swaps=False, times=1.0):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.swaps, self.times = swaps, times

    def forward(self, x):
        x = x * self.times
        return self.body((x.flip(1) if self.swaps else x) - self.mean)


BLUE_FIRST = [103.939, 116.779, 123.68]


@pytest.mark.parametrize(
    ("model", "high", "bgr"),
    [
        (lambda: Caffe(BLUE_FIRST), 255, True),
        (lambda: Caffe(BLUE_FIRST, swaps=True), 255, False),
        (lambda: Caffe(BLUE_FIRST[::-1]), 255, False),
        (lambda: Caffe(BLUE_FIRST, times=255.0), 1, True),
        (lambda: Caffe([128.0] * 3), 255, False),
    ],
)
def test_a_mean_in_pixel_values(model, high, bgr):
    """It says the range, and where it is blue's mean that the first channel loses, that the network takes BGR."""
    net = open_network(model(), size=16)
    spec = net.input
    assert (spec.low, spec.high, spec.bgr, any(spec.mean)) == (0, high, bgr, False)
    assert not net.guessed


def test_a_plain_network_does_not_tell():
    """Fed its pictures as they are, it says nothing of their range; what a person says holds."""
    assert open_network(Scales([0.0] * 3, [1.0] * 3), size=16).guessed == ("range",)
    spec = open_network(Scales(*IMAGENET), size=16, range=(0, 255), mean=1).input
    assert (spec.high, spec.mean) == (255, (1, 1, 1))


class Resizes(Scales):
    """As torchvision's detection networks: scaled, resized, padded to a multiple of 32, from a list."""

    def forward(self, images):
        pictures = [(image - self.mean) / self.std for image in images]
        larger = [F.interpolate(p[None], scale_factor=1.5)[0] for p in pictures]
        padded = [F.pad(p, (0, -p.shape[2] % 32, 0, -p.shape[1] % 32)) for p in larger]
        return [{"maps": self.body(torch.stack(padded))}]


Resizes.__module__ = "torchvision.models.of_a_test"  # whose networks are known to take ImageNet's mean


def test_normalised_once():
    """A library's mean and deviation are left out where the network takes them off itself."""
    spec = open_network(Resizes(*IMAGENET).eval(), size=32).input
    assert (spec.low, spec.high) == (0, 1)
    assert not any(spec.mean)
    assert set(spec.std) == {1}


# --- outputs --------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: tuple | None = None
    loss: torch.Tensor | None = None


Pair = namedtuple("Pair", "maps score")


class Gives(Body):
    """A network that gives its numbers in some box."""

    def __init__(self, box):
        super().__init__(units=4)
        self.box = box

    def forward(self, x):
        maps = F.relu(self.body(x))
        return self.box(maps, self.head(maps.mean((2, 3))))


class GivesUntraced(Gives):
    def forward(self, x):
        if float(x.detach().sum()) > 1e30:
            x = x * 0
        return super().forward(x)


BOXES = {
    "dictionary": (lambda m, s: {"logits": s, "aux": [m]}, ["output.logits", "output.aux[0]"]),
    "ordered": (lambda m, s: OrderedDict(out=m), ["output.out"]),
    "dataclass": (lambda m, s: Output(s, (m, None)), ["output.logits", "output.hidden[0]"]),
    "named tuple": (lambda m, s: Pair(m, s), ["output.maps", "output.score"]),
    "nested": (lambda m, s: [(m, {"deep": {"score": s}})], ["output[0][0]", "output[0][1].deep.score"]),
}


@pytest.mark.parametrize("kind", [Gives, GivesUntraced])
@pytest.mark.parametrize("box", BOXES)
def test_what_is_in_an_output(box, kind):
    """Each tensor of an output is a layer, by its place; its numbers are the network's own."""
    make, names = BOXES[box]
    model = kind(make).eval()
    net = open_network(model, size=16)
    assert isinstance(net, UntracedNetwork) == (kind is GivesUntraced)
    assert [n for n in net.layers if n.startswith("output")] == names
    x = torch.rand(2, 3, 16, 16)
    maps = F.relu(model.body(x))
    for name in names:
        found = net.part(name)(x).output
        assert torch.allclose(found, maps if found.ndim == 4 else model.head(maps.mean((2, 3))), atol=1e-5)
    assert visualize(net, f"{names[0]}:1", steps=1, size=16, progress=False).status


def test_an_output_without_tensors():
    """A distribution: the layers before it can be drawn, at the size that is found by trying, and what it holds."""

    class Policy(Body):
        def __init__(self):
            super().__init__(4, units=4 * 84 * 84)

        def forward(self, x):
            return torch.distributions.Categorical(logits=self.head(self.body(x).flatten(1)))

    net = open_network(Policy().eval())
    assert net.input.size == 84
    assert {"body", "head", "output.logits"} <= set(net.layers)
    assert visualize(net, "body:1", steps=1, progress=False).status


COLONS = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({"a": nn.Conv2d(3, 4, 3), "a:b": nn.Conv2d(4, 4, 3)})

    def forward(self, x):
        return self.parts["a:b"](self.parts["a"](x))
"""


def test_names_with_colons(tmp_path, monkeypatch, capsys):
    """Drawn by the command line, listed, drawn again from the file, and as a whole layer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(COLONS)
    texts = ("parts.a:b:1", r"parts.a\:b:1", "parts.a:b:0-1", "layer(parts.a:b)", "parts.a:b:1 + parts.a:2")
    for i, text in enumerate(texts):
        assert main(["show", "net.py:Net", text, "--steps", "1", "--size", "16", "--out", f"out{i}"]) == 0
    assert main(["show", "net.py:Net", "parts.a:b:1", "--steps", "1", "--size", "16", "--out", "one"]) == 0
    (file,) = (tmp_path / "one").glob("parts*.png")
    assert draw_again(file, net="net.py:Net").largest_difference == 0
    assert main(["kernels", "net.py:Net", "parts.a:b:1"]) == 0
    assert main(["show", "net.py:Net", "parts.a:c:1"]) == 2
    assert "did you mean 'parts.a" in capsys.readouterr().err


# --- what may help where nothing goes through -----------------------------------------------------------------


class Fails(Body):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return self.how(self.body(x), x)


def _checks(y, x):
    assert x.shape[-1] == 1000, "the picture's width must be 1000"
    return y


@pytest.mark.parametrize(
    ("how", "advice"),
    [
        (lambda y, x: y @ torch.zeros(997, 9, device=y.device), "size="),
        (_checks, "size="),
        (lambda y, x: {}["missing"], None),
        (lambda y, x: y.missing, None),
        (lambda y, x: y.mean((2, 3)) @ torch.zeros(7, 9, device=y.device), None),
    ],
)
def test_advice_where_it_can_help(how, advice):
    """Options are named where they may make pictures go through, and nowhere else."""
    with pytest.raises(NetworkError) as raised:
        open_network(Fails(how))
    said = str(raised.value)
    assert (
        said.endswith(f"(say which ones do with open_network({advice}))")
        if advice
        else "open_network" not in said
    )
