"""ensemble.py: several networks as one, each given the picture as it takes it, and what is drawn from them."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import filterscope as fs
from filterscope.cli import main
from filterscope.errors import ArgumentError, ImageError, TargetError
from filterscope.expression import parse
from filterscope.networks import Network, open_network
from filterscope.networks.ensemble import Feed
from filterscope.networks.input_spec import InputSpec
from filterscope.pictures.png import read_metadata
from filterscope.rerun import draw_again
from filterscope.target import Target

QUICK = {"steps": 3, "progress": False, "precision": "float32"}


def network(seed: int, classes: list[str], **told) -> Network:
    """Two convolutions and classes."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, len(classes)),
    )  # fmt: skip
    return open_network(net.eval(), classes=classes, **told)


@pytest.fixture(scope="module")
def pair() -> Network:
    """Networks of other sizes and inputs, whose classes stand in another order."""
    first = network(0, ["cat", "dog", "owl"], size=32, range=(0, 1))
    second = network(
        1, ["owl", "cat"], size=24, mean=127.0, std=64.0, range=(0, 255), show_channels=(2, 1, 0)
    )
    return open_network({"a": first, "b": second})


def test_each_gets_its_own_input(pair):
    """The layers' values are those of each network for the picture at its own size."""
    torch.manual_seed(0)
    pixels = torch.rand(2, 3, 32, 32) * 255
    with torch.no_grad():
        found = pair.parts(["a:2", "b:6"], softmax=True)(pair.input.preprocess(pixels))
        small = F.interpolate(pixels, (24, 24), mode="bilinear", antialias=True)
        for name, layer, own in (("a", "2", pixels), ("b", "6", small)):
            one = pair.members[name]
            wanted = one.part(layer, softmax=True)(one.input.preprocess(own))
            torch.testing.assert_close(found[f"{name}:{layer}"].output, wanted.output, atol=1e-4, rtol=1e-4)
    assert pair.layer("b:2").receptive_field == round(pair.members["b"].layer("2").receptive_field * 32 / 24)
    assert pair.output_shape("b:2", 64) == pair.members["b"].output_shape("2", 48)


def test_one_size_alone():
    """A network that takes one size gets that whatever the picture's size; others theirs in proportion."""
    whole = InputSpec(240, low=-1.0, high=1.0)
    assert Feed(InputSpec(64, fixed=True), whole).sides((100, 90)) == (64, 64)
    assert Feed(InputSpec(224), whole).sides((120, 60)) == (112, 56)


def test_targets(pair):
    """With a network's name a target is of that one, without of each; a class is found in each by its name."""
    both = pair.objectives("a:6:cat + b:6:cat")
    assert pair.objectives("6:cat") == both
    assert str(both[0]) == "a:6:0 + b:6:1"
    assert pair.class_name(both[0]) == "cat"
    assert pair.objectives("b:6:owl") == [Target("b:6", 0)]
    assert [str(goal) for goal in pair.objectives("2:1,3")] == ["a:2:1 + b:2:1", "a:2:3 + b:2:3"]
    assert str(pair.objectives("a:2:1 - 0.5 * layer(2)")[0]) == "a:2:1 - 0.5 * layer(a:2) - 0.5 * layer(b:2)"
    assert str(pair.objectives(Target("2", 1))[0]) == "a:2:1 + b:2:1"
    assert pair.class_name(pair.objectives("a:6:cat + b:6:owl")[0]) is None
    first, _, last = pair.objectives(parse("6:cat -> 6:owl").with_frames(3))
    assert (str(first.first), str(last.second)) == ("a:6:0 + b:6:1", "a:6:2 + b:6:0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6:0", r"6:0 is 'cat' \(a:6:0\) and 'owl' \(b:6:0\): name what is meant of each network"),
        ("6:dog", "6 has no class 'dog'"),
        ("nowhere:1", "has no layer 'nowhere'"),
        ("a:nowhere:1", "has no layer 'a:nowhere'"),
        ("b:2:99", "b:2 has units 0 to 7"),
    ],
)
def test_targets_refused(pair, text, message):
    """What one of the networks does not have, and what is not the same in each."""
    with pytest.raises(TargetError, match=message):
        pair.objectives(text)


