"""factorization/: crops cover a picture, the factorization finds planted directions, importance is of the concept that a
class depends on; the command's files are read by `concept(...)` and `atlas --concepts`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

import filterscope as fs
from filterscope.cli import main
from filterscope.errors import ArgumentError, ImageError, TargetError
from filterscope.factorization.crops import crop_boxes
from filterscope.factorization.factors import factorize, require_positive
from filterscope.factorization.importance import sobol_design, total_indices
from filterscope.factorization.tail import Tail

QUICK = {"steps": 1, "size": 16, "precision": "float32", "progress": False}
COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


class Toy(nn.Module):
    """Three channels, each of one colour, and three classes, each of one channel; a class token beside them if asked for."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 4, stride=4, bias=False)
        self.act = nn.ReLU()
        self.head = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.conv.weight[:] = (2 * torch.eye(3) - 1).reshape(3, 3, 1, 1) / 16
            self.head.weight[:] = torch.eye(3)

    def forward(self, x):
        return self.head(self.act(self.conv(x)).mean((2, 3))).softmax(1)


@pytest.fixture(scope="module")
def toy():
    return fs.open_network(Toy().eval(), size=16, classes=[*COLOURS])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three pictures of each colour, in folders of the colours' names."""
    place = tmp_path_factory.mktemp("photos")
    for name, colour in COLOURS.items():
        (place / name).mkdir()
        for i in range(3):
            Image.new("RGB", (20, 16), tuple(min(255, c + 5 * i) for c in colour)).save(
                place / name / f"{i}.png"
            )
    return place


def test_crops_cover_the_picture():
    """Each pixel is in one, all are square, neighbours overlap by a fifth or more."""
    boxes = crop_boxes(100, 60, 0.5)
    seen = np.zeros((60, 100), int)
    for left, top, right, bottom in boxes:
        assert (right - left, bottom - top) == (30, 30)
        seen[top:bottom, left:right] += 1
    assert seen.min() == 1
    assert crop_boxes(8, 8, 1.0) == [(0, 0, 8, 8)]


def test_planted_directions_are_found():
    """Sums of two directions are taken apart into these, the larger share first; further rows get the same weights."""
    rng = np.random.default_rng(0)
    planted = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], np.float32) / np.sqrt(2)
    weights = rng.random((60, 2)).astype(np.float32) * [[4, 1]] * (rng.random((60, 2)) < 0.6)
    found = factorize((weights @ planted).astype(np.float32), 2)
    np.testing.assert_allclose(found.directions, planted, atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1, rtol=1e-5)
    assert found.explained > 0.99
    assert found.share[0] > found.share[1]
    np.testing.assert_allclose(found.weights_of((weights @ planted).astype(np.float32)), weights, atol=0.2)
    with pytest.raises(ArgumentError, match=r"count is from 1 to 4, for 60 crops of 4 channels .got 5."):
        factorize((weights @ planted).astype(np.float32), 5)
    with pytest.raises(ArgumentError, match="nothing in the images excites the layer"):
        factorize(np.zeros((9, 4), np.float32), 2)


def test_values_below_0():
    """A little counts as 0, more is refused in words."""
    assert require_positive(0.5, 100, "act") == 0.005
    with pytest.raises(ArgumentError, match=r"30% of the values of conv .by size. are below 0"):
        require_positive(30, 100, "conv")


def test_total_indices_of_a_sum():
    """Of 3 a + b: nine tenths and one, nothing of a third number."""
    design = sobol_design(3, 4000)
    values = design @ [3, 1, 0]
    np.testing.assert_allclose(total_indices(values, 3), [0.9, 0.1, 0], atol=0.03)
    assert total_indices(np.ones(16), 3).tolist() == [0, 0, 0]


def test_the_tail_is_the_network(toy):
    """With a layer's own maps it gives the network's own values; with others those that follow from them."""
    tail = Tail(toy, "act", "head")
    pixels = toy.input.preprocess(torch.rand(1, 3, 16, 16) * 255)
    kept, maps = tail.run(pixels)
    (own,) = toy.probe(["head"])(pixels)
    torch.testing.assert_close(tail.values(kept, maps), own)
    many = torch.rand(5, 3, 4, 4)
    torch.testing.assert_close(tail.values(kept, many), many.mean((2, 3)))
    with pytest.raises(ArgumentError, match="does not follow from head step by step"):
        Tail(toy, "head", "act")


