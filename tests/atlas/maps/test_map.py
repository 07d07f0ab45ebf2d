"""atlas --map: votes by hand, cells, what is drawn and resumed, what is refused, the page."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import filterscope as fs
from filterscope.atlas.maps import layout
from filterscope.atlas.maps.cells import LEAST, make_level, whitening_of
from filterscope.atlas.maps.collect import _votes, _voting, choose_place, collect
from filterscope.atlas.maps.layout import choose_method, normalized
from filterscope.atlas.run import mapping
from filterscope.cli import main
from filterscope.errors import ArgumentError
from filterscope.expression import parse

HOW = {"steps": 2, "size": 16, "precision": "float32", "progress": False}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Sixty pictures of three kinds, and a file that is none."""
    place = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(60):
        values = rng.integers(0, 80, (16, 16, 3)) + 150 * np.eye(3, dtype=int)[i % 3]
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(place / f"{i:02d}.png")
    (place / "broken.png").write_bytes(b"no picture")
    return place


@pytest.fixture
def quick(monkeypatch):
    """Laid out by two channels alone, which takes no library."""
    monkeypatch.setattr(mapping, "choose_method", lambda: "two channels")
    monkeypatch.setattr(
        mapping, "lay_out", lambda values, method, seed: normalized(values[:, :2].astype(float))
    )


def test_votes(small):
    """Activation times gradient at the place, summed over channels, as the finite difference of each logit."""
    x = small.input.preprocess(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 255)
    voting = _voting(small, "conv2")
    (maps,) = small.probe(["conv2"]).eval()(x)
    rows, columns = torch.tensor([1, 4]), torch.tensor([2, 0])
    found = _votes(voting, x, maps.detach(), rows, columns)
    change = torch.zeros_like(maps, requires_grad=True)
    logits = voting(x, change)
    for i in range(2):
        for unit in range(5):
            (gradient,) = torch.autograd.grad(logits[i, unit], change, retain_graph=True)
            own = (gradient * maps)[i, :, rows[i], columns[i]].sum()
            assert found[i, unit] == pytest.approx(float(own), rel=1e-3, abs=1e-5)


def test_collect(small, photographs):
    """A place of each image that follows from its name, whatever the order; what is no picture is left out."""
    paths, skipped = sorted(photographs.iterdir()), []
    found = collect(
        small, "conv2", paths, photographs, seed=3, on_skip=lambda path, _: skipped.append(path.name)
    )
    assert skipped == ["broken.png"]
    assert found.activations.shape == (60, 6)
    assert found.places.min() >= 1
    assert found.places.max() <= 4  # not at the rim of 6 x 6
    turned = collect(small, "conv2", paths[::-1], photographs, seed=3)
    np.testing.assert_allclose(turned.activations[::-1], found.activations, rtol=1e-4, atol=1e-5)
    assert choose_place((6, 6), 3, "00.png") == tuple(found.places[0])
    with pytest.raises(
        ArgumentError, match=r"needs 50 images or more, and better some thousands \(got 10 in"
    ):
        collect(small, "conv2", paths[:10], photographs, seed=3)


def test_cells():
    """More than a handful in each; the mean's direction, whitened; the classes by their mean votes."""
    points = np.array([[0.1, 0.2]] * LEAST + [[0.9, 0.9]] * (LEAST - 1) + [[1.0, 0.0]] * LEAST)
    activations = np.zeros((len(points), 3), np.float32)
    activations[:LEAST] = (3, 0, 1)
    activations[-LEAST:] = (0, 2, 1)
    votes = np.zeros((len(points), 7))
    votes[:LEAST, 4] = 2
    level = make_level(2, points, activations, votes, np.eye(3))
    assert level.spots.tolist() == [[0, 0], [1, 0]]
    assert level.counts.tolist() == [LEAST, LEAST]
    np.testing.assert_allclose(level.directions[0], np.array([3, 0, 1]) / 10**0.5, rtol=1e-5)
    assert level.classes[0][0] == 4
    assert level.votes[0][0] == 2
    whitened = make_level(2, points, activations, None, whitening_of(activations))
    assert whitened.directions[0][2] < level.directions[0][2]  # the channel that both have says less
    assert whitened.classes.shape == (2, 0)
    goal = level.goals("conv", (2, 2))[0]
    assert parse(str(goal)).terms == ((1.0, goal),)
    assert str(goal).startswith("aligned(conv, 0:0.949 2:0.316)@2,2")


def test_aligned(small):
    """The product times the squared cosine, at least 0.1 before it is squared."""
    from filterscope.ascent.objectives import _along

    goal = parse("aligned(conv2, 0:3 1:4)@0,0").terms[0][1]
    values = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    cosine = 11 / (5 * 5**0.5)
    assert float(_along(values, goal)) == pytest.approx(11 * cosine**2, rel=1e-5)
    assert float(_along(-values, goal)) == pytest.approx(-11 * 0.01, rel=1e-5)


