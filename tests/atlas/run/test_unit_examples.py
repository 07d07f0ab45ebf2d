"""An atlas with photographs: crops, classes, numbers for units; labels that come without anything being drawn."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.atlas import draw_atlas
from torch import nn

import filterscope as fs
from filterscope.atlas.storage.crops import COLUMNS, SIDE, cut_crops
from filterscope.atlas.storage.index import read_index
from filterscope.cli import main
from filterscope.errors import ArgumentError, TargetError
from filterscope.measure.clarity import clarity
from filterscope.networks import open_network
from filterscope.recipe import get_recipe

ASKED = {
    "layers": ["conv1", "predictions"],
    "recipe": get_recipe(steps=1, size=16),
    "precision": "float32",
    "progress": False,
}
HEAD = "layer,unit,description,similarity\n"


class Mean:
    """An encoder: an image's mean colour."""

    def encode_image(self, images):
        return np.array([np.asarray(image).mean((0, 1)) for image in images])

    def encode_text(self, texts):
        return np.ones((len(texts), 3))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Two classes of thirteen photographs each."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for name, colour in {"blue": (0, 0, 200), "red": (200, 0, 0)}.items():
        (folder / name).mkdir()
        for i in range(13):
            values = np.array(colour) + rng.integers(0, 55, (24, 32, 3))
            Image.fromarray(values.astype(np.uint8)).save(folder / name / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def atlas(small, photographs, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("examples") / "atlas"
    draw_atlas(small, place, images=photographs, encoder=Mean(), **ASKED)
    return place


def untouched(atlas: Path) -> dict[str, tuple[int, bytes]]:
    """Everything that drawing writes: with the time of its last change."""
    ends = (".png", ".webp", "layer.parquet", ".npz", ".json")
    files = [
        p for p in (atlas / "small").rglob("*") if p.name.endswith(ends) and not p.name.startswith("sprite")
    ]
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_columns(atlas, photographs):
    """Each unit has up to forty examples on a sheet, its classes, and its numbers."""
    rows = read_index(atlas).to_pylist()
    alive = [row for row in rows if row["selectivity"] is not None]
    assert alive
    for row in alive:
        assert len(row["examples"]) == 26
        with Image.open(atlas / row["crops"]) as sheet:
            assert sheet.size == (COLUMNS * SIDE, 3 * SIDE)
            assert [crop.size for crop in cut_crops(sheet, 12)] == [(SIDE, SIDE)] * 12
        assert {one["name"] for one in row["classes"]} == {"blue", "red"}
        assert row["best_class"] == row["classes"][0]["name"]
        means = [one["mean"] for one in row["classes"]]
        assert row["selectivity"] == pytest.approx(means[0] / sum(means), rel=1e-4)
        assert 0 <= row["sparsity"] <= 1
        for one in row["classes"]:
            assert len(one["examples"]) == 9
            assert all(e["image"].startswith(one["name"]) for e in one["examples"])
            assert all((atlas / e["file"]).is_file() for e in one["examples"])
    assert all(-1 <= row["clarity"] <= 1 and 0 <= row["polysemanticity"] <= 2 for row in alive)
    of_one_class = [row for row in alive if len({e["image"][:3] for e in row["examples"][:20]}) == 1]
    assert all(row["clarity"] > 0.9 for row in of_one_class)
    assert '"encoder": "Mean"' in (atlas / "small" / "network.json").read_text()


def test_clarity_is_of_the_crops(atlas, small, photographs):
    """A dense unit without a place: whole photographs, of which the mean colours are compared."""
    row = next(
        r for r in read_index(atlas).to_pylist() if r["layer"] == "predictions" and r["clarity"] is not None
    )
    some = [
        Image.open(photographs / e["image"]).convert("RGB").crop((4, 0, 28, 24)) for e in row["examples"][:20]
    ]
    assert row["clarity"] == pytest.approx(clarity(Mean().encode_image(some)), abs=0.02)


def test_what_does_not_excite_is_no_example(photographs, tmp_path):
    """Neither on the unit's sheet and in its classes, nor for its clarity; a unit that nothing excites has no sheet."""
    conv = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, 0, -1], [-1, -1, -1]])[..., None, None])
        conv.bias.zero_()
    net = open_network(nn.Sequential(conv, nn.ReLU()).eval(), size=16, range=(0, 1))
    draw_atlas(net, tmp_path / "atlas", images=photographs, encoder=Mean(), **{**ASKED, "layers": ["1"]})
    red, dead = read_index(tmp_path / "atlas").to_pylist()
    assert len(red["examples"]) == 13
    assert all(one["image"].startswith("red/") and one["activation"] > 0 for one in red["examples"])
    assert [one["name"] for one in red["classes"]] == ["red"]
    assert red["clarity"] > 0.99
    with Image.open(tmp_path / "atlas" / red["crops"]) as sheet:
        assert sheet.size == (COLUMNS * SIDE, 2 * SIDE)
    assert (dead["examples"], dead["classes"], dead["crops"], dead["clarity"]) == ([], [], None, None)