class Tokens(nn.Module):
    """Patches as tokens behind a class token, which is what is classified after they were mixed."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 4, 8, stride=8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 4))
        self.block = nn.Linear(4, 4)
        self.mix = nn.Linear(5, 5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], 1)
        tokens = self.mix(self.block(tokens).transpose(1, 2)).transpose(1, 2)
        return self.head(tokens[:, 0]).softmax(1)


def test_the_tail_of_tokens():
    """A view of tokens is put back among them, the class token stays, and gradients go through."""
    torch.manual_seed(0)
    net = fs.open_network(Tokens().eval(), size=16)
    tail = Tail(net, "block", "head")
    pixels = net.input.preprocess(torch.rand(1, 3, 16, 16) * 255)
    kept, maps = tail.run(pixels)
    assert maps.shape == (1, 4, 2, 2)
    (own,) = net.probe(["head"])(pixels)
    leaf = torch.cat([maps, 2 * maps]).requires_grad_()
    values = tail.values(kept, leaf)
    torch.testing.assert_close(values[:1], own)
    assert not torch.allclose(values[1], values[0])
    (gradient,) = torch.autograd.grad(values[:, 1].sum(), leaf)
    moved = tail.values(kept, leaf + 1e-2 * gradient)[:, 1].sum() - values[:, 1].sum()
    assert float(moved.detach()) == pytest.approx(1e-2 * float(gradient.square().sum()), rel=1e-2)


@pytest.mark.parametrize("how", ["sobol", "gradient"])
def test_importance(toy, photos, how):
    """The class of a colour depends on the concept of that colour."""
    found = fs.find_concepts(toy, "act", photos, count=3, importance=how, **QUICK)
    assert sorted(found.names) == sorted(COLOURS)
    for colour, values in found.importance.items():
        assert found.names[int(np.argmax(values))] == colour
    assert len(found.pictures) == 3
    assert found.to_pil().width > 0


def test_the_command(photos, tmp_path, monkeypatch, capsys):
    """Its file is read by a target and by an atlas; the page and the report show each concept's crops."""
    monkeypatch.chdir(tmp_path)
    words = ["--steps", "1", "--size", "16", "--precision", "float32", "--quiet"]
    asked = ["concepts", "tiny-vgg16", "block1_conv1", "--images", str(photos), "--count", "3", *words]
    assert main([*asked, "--importance", "none", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["concept"] for row in rows] == [0, 1, 2]
    assert all(0 < len(row["examples"]) <= 9 for row in rows)
    file = tmp_path / "out" / "block1_conv1.concepts.safetensors"
    with safe_open(file, framework="np") as opened:
        assert opened.get_tensor("concepts").shape == (3, 32)
        told = json.loads(opened.metadata()["filterscope.concepts"])
    assert told["layer"] == "block1_conv1"
    assert told["names"] == [row["name"] for row in rows]
    page = (tmp_path / "out" / "block1_conv1.concepts.html").read_text()
    assert rows[0]["file"] in page
    assert (tmp_path / "out" / "concepts.png").is_file()
    assert (
        main(["show", "tiny-vgg16", f"concept(*, {file.relative_to(tmp_path)}, 1)", *words, "--out", "b"])
        == 0
    )
    drawn = tmp_path / "b" / rows[1]["file"]
    assert (
        np.abs(
            np.asarray(Image.open(drawn)).astype(int) - np.asarray(Image.open(tmp_path / "out" / drawn.name))
        ).max()
        <= 1
    )
    assert main(["rerun", str(tmp_path / "out" / drawn.name), "--quiet"]) == 0


def test_refused(toy, photos, tmp_path):
    """Layers below 0, several layers, counts and shares that cannot be, no pictures."""
    with pytest.raises(ArgumentError, match=r"of the values of conv .by size. are below 0"):
        fs.find_concepts(toy, "conv", photos, count=2, **QUICK)
    with pytest.raises(TargetError, match="no layer 'actt'; did you mean 'act'"):
        fs.find_concepts(toy, "actt", photos, **QUICK)
    for wrong in ({"count": 0}, {"crop": 2.0}, {"importance": "lime"}):
        with pytest.raises(ArgumentError, match=f"{next(iter(wrong))} is"):
            fs.find_concepts(toy, "act", photos, **wrong, **QUICK)
    with pytest.raises(ImageError, match="holds no pictures"):
        fs.find_concepts(toy, "act", tmp_path, **QUICK)


def test_a_network_without_classes(photos):
    """Concepts all the same; why there is no importance is said."""
    net = fs.open_network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), size=16)
    found = fs.find_concepts(net, "1", photos, count=2, **QUICK)
    assert found.importance == {}
    assert "has no classes" in found.found.why_not