def test_map(small, photographs, tmp_path, quick):
    """Pictures and a page; the same again draws nothing, other settings are refused, and replaced if that is asked for."""
    out, messages = tmp_path / "out", []
    made = fs.make_map(small, "conv2", photographs, out, grid=[2, 3], on_message=messages.append, **HOW)
    assert made["images"] == 60
    assert made["drawn"] == made["pictures"] == sum(made["cells"].values()) > 3
    assert any("broken.png" in line for line in messages)
    place = out / "small.map.conv2"
    names = sorted(path.name for path in (place / "grid-02").glob("*.png"))
    assert names == [f"cell-{i:04d}.png" for i in range(made["cells"][2])]
    assert fs.pictures.png.read_metadata(place / "grid-02" / names[0])["target"].startswith("aligned(conv2, ")
    script = (place / "cells.js").read_text()
    assert script.startswith("filterscope.map(JSON.parse(")
    assert (place / "grid-03" / "sprite-0.webp").is_file()
    page = (place / "index.html").read_text()
    assert "cells.js" in page
    (place / "grid-02" / names[0]).unlink()
    (place / "grid-02" / "layer.parquet").unlink()
    again = fs.make_map(small, "conv2", photographs, out, grid=[2, 3], **HOW)
    assert again["drawn"] == made["cells"][2]  # its one chunk
    with pytest.raises(ArgumentError, match=r"grid is \[2, 3\] there and \[4\] here"):
        fs.make_map(small, "conv2", photographs, out, grid=[4], **HOW)
    with pytest.raises(ArgumentError, match="steps is 2 there and 1 here"):
        fs.make_map(small, "conv2", photographs, out, grid=[2, 3], **{**HOW, "steps": 1})
    other = fs.make_map(small, "conv2", photographs, out, grid=[2], overwrite=True, **HOW)
    assert other["cells"].keys() == {2}
    assert not (place / "grid-03").exists()


def test_refusals(small, photographs, tmp_path, monkeypatch):
    """A layer without a map, a grid that is none, no images, neither library: before anything is written."""
    with pytest.raises(
        ArgumentError, match=r"whose output is a map with several places \(predictions of small has 5"
    ):
        fs.make_map(small, "predictions", photographs, tmp_path / "a", **HOW)
    with pytest.raises(ArgumentError, match=r"a grid has 2 to 100 cells a side \(got 1"):
        fs.make_map(small, "conv2", photographs, tmp_path / "a", grid=[1], **HOW)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        ArgumentError, match=r"needs umap-learn or scikit-learn: pip install 'filterscope\[umap\]'"
    ):
        choose_method()
    assert not (tmp_path / "a").exists()


def test_tsne():
    """Like activations lie near one another, by scikit-learn alone."""
    rng = np.random.default_rng(1)
    values = np.abs(np.concatenate([rng.normal(0, 0.1, (30, 8)) + 3 * np.eye(8)[i] for i in (0, 1)]))
    points = layout.lay_out(values.astype(np.float32), "t-sne", seed=0)
    assert points.min() == 0
    assert points.max() == 1
    first, second = points[:30], points[30:]
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > 2 * first.std()


def test_command(photographs, tmp_path, quick, capsys):
    """--grid needs --map, --map needs --images; the summary as JSON names the page."""
    words = ["atlas", "tiny-vgg16", "--out", str(tmp_path / "out")]
    assert main([*words, "--grid", "3"]) == 2
    assert "--grid is of a map" in capsys.readouterr().err
    assert main([*words, "--map", "block1_conv1"]) == 2
    assert "give their folder with --images" in capsys.readouterr().err
    assert main([*words, "--map", "block1_conv1", "--images", str(photographs), "--grid", "two"]) == 2
    quickly = ["--grid", "2", "--steps", "1", "--size", "16", "--precision", "float32", "--json", "--quiet"]
    assert main([*words, "--map", "block1_conv1", "--images", str(photographs), *quickly]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["page"].endswith("tiny-vgg16.map.block1_conv1/index.html")
    assert (
        json.loads((tmp_path / "out" / "tiny-vgg16.map.block1_conv1" / "network.json").read_text())["recipe"][
            "name"
        ]
        == "natural"
    )


def test_beside(small, photographs, tmp_path, quick):
    """Two networks on one layout: the same cells, each with pictures of its own, and a page with both."""
    made = fs.make_map(small, "conv2", photographs, tmp_path / "out", grid=[2], beside=small, **HOW)
    first, second = made["maps"]
    assert first["cells"] == second["cells"]
    assert second["layout"] == "as the other map"
    assert made["pictures"] == 2 * first["pictures"]
    page = (tmp_path / "out" / "map.html").read_text()
    assert page.count("beside.js") == 2
    assert page.count('class="map"') == 2
    script = (tmp_path / "out" / second["folder"] / "beside.js").read_bytes()
    assert f'"folder":"{second["folder"]}/"'.encode() in script
