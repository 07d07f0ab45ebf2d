"""Words for units: soft-WPMI by its formula, a stand-in encoder, the CSV files, and what is refused in words."""

from __future__ import annotations

import builtins
import csv

import numpy as np
import pytest
import torch
from PIL import Image

import filterscope as fs
from filterscope.errors import ArgumentError, TargetError, WorkError
from filterscope.measure.dissect import soft_wpmi
from filterscope.measure.encoders import encode_images, encode_words, open_encoder
from filterscope.measure.labels import (
    COLUMNS,
    Label,
    format_labels,
    parse_labels,
    read_labels,
    read_vocabulary,
)
from filterscope.networks import open_network

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Colours:
    """An encoder that knows three colours: an image's mean, and a word's colour."""

    def encode_image(self, images):
        return torch.tensor(np.array([np.asarray(image).mean((0, 1)) / 255 for image in images]))

    def encode_text(self, texts):
        return np.array([COLOURS.get(text, (90, 90, 90)) for text in texts]) / 255


class OtherSizes(Colours):
    def encode_text(self, texts):
        return [[1.0, 0.0] for _ in texts]


class Fails(Colours):
    def encode_image(self, images):
        raise ZeroDivisionError("no image")


@pytest.fixture(scope="module")
def channels():
    """A network whose three units are the means of red, green and blue."""
    conv = torch.nn.Conv2d(3, 3, 1, bias=False)
    conv.weight.data = torch.eye(3)[:, :, None, None]
    return open_network(torch.nn.Sequential(conv), size=16, mean=0, std=1, range=(0, 1))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Thirty pictures, each of nearly one colour."""
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for i in range(30):
        values = np.array([*COLOURS.values()][i % 3]) * rng.uniform(0.7, 1) + rng.uniform(0, 30, (16, 16, 3))
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def test_soft_wpmi():
    """Term by term, as the paper's code has it: four units, three words, twelve images, of which five are a unit's."""
    rng = np.random.default_rng(0)
    activations, cosines = rng.normal(size=(12, 4)), rng.uniform(-1, 1, (12, 3))
    shares = np.exp(10 * cosines) / np.exp(10 * cosines).sum(1, keepdims=True)
    fits = np.zeros((4, 3))
    for unit in range(4):
        for rank, image in enumerate(np.argsort(-activations[:, unit])[:5]):
            fits[unit] += np.log(1 + (0.998 - rank / 5 * 0.028) * (shares[image] - 1) + 1e-7)
    usual = np.log(np.exp(fits).mean(0))
    np.testing.assert_allclose(soft_wpmi(activations, cosines), fits - usual, atol=1e-9)


def test_label_units(channels, pictures, tmp_path):
    """Each unit gets its colour's name; the rows are those of the file, which an atlas reads."""
    words = ["grey", "blue", "green", "red"]
    found = fs.label_units(
        channels, "0", pictures, words, Colours(), out=tmp_path / "labels.csv", progress=False
    )
    assert [(row["unit"], row["description"]) for row in found] == [(0, "red"), (1, "green"), (2, "blue")]
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["layer", "unit", "description", "similarity"]
    assert [row["description"] for row in rows] == ["red", "green", "blue"]
    assert float(rows[0]["similarity"]) == pytest.approx(found[0]["similarity"])
    assert len(read_labels(tmp_path / "labels.csv", channels)) == 3
    (one,) = fs.label_units(channels, "0:1", pictures, words, Colours(), progress=False)
    assert one == found[1]


