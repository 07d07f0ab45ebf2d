"""explain: the question, pictures drawn or from an atlas, the page, the sheet, the report, the command."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from tests.explanation.conftest import FromOneToken, opened
from torch import nn

from filterscope import make_atlas
from filterscope.cli import main
from filterscope.errors import ArgumentError, ImageError, TargetError
from filterscope.explanation import explain
from filterscope.measure.examples import find_examples, unit_rows
from filterscope.networks import open_network
from filterscope.pictures.png import read_metadata

QUICK = {"steps": 2, "size": 16, "progress": False, "precision": "float32"}
PLAIN = {"pictures": False, "progress": False}


@pytest.fixture(scope="module")
def found(small, photo):
    """Two layers of the small classifier, with pictures and groups."""
    return explain(small, photo, layers="conv1,conv2", count=2, groups=2, **QUICK)


def test_found(small, photo, found):
    """The class that the network names; the channels' own numbers are those of all channels; pictures of each."""
    image = Image.fromarray(photo[2:18])
    with torch.no_grad():
        logits = small.probe(["predictions"])(
            small.input.preprocess(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float())
        )[0][0]
    assert found.question.target.unit == int(logits.argmax())
    assert found.value == pytest.approx(float(logits.max()), rel=1e-4)
    assert found.seen.classes[0].probability == pytest.approx(float(logits.softmax(0).max()), rel=1e-4)
    for layer in found.layers:
        numbers = layer.attribution.contributions
        for one in layer.channels:
            assert one.contribution == pytest.approx(numbers[one.unit])
            assert (layer.layer, one.unit) in found.shapes
        assert [c.contribution for c in layer.raising] == sorted(
            (c.contribution for c in layer.raising), reverse=True
        )
        assert all(c.contribution < 0 for c in layer.lowering)
        assert layer.raising[0].contribution == pytest.approx(numbers.max())
        assert layer.raising[0].votes[found.names[0]] == pytest.approx(
            layer.raising[0].contribution, rel=1e-5
        )
        assert len(layer.groups) == 2
    assert found.seen.image.size == (16, 16)


def test_saved(found, tmp_path):
    """One page with its pictures, a sheet, a report with a row for each picture; the page loads nothing else."""
    page = found.save(tmp_path)
    text = page.read_text()
    files = re.findall(r'(?:src|href)="([^"#][^":]*)"', text)
    assert files
    assert all((tmp_path / file).is_file() for file in files)
    assert "script-src 'self' file:" in text
    assert text.count('class="evidence') >= sum(len(layer.channels) + 2 for layer in found.layers)
    rows = json.loads((tmp_path / "report.json").read_text())
    (row,) = [row for row in rows if row.get("kind") == "explanation"]
    assert row == found.report(saved=True)
    assert (tmp_path / row["file"]).is_file()
    assert row["page"] == page.name
    assert [len(layer["channels"]) for layer in row["layers"]] == [
        len(layer.channels) for layer in found.layers
    ]
    drawn = [row for row in rows if "explanation" in row]
    assert len(drawn) == len(found.shapes)
    assert all(read_metadata(tmp_path / row["file"])["target"] == row["target"] for row in drawn)
    with Image.open(tmp_path / row["file"]) as sheet:
        assert sheet.size == found.to_pil().size
    names = {path.name for path in tmp_path.rglob("*")}
    assert not [name for name in names if name.endswith(".part")]


def test_shown(found):
    """In a notebook, and as rows for pandas."""
    assert "data:image/png;base64," in found._repr_html_()
    frame = found.table.to_pandas()
    assert {"layer", "unit", "contribution", "share"} <= set(frame.columns)
    assert len(frame) == sum(len(layer.channels) + 2 for layer in found.layers)


def test_against(small, photo):
    """The difference of two logits is explained by the difference of both contributions."""
    both = explain(small, photo, "predictions:1", against="predictions:3", layers="conv2", **PLAIN)
    one = explain(small, photo, "predictions:1", layers="conv2", **PLAIN)
    two = explain(small, photo, "predictions:3", layers="conv2", **PLAIN)
    wanted = one.layers[0].attribution.contributions - two.layers[0].attribution.contributions
    assert both.layers[0].attribution.contributions == pytest.approx(wanted, abs=1e-4)
    assert both.value == pytest.approx(one.value - two.value, abs=1e-4)
    assert both.title == "class 1 rather than class 3"
    assert both.shapes == {}
    for channel in both.layers[0].channels:  # both classes, whatever the network thinks of them, come first
        first, second = list(channel.votes)[:2]
        assert (first, second) == tuple(both.names)
        assert channel.votes[first] - channel.votes[second] == pytest.approx(channel.contribution, abs=1e-4)


