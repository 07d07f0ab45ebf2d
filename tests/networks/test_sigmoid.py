"""A sigmoid at the end of a network is climbed by what goes into it, as a softmax is; within one it is an activation."""

import keras
import pytest
import torch
import torch.nn.functional as F
from keras import layers
from torch import nn

import filterscope as fs
from filterscope.ascent.objectives import LEAST_PROBABILITY, activation, objective
from filterscope.measure.classify import class_layer
from filterscope.networks import open_network
from filterscope.networks.layer import Taps
from filterscope.target import Target

HOW = {"steps": 8, "size": 16, "progress": False, "precision": "float32"}


class Gate(nn.Module):
    """Squeeze and excitation: a sigmoid within the network."""

    def __init__(self):
        super().__init__()
        self.squeeze, self.gate = nn.Linear(4, 4), nn.Sigmoid()

    def forward(self, x):
        return x * self.gate(self.squeeze(x.mean((2, 3))))[:, :, None, None]


class Net(nn.Module):
    """Convolutions, a gate and a head; `end` is what is done to the head's values."""

    def __init__(self, end, units: int = 3, *, asks: bool = False, maps: bool = False):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(3, 4, 3, padding=1), Gate()
        self.head = nn.Conv2d(4, units, 1) if maps else nn.Linear(4, units)
        if isinstance(end, nn.Module):
            self.end = end
        self.how, self.asks, self.maps = end, asks, maps

    def forward(self, x):
        x = self.gate(self.conv(x).relu())
        if self.asks and x.sum() > 1e30:  # no graph holds this
            return x
        x = self.head(x if self.maps else x.mean((2, 3)))
        return self.end(x) if isinstance(self.how, nn.Module) else self.how(x)


ENDS = {
    "module": (nn.Sigmoid(), ["head", "end"]),
    "torch.sigmoid": (torch.sigmoid, ["head", "output"]),
    "F.sigmoid": (F.sigmoid, ["head", "output"]),
    "method": (lambda x: x.sigmoid(), ["head", "output"]),
    "in place": (lambda x: x.sigmoid_(), ["head"]),
    "behind a module": (nn.Sequential(nn.Dropout(), nn.Sigmoid()), ["head", "end", "end.1"]),
    "before a reshape": (lambda x: {"scores": torch.sigmoid(x)}, ["head"]),
}


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


def checked(net, name: str, picture: torch.Tensor, expected: torch.Tensor) -> None:
    """A layer says what goes into the sigmoid, and with its probabilities what comes out of it."""
    row = net.layer(name)
    assert row.sigmoid
    taps = net.part(name, softmax=True).eval()(picture)
    assert torch.allclose(taps.softmax, expected, atol=1e-5)
    assert torch.allclose(taps.output.sigmoid(), expected, atol=1e-5)
    assert not torch.allclose(taps.output, expected, atol=1e-2)
    assert taps.sigmoid


@pytest.mark.parametrize("asks", [False, True], ids=["traced", "untraced"])
@pytest.mark.parametrize("maps", [False, True], ids=["classes", "maps"])
@pytest.mark.parametrize("end", ENDS)
def test_torch(end, maps, asks):
    """However the sigmoid is written, traced and not, of classes and of maps."""
    how, names = ENDS[end]
    module = seeded(lambda: Net(how, asks=asks, maps=maps))
    net = open_network(module, size=16)
    picture = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        out = module(picture)
        expected = out["scores"] if isinstance(out, dict) else out
    for name in names:
        checked(net, name, picture, expected)
    gates = [row for name, row in net.layers.items() if name.startswith("gate")]
    assert gates
    assert not any(row.sigmoid or row.softmax for row in gates)


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.Identity(), nn.Tanh(), nn.LogSigmoid(), nn.Hardsigmoid()])
def test_other_ends(end):
    """They are what they were."""
    assert not any(row.sigmoid for row in open_network(seeded(lambda: Net(end)), size=16).layers.values())


