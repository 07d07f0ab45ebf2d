"""Pictures of concepts: drawn, recorded with the file's name and hash, and drawn again from wherever the file is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import filterscope as fs
from filterscope.cli import main
from filterscope.errors import ImageError, TargetError
from filterscope.pictures.png import read_metadata
from filterscope.rerun import draw_again
from filterscope.target import Target

QUICK = {"steps": 2, "size": 16, "precision": "float32", "progress": False}
WORDS = ["--steps", "2", "--size", "16", "--precision", "float32", "--quiet"]
LAYER = "block1_conv1"


@pytest.fixture
def rows():
    """(4, 32): a channel alone, a mixture, its opposite, another channel."""
    found = np.zeros((4, 32), np.float32)
    found[0, 3], found[3, 5] = 1, 1
    found[1, :8] = np.linspace(-1, 1, 8)
    found[2] = -found[1]
    return found


@pytest.fixture
def place(tmp_path, monkeypatch, rows):
    """A folder with nmf.npy, where the command runs."""
    monkeypatch.chdir(tmp_path)
    np.save("nmf.npy", rows)
    return tmp_path


def test_the_command(place, rows, capsys):
    """`show` writes the picture, whose record has the file's name and hash; `rerun` finds the file by its hash."""
    assert main(["show", "tiny-vgg16", f"concept({LAYER}, nmf.npy, 1)", *WORDS]) == 0
    path = place / "out" / f"{LAYER}-nmf-0001.png"
    record = read_metadata(path)
    assert record["target"] == f"concept({LAYER}, nmf.npy, 1)"
    (sha256,) = record["concepts"].values()
    assert list(record["concepts"]) == ["nmf.npy"]
    again = draw_again(path)  # beside the picture's folder
    assert again.largest_difference == 0
    assert again.same_concepts
    (place / "elsewhere").mkdir()
    (place / "nmf.npy").rename(place / "elsewhere" / "renamed.npy")
    with pytest.raises(
        ImageError, match=f"from the file of concepts 'nmf.npy' .sha256 {sha256}., which is not here; say"
    ):
        draw_again(path)
    capsys.readouterr()
    assert main(["rerun", str(path), "--concepts", "elsewhere/renamed.npy", "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["identical"], told["same_concepts"]) == (
        False,
        False,
    )  # its name is another: so are the first noise's numbers
    np.save("other.npy", 2 * rows)
    fs.visualize("tiny-vgg16", f"{LAYER}:3", **QUICK).save("unit.png")
    with pytest.raises(ImageError, match="was drawn from no file of concepts: leave out concepts="):
        draw_again("unit.png", concepts="other.npy")


def test_the_register(place):
    """A file that was drawn from elsewhere is found again by its hash, by whoever draws on this machine."""
    (place / "far").mkdir()
    (place / "nmf.npy").rename(place / "far" / "nmf.npy")
    assert main(["show", "tiny-vgg16", f"concept({LAYER}, far/nmf.npy, 3)", *WORDS, "--out", "a/b/c"]) == 0
    assert draw_again(place / "a" / "b" / "c" / f"{LAYER}-nmf-0003.png").largest_difference == 0


def test_a_channel_alone_is_that_unit(place, tiny):
    """The direction of one channel has the unit's own activation and, from the same noise, its curve."""
    concept = fs.visualize_one(tiny, f"concept({LAYER}, nmf.npy, 0)", **QUICK)
    unit = fs.visualize_one(tiny, fs.Direction(LAYER, ((3, 1.0),)), **QUICK)
    assert concept.label == "concept: 0"
    assert concept.status == "ok"
    assert concept.curve[0] == pytest.approx(unit.curve[0], rel=0.5)


def test_batches_agree(place, tiny):
    """Several are drawn together as each alone, in a sheet, at a place too."""
    many = fs.visualize_sheet(tiny, f"concept({LAYER}, nmf.npy, 0-3)", **QUICK)
    alone = fs.visualize_one(tiny, f"concept({LAYER}, nmf.npy, 2)", **QUICK)
    assert [p.target.number for p in many] == [0, 1, 2, 3]
    assert np.abs(many[2].image.astype(int) - alone.image).max() <= 1
    placed = fs.visualize_one(tiny, f"concept({LAYER}, nmf.npy, 1, cosine)@3,4", **QUICK)
    assert placed.target.at == (3, 4)
    assert not placed.recipe.transforms
    with pytest.raises(TargetError, match="has rows 0 to 15"):
        fs.visualize_one(tiny, f"concept({LAYER}, nmf.npy, 1)@16,0", **QUICK)


def test_an_inactive_latent_is_reached(tmp_path, tiny):
    """A latent far below its threshold has a gradient: its value before the activation rises, to above 0."""
    encoder = np.zeros((32, 2), np.float32)
    encoder[3, 0] = encoder[5, 1] = 1
    tensors = {"W_enc": encoder, "W_dec": encoder.T, "b_enc": np.array([-2.5, -1e3], np.float32)}
    torch.save({name: torch.from_numpy(a.copy()) for name, a in tensors.items()}, tmp_path / "sae.pt")
    goals = [fs.Concept(LAYER, str(tmp_path / "sae.pt"), i, "latent") for i in (0, 1)]
    near, far = fs.visualize_sheet(tiny, goals, **{**QUICK, "steps": 24})
    assert near.scores.activation > 0 > near.scores.start
    assert near.status == "ok"
    assert far.curve[-1] > far.curve[0]
    assert far.status == "no-gain"  # inactive still: it is no success


def test_sums(place, tiny):
    """Concepts add to other objectives, and nothing changes the operands."""
    concept = fs.Concept(LAYER, "nmf.npy", 0)
    both = 0.5 * concept - Target(LAYER, 3)
    picture = fs.visualize_one(tiny, both, **QUICK)
    assert str(picture.target) == f"0.5 * concept({LAYER}, nmf.npy, 0) - {LAYER}:3"
    assert list(picture.concepts) == ["nmf.npy"]
    assert concept.numbers is None


def test_two_files_of_one_name(place, capsys):
    """Their pictures would overwrite one another."""
    (place / "b").mkdir()
    np.save("b/nmf.npy", np.eye(32, dtype=np.float32))
    texts = [f"concept({LAYER}, nmf.npy, 0)", f"concept({LAYER}, b/nmf.npy, 0)"]
    assert main(["show", "tiny-vgg16", *texts, *WORDS]) == 2
    assert "would have one file" in capsys.readouterr().err