def test_other_targets(small, photo):
    """A channel, a direction, a sum; a layer below 0 is said to be."""
    for target in ("conv2:3", "direction(conv2, 0:1 3:-0.5)", "conv2:1 + 0.5 * conv2:2"):
        found = explain(small, photo, target, layers="conv1", **PLAIN)
        assert found.layers[0].attribution.activations.shape[0] == 4
        assert found.seen.probability(found.question.target) is None


def test_a_real_network(tiny, shared):
    """On a photograph the largest contributions are what the class rests on, at each layer; path-integrated too."""
    photograph = shared / "data" / "imagenet-sample" / "n01443537_goldfish.jpg"
    found = explain(tiny, photograph, layers="block4_conv3,block5_conv3", **PLAIN)
    assert found.names == ("goldfish",)
    areas = [layer.check.area for layer in found.layers]
    assert min(areas) > 3
    along = explain(tiny, photograph, layers="block4_conv3", integrate=8, **PLAIN)
    assert along.layers[0].check.area > 3


def test_layers_without_effect_are_passed_over(photo):
    """The patches behind the last mixing have no effect on classes that come from one token."""
    net = opened(FromOneToken)
    layers = [layer.layer for layer in explain(net, photo, **PLAIN).layers]
    assert layers
    assert "last" not in layers
    with pytest.raises(TargetError, match="nothing at last has an effect on head"):
        explain(net, photo, layers="last", **PLAIN)


def test_below_zero(photo):
    """Where a channel is below 0 its picture is of what makes it lower."""

    class Signed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4, 3)
            nn.init.constant_(self.conv.bias, -50.0)
            nn.init.constant_(self.head.weight, -1.0)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)))

    found = explain(
        open_network(Signed().eval(), size=16, range=(0, 1)), photo, layers="conv", count=1, **QUICK
    )
    (one,) = found.layers[0].raising
    assert one.below
    assert str(one.goal).startswith("-1 * conv:")
    assert ("conv", one.unit) in found.shapes


def test_from_an_atlas(small_keras, small, photo, tmp_path):
    """Pictures and examples are the atlas' own; other weights are refused."""
    images = tmp_path / "images"
    images.mkdir()
    for i in range(3):
        Image.new("RGB", (20, 20), (80 * i, 60, 90)).save(images / f"{i}.png")
    make_atlas(small, tmp_path / "atlas", layers=["conv2"], images=images, **{**QUICK, "size": None})
    found = explain(small, photo, atlas=tmp_path / "atlas", **PLAIN)
    assert [layer.layer for layer in found.layers] == ["conv2"]
    for one in found.layers[0].channels:
        shape = found.shapes["conv2", one.unit]
        assert shape.png == next((tmp_path / "atlas").rglob(f"conv2-{one.unit:04d}.png")).read_bytes()
        assert found.examples["conv2", one.unit]
    (tmp_path / "copy.png").write_bytes((images / "1.png").read_bytes())
    images.rename(tmp_path / "elsewhere")
    own = explain(small, tmp_path / "copy.png", atlas=tmp_path / "atlas", **PLAIN)  # no example of itself
    unit = own.layers[0].raising[0].unit
    rest = own.examples["conv2", unit]
    assert (
        len(rest) == len(explain(small, photo, atlas=tmp_path / "atlas", **PLAIN).examples["conv2", unit]) - 1
    )
    with pytest.raises(ArgumentError, match="holds no atlas of tiny-vgg16 with these weights"):
        explain("tiny-vgg16", photo, atlas=tmp_path / "atlas", **PLAIN)