def test_labels_are_added_to_what_is_there(atlas, small, tmp_path):
    """Alone, or with the options that the atlas was drawn with; no picture, sheet or layer is written again."""
    before = untouched(atlas)
    (tmp_path / "labels.csv").write_text(
        HEAD + 'conv1,2,"stripes, red",0.5\nconv1,0,dots,\npredictions,4,a dog,2\n'
    )
    summary = fs.make_atlas(small, atlas, labels=tmp_path / "labels.csv", progress=False)
    assert summary["drawn"] == 0
    labels = {
        (r["layer"], r["unit"]): (r["label"], r["label_similarity"]) for r in read_index(atlas).to_pylist()
    }
    assert labels["conv1", 2] == ("stripes, red", 0.5)
    assert labels["conv1", 0] == ("dots", None)
    assert labels["conv1", 1] == (None, None)
    assert "stripes, red" in (atlas / "small/conv1/layer.js").read_text()
    assert "stripes, red" in (atlas / "small/catalog.js").read_text()
    assert "stripes, red" in (atlas / "small/conv1/units-0.js").read_text()
    rows = [{"layer": "conv1", "unit": 1, "description": "edges", "similarity": 0.1}]
    fs.make_atlas(small, atlas, labels=rows, progress=False)
    labels = {(r["layer"], r["unit"]): r["label"] for r in read_index(atlas).to_pylist()}
    assert (labels["conv1", 1], labels["conv1", 2]) == ("edges", None)  # a layer's labels come together
    assert labels["predictions", 4] == "a dog"  # those of other layers stay
    assert untouched(atlas) == before


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (HEAD + "conv9,0,x,1\n", TargetError, r"labels.csv, line 2: .*did you mean 'conv"),
        (HEAD + "conv1,4,x,1\n", TargetError, r"conv1 of small has units 0 to 3 .got 4"),
        ("layer,unit,description\n", ArgumentError, "no column 'similarity'"),
    ],
)
def test_labels_that_are_refused(atlas, small, tmp_path, text, error, said):
    """In words; the atlas stays as it is, and a new one is not begun."""
    (tmp_path / "labels.csv").write_text(text)
    before = {p: p.stat().st_mtime_ns for p in atlas.rglob("*")}
    for place in (atlas, tmp_path / "new"):
        with pytest.raises(error, match=said):
            fs.make_atlas(small, place, labels=tmp_path / "labels.csv", progress=False)
    assert {p: p.stat().st_mtime_ns for p in atlas.rglob("*")} == before
    assert not (tmp_path / "new").exists()


def test_labels_of_other_weights(tiny, tmp_path, capsys):
    """On the command line: added alone; to pictures of other weights they are not."""
    (tmp_path / "labels.csv").write_text(HEAD + "block1_conv1,3,edges,0.5\n")
    words = ["atlas", "tiny-vgg16", "--out", str(tmp_path / "a"), "--labels", str(tmp_path / "labels.csv")]
    assert main([*words, "--layers", "block1_conv1", "--steps", "1", "--size", "16", "-q"]) == 0
    assert read_index(tmp_path / "a").to_pylist()[3]["label"] == "edges"
    assert main(words) == 0
    said = capsys.readouterr()
    assert "labels of 1 units are added to what is there; nothing is drawn" in said.err
    assert "(0 of them drawn now)" in said.out
    record = tmp_path / "a" / "tiny-vgg16" / "network.json"
    record.write_text(record.read_text().replace(tiny.weights.sha256, "0" * 64))
    assert main(words) == 2
    assert "pictures of tiny-vgg16 with other weights (000000000000" in capsys.readouterr().err
    record.write_text(record.read_text().replace("0" * 64, tiny.weights.sha256))
    (tmp_path / "a" / "tiny-vgg16" / "labels.csv").write_text("no labels")
    assert main(words) == 1
    assert "labels.csv is damaged" in capsys.readouterr().err


def test_sheets_are_made_once(small, photographs, tmp_path, monkeypatch):
    """A run that goes on behind a complete sheet does not compute it again; photographs that are gone leave no sheet."""
    import filterscope.atlas.run.examples as module

    calls = []
    real = module.example_fields
    monkeypatch.setattr(module, "example_fields", lambda *a, **k: calls.append(a) or real(*a, **k))
    asked = {**ASKED, "layers": ["conv1"]}
    draw_atlas(small, tmp_path / "a", images=photographs, **asked)
    assert len(calls) == 4
    (tmp_path / "a" / "small" / "conv1" / "layer.parquet").unlink()
    (tmp_path / "a" / "small" / "conv1" / "examples-0002.webp").unlink()
    draw_atlas(small, tmp_path / "a", images=photographs, **asked)
    assert len(calls) == 5
    rows = read_index(tmp_path / "a").to_pylist()
    assert [row["crops"] for row in rows] == [f"small/conv1/examples-000{i}.webp" for i in range(4)]
    data = (tmp_path / "a" / rows[0]["crops"]).read_bytes()
    assert Image.open(io.BytesIO(data)).convert("L").getextrema()[1] > 60


def test_an_encoder_needs_photographs(small, tmp_path):
    """As a judge does."""
    with pytest.raises(
        ArgumentError, match="an encoder measures the clarity of photographs: give their folder"
    ):
        draw_atlas(small, tmp_path / "a", encoder=Mean(), **ASKED)
    with pytest.raises(ArgumentError, match="has no encode_image and no encode_text"):
        draw_atlas(small, tmp_path / "a", encoder=3, images=tmp_path, **ASKED)
    assert not (tmp_path / "a").exists()