@pytest.mark.parametrize("recipe", ["sharp", "naive"])
def test_one_unit(recipe):
    """A network that says yes or no: its picture, with its probability, from where the sigmoid is flat."""

    def make():
        net = Net(nn.Sigmoid(), 1)
        with torch.no_grad():
            net.head.weight.mul_(300)
            net.head.bias.fill_(-60)
        return net

    module = seeded(make)
    picture = fs.visualize(open_network(module, size=16, channels=3), "end:0", recipe=recipe, **HOW)
    assert picture.status == "ok"
    assert picture.scores.activation > picture.scores.start
    assert 0 <= picture.scores.probability <= 1
    assert picture.scores.probability == pytest.approx(
        torch.tensor(picture.scores.activation).sigmoid().item(), abs=1e-6
    )


def test_maps_have_no_probability():
    """A map's mean is no class's probability; its pictures are drawn by either recipe."""
    net = open_network(seeded(lambda: Net(nn.Sigmoid(), maps=True)), size=16)
    for recipe in ("sharp", "naive"):
        for text in ("end:1", "end:1@2,3"):
            assert fs.visualize(net, text, recipe=recipe, **HOW).scores.probability is None
    with pytest.raises(fs.ArgumentError, match="ends in no softmax or sigmoid"):
        class_layer(net)


def test_classes():
    """Classes by their names, and what the network says of a photograph."""
    net = open_network(seeded(lambda: Net(nn.Sigmoid())), size=16, classes=["cat", "dog", "bird"])
    assert class_layer(net) in ("head", "end")
    assert net.targets("end:dog") == [Target("end", 1)]
    located = fs.locate(net, torch.randint(0, 255, (16, 16, 3), dtype=torch.uint8).numpy(), "end:dog")
    assert located.probability == pytest.approx(torch.tensor(located.activation).sigmoid().item(), abs=1e-6)


def test_objective():
    """The value before the sigmoid; with the softmax kept its probability, or where that is not seen its logarithm."""
    logits = torch.tensor([[0.5, -3.0], [2.0, -40.0]])
    taps = {"end": Taps(logits, logits, logits.sigmoid(), sigmoid=True)}
    goals = [Target("end", 0), Target("end", 1)]
    assert activation(taps, goals).tolist() == [0.5, -40.0]
    assert objective(taps, goals).tolist() == [0.5, -40.0]
    kept = objective(taps, goals, keep_softmax=True)
    assert kept[0] == pytest.approx(torch.tensor(0.5).sigmoid().item())
    assert torch.tensor(-40.0).sigmoid() < LEAST_PROBABILITY
    assert kept[1] == pytest.approx(-40.0)


def keras_gate(x):
    inner = layers.Dense(4, activation="sigmoid", name="squeeze")(layers.GlobalAveragePooling2D()(x))
    return layers.Multiply()([x, layers.Reshape((1, 1, 4))(inner)])


def keras_model(end) -> keras.Model:
    keras.utils.set_random_seed(0)
    picture = keras.Input((16, 16, 3))
    x = keras_gate(layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(picture))
    return keras.Model(picture, end(x))


KERAS = {
    "dense": (lambda x: layers.Dense(3, "sigmoid", name="end")(layers.Flatten()(x)), ["end"]),
    "one unit": (lambda x: layers.Dense(1, "sigmoid", name="end")(layers.GlobalMaxPooling2D()(x)), ["end"]),
    "activation": (
        lambda x: layers.Activation("sigmoid", name="end")(layers.Dense(3, name="head")(layers.Flatten()(x))),
        ["end", "head"],
    ),
    "map": (lambda x: layers.Conv2D(2, 1, activation="sigmoid", name="end")(x), ["end"]),
    "inner": (
        lambda x: keras.Sequential([layers.Flatten(), layers.Dense(3, "sigmoid", name="end")], name="top")(x),
        ["top", "top/end"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("end", KERAS)
def test_keras(end):
    """The same of Keras' layers and activations, and of a model in a model."""
    make, names = KERAS[end]
    model = keras_model(make)
    net = open_network(model)
    picture = torch.rand(2, 3, 16, 16)
    expected = torch.as_tensor(model(picture.permute(0, 2, 3, 1))).detach()
    expected = expected.permute(0, 3, 1, 2) if expected.ndim == 4 else expected
    for name in names:
        checked(net, name, picture, expected)
    assert not net.layer("squeeze").sigmoid
    assert net.layer("squeeze").softmax is None
    assert fs.visualize(net, f"{names[0]}:0", recipe="naive", **HOW).status in ("ok", "no-gain")