def test_cached_examples(small, photo, tmp_path):
    """Natural images that were looked up and excite the channel are shown, but for the photograph itself under any name;
    none once their folder is gone."""
    for i in range(3):
        Image.new("RGB", (20, 20), (80 * i, 60, 90)).save(tmp_path / f"{i}.png")
    rows = unit_rows(find_examples(small, ["conv2"], tmp_path, shown=False)["conv2"])

    def counts(found, *but: str) -> list[tuple[int, int]]:
        """How many are shown of each channel, and how many there are."""
        units = [one.unit for one in found.layers[0].channels if not one.below]
        shown = [len(found.examples.get(("conv2", unit), ())) for unit in units]
        return list(zip(shown, [len({*rows[unit]["top"]} - {*but}) for unit in units], strict=True))

    found = explain(small, photo, layers="conv2", **PLAIN)
    assert all(shown == there for shown, there in counts(found))
    assert (3, 3) in counts(found)
    assert max(next(iter(found.examples.values()))[0].size) == 112
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "copy.png").write_bytes((tmp_path / "2.png").read_bytes())
    with Image.open(tmp_path / "2.png") as image:
        for own in (tmp_path / "2.png", elsewhere / "copy.png", image):
            numbers = counts(explain(small, own, layers="conv2", **PLAIN), "2.png")
            assert all(shown == there for shown, there in numbers)
            assert (2, 2) in numbers
    for path in tmp_path.glob("*.png"):
        path.unlink()
    assert explain(small, photo, layers="conv2", **PLAIN).examples == {}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {"target": "goldfsh"},
            TargetError,
            "neither a class nor a layer 'goldfsh'; did you mean 'goldfish'",
        ),
        ({"target": "goldfish", "against": "predictions:0"}, TargetError, "goldfish stands against itself"),
        ({"target": "predictions:1,2"}, TargetError, "one target at a time"),
        ({"target": "match(block1_conv1)"}, TargetError, "compares with another photograph"),
        ({"layers": "block9"}, TargetError, "no layer 'block9'"),
        (
            {"target": "block1_conv1:3", "layers": "block2_conv1"},
            TargetError,
            "no gradient leads from block1_conv1",
        ),
        ({"target": "block1_conv1:3"}, ArgumentError, "no layer before block1_conv1:3"),
        ({"count": 0}, ArgumentError, r"count is a whole number from 1 to 1000 \(got 0\)"),
        ({"integrate": 1}, ArgumentError, "integrate is a whole number from 2 to 1024"),
        ({"atlas": "nowhere"}, ArgumentError, "nowhere holds no atlas"),
        ({"recipe": "shrap"}, ArgumentError, "did you mean 'sharp'"),
        ({"stepz": 3}, ArgumentError, "did you mean 'steps'"),
    ],
)
def test_refused(tiny, photo, arguments, error, words):
    """What cannot be explained as asked, with what is allowed."""
    with pytest.raises(error, match=words):
        explain(tiny, photo, **{**PLAIN, **arguments})


def test_pictures_the_network_cannot_take(photo):
    """Five channels, and a file that is no picture."""

    class Five(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(5, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.conv(x).relu().mean((2, 3)))

    with pytest.raises(ImageError, match="takes 5 channels; pictures have 1 or 3"):
        explain(open_network(Five().eval(), size=16, range=(0, 1)), photo)
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        explain("tiny-vgg16", __file__)


def test_command(photo, tmp_path, capsys):
    """Page, sheet, report; --json is the row of the report. What is refused writes nothing."""
    Image.fromarray(photo).save(tmp_path / "photo.png")
    words = [
        "explain",
        "tiny-vgg16",
        str(tmp_path / "photo.png"),
        "goldfish",
        "--layers",
        "block5_conv3",
        "--count",
        "1",
    ]
    out = tmp_path / "out"
    assert main([*words, "--steps", "1", "--size", "64", "--out", str(out), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row in json.loads((out / "report.json").read_text())
    assert (row["target"], row["layers"][0]["layer"]) == ("predictions:0", "block5_conv3")
    assert sorted(p.name for p in out.iterdir() if p.is_file()) == sorted(
        ["report.json", row["file"], row["page"]]
    )
    assert main([*words, "--no-pictures", "--out", str(out)]) == 0
    assert "block5_conv3 (area over random" in capsys.readouterr().out
    nothing = tmp_path / "nothing"
    assert main(["explain", "tiny-vgg16", str(tmp_path / "none.png"), "--out", str(nothing)]) == 2
    assert main([*words, "--against", "goldfish", "--out", str(nothing)]) == 2
    assert not nothing.exists() or not list(nothing.iterdir())