def test_encoders_of_ones_own(pictures):
    """With `preprocess` and `tokenizer` they get tensors and tokens, as open_clip's models do; by a file's factory too."""

    class Model:
        preprocess = staticmethod(lambda image: torch.full((3, 2, 2), float(image.width)))
        tokenizer = staticmethod(lambda texts: torch.tensor([[len(text)] for text in texts]))
        encode_image = staticmethod(lambda tensors: tensors.mean((2, 3)))
        encode_text = staticmethod(lambda tokens: tokens.float().repeat(1, 3))

    encoder = open_encoder(Model())
    assert encode_images(encoder, [Image.new("L", (5, 5))] * 2).shape == (2, 3)
    np.testing.assert_allclose(encode_words(encoder, ["ab"]), [[3**-0.5] * 3], rtol=1e-6)
    own = pictures / "own.py"
    own.write_text(
        "class Own:\n    encode_image = encode_text = staticmethod(lambda given: [[1.0]] * len(given))\n"
    )
    assert encode_words(open_encoder(f"{own}:Own"), ["a", "b"]).tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("encoder", "error", "said"),
    [
        (OtherSizes(), ArgumentError, "images 3 features and texts 2"),
        (object(), ArgumentError, "a object has no encode_image and no encode_text"),
        (Colours, ArgumentError, "it is a class"),
        (Fails(), WorkError, "encode_image failed: ZeroDivisionError: no image"),
    ],
)
def test_encoders_that_cannot_be(channels, pictures, tmp_path, encoder, error, said):
    """Refused in words, before the long work, and nothing is written."""
    with pytest.raises(error, match=said):
        fs.label_units(channels, "0", pictures, ["red"], encoder, out=tmp_path / "x.csv", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_open_clip_without_its_extra(monkeypatch):
    """The extra is named."""
    real = builtins.__import__

    def without(name, *args, **kw):
        if name == "open_clip":
            raise ImportError(name)
        return real(name, *args, **kw)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ArgumentError, match=r"needs open_clip: pip install 'filterscope\[clip\]'"):
        open_encoder("ViT-B-32:openai")


@pytest.mark.parametrize("words", [[], ["", "  "], "EMPTY"])
def test_empty_vocabulary(channels, pictures, tmp_path, words):
    """A list or a file without words."""
    (tmp_path / "EMPTY").write_text("\n \n")
    with pytest.raises(ArgumentError, match=r"the vocabulary.* is empty"):
        fs.label_units(channels, "0", pictures, tmp_path / words if words == "EMPTY" else words, Colours())
    with pytest.raises(ArgumentError, match="cannot be read as a vocabulary: No such file"):
        read_vocabulary(tmp_path / "gone.txt")


def test_a_file_survives():
    """What is written is what is read, commas, quotes and all."""
    labels = [Label("a,b", 0, 'a "zebra", striped', 0.25), Label("c", 7, "x", None)]
    assert [label for _, label in parse_labels(format_labels(labels), "it")] == labels


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("layer,unit,description\n0,1,x\n", ArgumentError, "no column 'similarity' .it has: layer, unit, desc"),
        ("", ArgumentError, "no column 'layer', 'unit', 'description', 'similarity' .it has: none."),
        ("layer,unit,description,similarity\n", ArgumentError, "holds no labels"),
        ("layer,unit,description,similarity\n0,one,x,1\n", ArgumentError, "line 2: unit is a whole number from 0 .got 'one"),
        ("layer,unit,description,similarity\n0,1,x,much\n", ArgumentError, "line 2: similarity is a number .got 'much'."),
        ("layer,unit,description,similarity\n0,1,,1\n", ArgumentError, "line 2: description is empty"),
        ("layer,unit,description,similarity\n0,0,x,1\nblock1,1,x,1\n", TargetError, "line 3: .*has no layer 'block1'"),
        ("layer,unit,description,similarity\n0,3,x,1\n", TargetError, "has units 0 to 2 .got 3; the nearest is 2."),
        (b"\xff\xfe\x00", ArgumentError, "no text in UTF-8"),
    ],
)  # fmt: skip
def test_files_that_are_refused(channels, tmp_path, text, error, said):
    """With the line, what was found and what is allowed."""
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=said):
        read_labels(path, channels)


def test_layers_nearly_right(tiny, tmp_path):
    """The nearest name is given. Of two labels of a unit the better one counts."""
    path = tmp_path / "labels.csv"
    path.write_text(",".join(COLUMNS) + "\nblock3_conv9,0,stripes,1\n")
    with pytest.raises(TargetError, match="did you mean 'block3_conv"):
        read_labels(path, tiny)
    path.write_text(
        ",".join(COLUMNS) + "\nblock3_conv1,0,dots,1\nblock3_conv1,0,stripes,2\nblock3_conv1,0,x,\n"
    )
    assert read_labels(path, tiny) == [Label("block3_conv1", 0, "stripes", 2.0)]
