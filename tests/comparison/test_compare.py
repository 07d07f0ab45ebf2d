"""compare: the measure of change, pairs of units, what is written, the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filterscope.cli import main
from filterscope.comparison.compare import Comparison, compare, measure_crossed
from filterscope.comparison.pairs import Pair, name_networks, pair_units, select_units
from filterscope.errors import TargetError
from filterscope.networks import open_network
from filterscope.pictures import Scores
from filterscope.pictures.png import read_metadata
from filterscope.recipe import ask_recipe, get_recipe

QUICK = get_recipe("sharp", steps=12, size=32)


@pytest.fixture(scope="module")
def other(tiny_file, tmp_path_factory) -> Path:
    """The embedded network's weights, but the filters of block2_conv2 stand in reverse order."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(tiny_file)
    for name in ("kernel", "bias"):
        key = next(k for k in tensors if "block2_conv2" in k and name in k)
        tensors[key] = np.ascontiguousarray(tensors[key][..., ::-1])
    path = tmp_path_factory.mktemp("other") / "turned.safetensors"
    save_file(tensors, path)
    return path


def test_what_suits_the_first(tiny, turned, tmp_path):
    """Without a recipe each unit is drawn by what suits it in the first network, in both networks alike."""
    steps = []
    asked = ask_recipe(None, steps=1, size=32)
    found = compare(tiny, turned, ["block1_conv1:0", "predictions:3"], recipe=asked, on_step=steps.append)
    assert {(p.a.recipe.name, p.b.recipe.name) for p in found.pairs} == {
        ("sharp", "sharp"),
        ("robust", "robust"),
    }
    assert [(s.done, s.total) for s in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    found.save(tmp_path)
    pages = [page.read_text() for page in tmp_path.glob("*/index.html")]
    assert len(pages) == 2
    assert all("auto: what suits each layer" in page for page in pages)


@pytest.fixture(scope="module")
def turned(other):
    return open_network("tiny-vgg16", weights=other)


def pair(picture, a=(10.0, 1.0), b=(8.0, 0.0), crossed=(5.5, 4.0), **changes) -> Pair:
    """A pair whose own activations and noise are given."""
    one = picture(scores=Scores(a[0], None, None, a[1]))
    two = picture(scores=Scores(b[0], None, None, b[1]), **changes)
    return Pair(one, two, crossed)


def test_change(picture):
    """By hand: A finds (5.5 - 1) / (10 - 1) = 0.5 of its gain in B's picture, B 4 / 8 = 0.5."""
    found = pair(picture)
    assert found.reach == (0.5, 0.5)
    assert found.change == 0.5
    assert pair(picture, crossed=(10.0, 8.0)).change == 0
    assert pair(picture, crossed=(1.0, 0.0)).change == 1
    assert pair(picture, crossed=(99.0, -5.0)).change == 0.5  # clipped: more than its own is no less changed
    assert pair(picture, crossed=(99.0, -5.0)).reach[0] > 1


def test_change_is_symmetric(picture):
    """Which network is called A does not matter."""
    one = pair(picture, crossed=(7.0, 3.0))
    turned = Pair(one.b, one.a, one.crossed[::-1])
    assert one.change == turned.change
    assert one.difference == turned.difference


def test_dead(picture):
    """A unit that one network alone can excite has changed wholly; one that neither can has no number."""
    assert pair(picture, a=(0.0, 0.0)).change == 1
    neither = pair(picture, a=(0.0, 0.0), b=(0.0, 0.0))
    assert neither.change is None
    assert neither.report(("a", "b"))["change"] is None


def test_difference(picture):
    """0 for the same picture, 1 from black to white, of any two sizes."""
    assert pair(picture).difference == 0
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    found = Pair(picture(image=black), picture(image=white), (0.0, 0.0))
    assert found.difference == 1


def test_same_network(tiny):
    """A network beside itself has not changed, and each network's own picture gives its own activation."""
    found = compare(tiny, tiny, ["block2_conv1:0-3"], recipe=QUICK, precision="float32")
    assert [p.change for p in found.pairs] == pytest.approx([0] * 4, abs=1e-4)
    assert all(p.difference == 0 for p in found.pairs)
    own = [p.a for p in found.pairs]
    assert measure_crossed(tiny, own, own) == pytest.approx([p.scores.activation for p in own], rel=1e-4)


def test_order(tiny, turned):
    """Filters that changed places have changed far more than those of the layer before, and come first."""
    steps = []
    found = compare(
        tiny,
        turned,
        ["block2_conv1:0-3", "block2_conv2:0-3"],
        recipe=QUICK,
        on_step=lambda step: steps.append((step.done, step.total)),
    )
    layers = [p.a.target.layers[0] for p in found.pairs]
    assert layers == ["block2_conv2"] * 4 + ["block2_conv1"] * 4
    changes = [p.change for p in found.pairs]
    assert changes == sorted(changes, reverse=True)
    assert min(changes[:4]) > 0.3
    assert max(changes[4:]) < 0.05
    assert steps[-1] == (2 * 8 * 12, 2 * 8 * 12)
    assert steps == sorted(steps)


def test_other_sizes(tiny, small):
    """Networks of other sizes and names are compared where they share a layer; pictures are brought to size."""
    with pytest.raises(TargetError, match="small has no layer 'block1_conv1'"):
        pair_units(tiny, small, ["block1_conv1:0"])
    with pytest.raises(TargetError, match=r"predictions of small has units 0 to 4 \(got 7\)"):
        pair_units(tiny, small, ["predictions:7"])
    found = compare(tiny, small, ["predictions:0-2"], recipe=get_recipe(steps=2))
    assert {p.a.image.shape[0] for p in found.pairs} == {128}
    assert {p.b.image.shape[0] for p in found.pairs} == {16}


def test_pairs_by_name(tiny):
    """A class by name is looked up in each network, a number is the same in both."""
    import dataclasses

    reversed_classes = dataclasses.replace(tiny, classes=tiny.classes[::-1])
    ((one, two),) = pair_units(tiny, reversed_classes, ["predictions:goldfish"])
    assert (one.unit, two.unit) == (0, 199)
    ((one, two),) = pair_units(tiny, reversed_classes, ["predictions:0"])
    assert (one.unit, two.unit) == (0, 0)
    assert len(pair_units(tiny, tiny, ["block1_conv1:0,1", "block1_conv1:1,2"])) == 3


def test_common_targets(tiny, small):
    """Four units of every layer with weights that both have."""
    texts = select_units(tiny, tiny)
    assert len(texts) == 14
    assert all(len(pair_units(tiny, tiny, [text])) == 4 for text in texts)
    assert [text.partition(":")[0] for text in select_units(tiny, small)] == ["predictions"]


def test_names(tiny, turned, small):
    """The networks' names, or with their weights' files, or with letters."""
    assert name_networks(tiny, small) == ("tiny-vgg16", "small")
    assert name_networks(tiny, turned) == (
        "tiny-vgg16 (tiny-vgg16.safetensors)",
        "tiny-vgg16 (turned.safetensors)",
    )
    assert name_networks(tiny, tiny) == ("tiny-vgg16 A", "tiny-vgg16 B")


def test_titles(tiny, turned, small):
    """Over a column of the sheet as little stands as tells the two apart."""

    def titles(a, b):
        return Comparison([], name_networks(a, b), (a, b)).titles

    assert titles(tiny, small) == ("tiny-vgg16", "small")
    assert titles(tiny, turned) == ("tiny-vgg16.safetensors", "turned.safetensors")
    assert titles(tiny, tiny) == ("tiny-vgg16 A", "tiny-vgg16 B")


def test_command(tmp_path, other, capsys):
    """A sheet, a report in order, pages, and a picture of each network for each unit."""
    out = tmp_path / "out"
    words = [
        "compare",
        "tiny-vgg16",
        "tiny-vgg16",
        "block2_conv2:0,1",
        "predictions:goldfish",
        "--weights-b",
        str(other),
    ]
    assert main([*words, "--steps", "4", "--size", "32", "--out", str(out), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads((out / "report.json").read_text())
    assert {row["target"] for row in rows} == {"block2_conv2:0", "block2_conv2:1", "predictions:0"}
    assert all((out / row[side]["file"]).is_file() for row in rows for side in "ab")
    assert rows[0]["a"]["file"].startswith("tiny-vgg16")
    changes = [row["change"] for row in rows]
    assert changes == sorted(changes, key=lambda c: (c is None, -(c or 0)))
    with Image.open(out / "compare.png") as sheet:
        assert sheet.width > 300
    page = (out / "index.html").read_text()
    assert page.count('class="tile pair"') == 3
    assert "turned.safetensors" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["block9:0"], "no layer 'block9'"),
        (["block1_conv1:"], "is no target"),
        (["block1_conv1:0", "--weights", "x", "--weights-b", "y"], "not both kinds"),
        (["block1_conv1:0", *["--weights", "x"] * 3], "not 3 times"),
        (["block1_conv1:0", "--weights", "none.safetensors"], "none.safetensors"),
        (["block1_conv1:0", "--recipe", "shrap"], "did you mean 'sharp'"),
    ],
)
def test_wrong(tmp_path, capsys, words, message):
    """Wrong arguments say what is allowed."""
    assert main(["compare", "tiny-vgg16", "tiny-vgg16", *words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_input_options(tmp_path, capsys):
    """What the networks take is told for both; of one alone behind its name, which then holds for that one."""
    words = [
        "block1_conv1:0",
        "--steps",
        "2",
        "--size",
        "32",
        "--mean",
        "3",
        "--out",
        str(tmp_path),
        "--json",
    ]
    assert main(["compare", "tiny-vgg16", "tiny-vgg16?mean=0&range=0,1", *words]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    told = [read_metadata(tmp_path / row[side]["file"])["network"] for side in "ab"]
    assert told == ["tiny-vgg16?mean=3", "tiny-vgg16?mean=0&range=0,1"]


def test_not_into_an_atlas(tmp_path, capsys):
    """A comparison never replaces an atlas' pages."""
    (tmp_path / "atlas.json").write_text("{}")
    assert main(["compare", "tiny-vgg16", "tiny-vgg16", "block1_conv1:0", "--out", str(tmp_path)]) == 2
    assert "holds an atlas" in capsys.readouterr().err


def test_sheet_is_bounded(picture, tiny):
    """Of many pairs the sheet shows the most changed."""
    many = Comparison([pair(picture)] * 200, ("a", "b"), (tiny, tiny))
    assert many.to_pil().height < 6000