def test_drawn_as_one(pair):
    """The picture excites the sum; its scores are of the sum and of each, and it says what each network was."""
    picture = fs.visualize_one(pair, "6:cat", **QUICK | {"steps": 24})
    first, second = picture.scores.terms
    assert (first.target, second.target) == ("a:6:0", "b:6:1")
    assert picture.scores.activation == pytest.approx(first.activation + second.activation, abs=1e-4)
    assert 0 < first.probability < 1
    noise = fs.visualize_one(pair, "6:cat", **QUICK | {"steps": 1})
    assert picture.scores.activation > noise.scores.activation
    assert picture.class_name == picture.label == "cat"
    told = picture.metadata()
    assert [told["networks"][n]["weights_sha256"] for n in "ab"] == [
        m.weights.sha256 for m in pair.members.values()
    ]
    assert told["terms"][1]["probability"] == second.probability


def test_drawn_again(tmp_path):
    """Networks that open by name are opened again from the record, each by its own; model objects are refused."""
    path = fs.visualize_one("tiny-vgg16 + late:tiny-vgg16", "predictions:goldfish", size=32, **QUICK).save(
        tmp_path
    )
    assert read_metadata(path)["network"] == "a:tiny-vgg16 + late:tiny-vgg16"
    again = draw_again(path)
    assert (again.largest_difference, again.same_weights) == (0, True)


def test_objects_are_not_drawn_again(pair, tmp_path):
    """A record alone does not open a model object, in an ensemble either."""
    path = fs.visualize_one(pair, "2:1", **QUICK).save(tmp_path)
    with pytest.raises(ImageError, match="a model object"):
        draw_again(path)


def test_judged(tiny, pair):
    """Another network is asked for the class that all networks mean by its name."""
    judge = open_network({"x": tiny, "y": tiny})
    with pytest.raises(ArgumentError, match="is an ensemble"):
        fs.classify(judge, [])
    jury = network(2, ["owl", "cat", "cow"], size=16, range=(0, 1))
    assert fs.visualize_one(pair, "6:cat", judge=jury, **QUICK).judge.rank in (1, 2, 3)


def test_weights(tiny_file, tmp_path):
    """Each network may have weights of its own, by its name."""
    own = tmp_path / "own.safetensors"
    own.write_bytes(tiny_file.read_bytes())
    net = open_network("a:tiny-vgg16 + b:tiny-vgg16", weights=f"b:{own}")
    assert [one.weights.path for one in net.members.values()] == [tiny_file, own]
    with pytest.raises(ArgumentError, match="say whose weights they are"):
        open_network("a:tiny-vgg16 + b:tiny-vgg16", weights=tiny_file)
    with pytest.raises(ArgumentError, match="there is no network 'c' to have weights"):
        open_network("a:tiny-vgg16 + b:tiny-vgg16", weights=f"c:{tiny_file}")


class Untraced(nn.Module):
    """What a graph cannot hold: it asks for values."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else self.conv(-x)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({}, "two networks or more"),
        ({"b": nn.Conv2d(1, 2, 3)}, "b has 1 channels"),
        ({"b": Untraced()}, "cannot be traced"),
        ({"not a name": "tiny-vgg16"}, "letters, digits and _"),
    ],
)
def test_refused(tiny, others, message):
    """What cannot be drawn as one picture."""
    opened = {
        n: o if isinstance(o, str) else open_network(o, size=32, range=(0, 1)) for n, o in others.items()
    }
    with pytest.raises(ArgumentError, match=message):
        open_network({"a": tiny, **opened})


def test_other_shapes(tiny):
    """A picture has one shape."""
    wide = open_network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), size=(32, 64), range=(0, 1))
    with pytest.raises(ArgumentError, match="take pictures of one shape"):
        open_network({"a": tiny, "b": wide})


def test_command(tmp_path, capsys):
    """`show` takes several networks; an input option has to say which one it is of."""
    net = "a:tiny-vgg16 + b:tiny-vgg16?mean=10"
    wanted = "a:predictions:goldfish + b:predictions:goldfish"
    options = ["--out", str(tmp_path), "--steps", "1", "--json", "--quiet"]
    assert main(["show", net, wanted, *options]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert [term["target"] for term in row["terms"]] == ["a:predictions:0", "b:predictions:0"]
    assert row["terms"][0]["activation"] != row["terms"][1]["activation"]
    assert main(["show", net, wanted, *options, "--mean", "3"]) == 2
    assert "'a:tiny-vgg16?mean=3'" in capsys.readouterr().err
