"""judge.py: what another network says of pictures, found by name or by number."""

import json

import numpy as np
import pytest

import filterscope as fs
from filterscope.cli import main
from filterscope.errors import ArgumentError
from filterscope.measure.classify import classify
from filterscope.measure.judge import Judge, matching
from filterscope.pictures.png import read_metadata

QUICK = {"steps": 2, "size": 64, "progress": False}


def test_the_network_itself_as_judge(tiny, tmp_path):
    """Judged by its own network a picture's probability is what `classify` says of the file at that size."""
    picture = fs.visualize(tiny, "predictions:goldfish", judge=tiny, **QUICK)
    ((guess, *_),) = classify(tiny, [picture.save(tmp_path / "x.png")], top=200, size=64)
    assert picture.judge.network == "tiny-vgg16"
    assert picture.judge.named == guess.name
    assert picture.judge.confidence == pytest.approx(guess.probability, rel=1e-4)
    assert picture.judge.probability == pytest.approx(picture.scores.probability, rel=1e-3)
    assert picture.judge.rank >= 1
    assert (picture.judge.rank == 1) == (picture.judge.named == "goldfish")


def test_a_judge_without_the_class(tiny, small):
    """A judge of other classes names what it sees and ranks nothing; a filter has no class to rank."""
    picture = fs.visualize(tiny, "predictions:goldfish", judge=small, **QUICK)
    assert picture.judge.rank is picture.judge.probability is None
    assert picture.judge.named.isdecimal()
    assert fs.visualize(tiny, "block1_conv2:3", judge=tiny, **QUICK).judge.rank is None


def test_show_judge(tmp_path, capsys):
    """`show --judge` says it, and keeps it in report.json and in the PNG."""
    asked = [
        "show",
        "tiny-vgg16",
        "predictions:goldfish",
        "--judge",
        "tiny-vgg16",
        "--steps",
        "2",
        "--size",
        "64",
    ]
    assert main([*asked, "--out", str(tmp_path)]) == 0
    assert "  tiny-vgg16: " in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "report.json").read_text())
    assert set(row["judge"]) == {"network", "named", "confidence", "probability", "rank"}
    assert read_metadata(tmp_path / "predictions-0000.png")["judge"] == row["judge"]
    assert main([*asked[:-6], "--judge", "tiny-vgg61", "--out", str(tmp_path)]) == 2


def test_pictures_are_otherwise_the_same(tiny):
    """A judge changes no picture."""
    one, other = (fs.visualize(tiny, "predictions:3", judge=j, **QUICK) for j in (None, tiny))
    assert one.judge is None
    assert np.array_equal(one.image, other.image)


def test_a_judge_sees_pictures_at_its_own_size(tiny):
    """A picture of 128 px is judged as it is once resized to the 64 px that the judge was trained on."""
    picture = fs.visualize(tiny, "predictions:goldfish", steps=2, size=128, judge=tiny, progress=False)
    (shares,) = Judge(tiny).look([picture.to_pil().resize((64, 64), 3)]).softmax
    assert picture.judge.confidence == pytest.approx(float(shares.max()), rel=1e-3)


def test_classes_are_matched_by_any_name():
    """Case, `_` and spaces aside; where two share a name the one that shares more (the WordNet id) is meant."""
    assert matching([("goldfish", "n01"), ("tench",)], [("Tench", "n02"), ("carp", "n01")]) == [1, 0]
    assert matching([("European_fire_salamander",)], [("European fire salamander",)]) == [0]
    cranes = [("crane", "n02"), ("Crane", "n03")]
    assert matching([("crane", "n03"), ("crane", "n02"), ("ox",)], cranes) == [1, 0, None]


def test_an_unfit_judge_is_refused_before_anything_is_drawn(tiny, monkeypatch):
    """A network without a softmax can name nothing."""
    import dataclasses

    from filterscope.drawing import attempts

    rows = {name: dataclasses.replace(row, softmax=None) for name, row in tiny.layers.items()}
    monkeypatch.setattr(attempts, "ascend", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(ArgumentError, match="can judge no picture: tiny-vgg16 ends in no softmax or sigmoid"):
        fs.visualize(tiny, "predictions:3", judge=dataclasses.replace(tiny, layers=rows), **QUICK)


def test_judge_weights(tmp_path, capsys):
    """A judge's own weights; alone the option is refused."""
    from filterscope.networks import open_network

    weights = open_network("tiny-vgg16").weights.path
    asked = ["show", "tiny-vgg16", "block1_conv1:3", "--steps", "2", "--size", "64", "--out", str(tmp_path)]
    assert main([*asked, "--judge-weights", str(weights)]) == 2
    assert "--judge NET" in capsys.readouterr().err
    assert main([*asked, "--judge", "tiny-vgg16", "--judge-weights", str(tmp_path / "no.safetensors")]) == 2
    assert "no.safetensors" in capsys.readouterr().err
    assert main([*asked, "--judge", "tiny-vgg16", "--judge-weights", str(weights)]) == 0


def test_a_picture_too_small_for_its_judge(tiny):
    """It is resized to the judge's own size."""
    assert fs.visualize(tiny, "block1_conv1:1", steps=2, size=8, judge=tiny, progress=False).judge.named
