"""benchmarks/quality/: legibility and classes: which units, the tables, what is kept, other judges, the peer's programs."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import page, result_files
from benchmarks.quality import classes, imagenet, legibility
from benchmarks.quality.peers import exported_plan_of
from benchmarks.quality.store import Kept
from tests.helpers.colours import write_colours

import filterscope
from filterscope.measure.examples import find_examples
from filterscope.target import Target

LAYER = "block2_conv1"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    return write_colours(tmp_path_factory.mktemp("photographs"))


@pytest.fixture
def quick(monkeypatch):
    """tiny-vgg16 in the place of the networks, and two steps for every picture."""
    monkeypatch.setitem(imagenet.SUBJECTS, "tiny", imagenet.Subject("tiny-vgg16", (LAYER,), "tiny-vgg16"))
    monkeypatch.setattr(imagenet.filterscope, "draw", partial(filterscope.draw, steps=2, size=32))


def test_units(tiny, photographs):
    """By chance, the same each time, and only of those that photographs excite differently."""
    natural = find_examples(tiny, [LAYER], photographs, shown=False)
    units = [target.unit for target in imagenet.choose_units(natural, 5)]
    assert units == [target.unit for target in imagenet.choose_units(natural, 5)]
    assert len(units) == 5
    found = natural[LAYER]
    alike = replace(found, best=np.where(np.arange(64) == 3, found.least, found.best))
    everything = {target.unit for target in imagenet.choose_units({LAYER: alike}, 99)}
    assert everything == {*range(64)} - {3}


def test_legibility_table():
    """Means over all units and by layer; the standard error by hand."""
    rows = [
        {"layer": layer, "unit": 0, "legibility": value, "ceiling": 0.9, "seconds": 2.0}
        for layer, value in (("a", 0.5), ("a", 0.7), ("b", 0.9))
    ]
    whole, first, second = legibility.table_rows("net", "sharp", rows)
    assert whole["row"] == ["net", "sharp", "all"]
    assert (whole["pictures"], first["pictures"], second["pictures"]) == (3, 2, 1)
    assert whole["legibility"] == pytest.approx(0.7)
    assert whole["legibility_error"] == pytest.approx(0.2 / 3**0.5)
    assert first["legibility"] == pytest.approx(0.6)
    assert second["legibility_error"] is None


def test_legibility_in_parts(quick, photographs, tmp_path, monkeypatch):
    """Each network and program is a part of the result; what is drawn is not drawn again, and features are kept."""
    asked = [
        "--out",
        str(tmp_path),
        "--results",
        str(tmp_path / "results"),
        "--images",
        str(photographs),
        "--units",
        "2",
    ]
    assert legibility.main([*asked, "--only", "tiny/sharp"]) == 0
    assert legibility.main([*asked, "--only", "tiny/default"]) == 0
    parts = result_files.read(tmp_path / "results" / "legibility.json")
    assert [*parts] == ["tiny, sharp", "tiny, default"]
    assert [row["row"] for row in parts["tiny, sharp"]["rows"]] == [
        ["tiny", "sharp", "all"],
        ["tiny", "sharp", LAYER],
    ]
    assert 0 <= parts["tiny, sharp"]["rows"][0]["legibility"] <= 1
    assert len([*tmp_path.glob("features-tiny-vgg16-*.npy")]) == 1
    table = page.table("legibility / *", tmp_path / "results")
    assert "| tiny | default | all | 2 |" in table
    monkeypatch.setattr(imagenet.filterscope, "draw", None)
    monkeypatch.setattr(
        legibility.Features, "of_files", lambda self, paths: np.stack([self.known[p] for p in paths])
    )
    assert legibility.main([*asked, "--only", "tiny/sharp"]) == 0
    with pytest.raises(SystemExit):
        legibility.main([*asked, "--only", "tiny/shrap"])


def test_classes(quick, tmp_path, monkeypatch, capsys):
    """A row for each judge, an outside one among them, which is given links to these pictures alone."""
    monkeypatch.setattr(classes, "NETWORK", "tiny")
    judge = tmp_path / "judge.py"
    judge.write_text(
        "import sys, pathlib\n"
        "names = sorted(p.name for p in pathlib.Path(sys.argv[1]).iterdir())\n"
        "assert names == ['predictions-0005.png', 'predictions-0105.png'], names\n"
        "print('D: 2 pictures, first 50%, five 100%, median rank 2')\n"
    )
    asked = ["--programs", "sharp", "--judges", "tiny-vgg16", "--step", "100", "--out", str(tmp_path)]
    asked += ["--results", str(tmp_path / "results"), "--judge-command", f"{sys.executable} {judge}"]
    assert classes.main(asked) == 0
    own, other = json.loads((tmp_path / "results" / "classes.json").read_text())["parts"]["sharp"]["rows"]
    assert own["row"] == ["sharp", "tiny-vgg16"]
    assert own["judge_rank"] >= 1
    assert (other["judge_top1"], other["judge_top5"], other["judge_rank"]) == (0.5, 1.0, 2.0)
    judge.write_text("print('no idea')")
    with pytest.raises(SystemExit, match="did not answer as a judge: no idea"):
        classes.main(asked)


def test_ranks_by_hand():
    """Shares and the median; a class that the judge does not know does not count."""

    class Judge:
        def rank(self, image, unit):
            return [1, 4, 9, None][unit]

    found = {Target("predictions", unit): Kept(np.zeros((2, 2, 3), np.uint8), 1.0, "") for unit in range(4)}
    said = classes.ranked("net", Judge(), found)
    assert said == {
        "judge": "net",
        "judge_top1": pytest.approx(1 / 3),
        "judge_top5": pytest.approx(2 / 3),
        "judge_rank": 4,
    }


def test_exported_programs(tiny, tmp_path):
    """What a peer gets of a network is the network: from its input to a layer's output, with a gradient."""
    units = [[LAYER, 3, "x.png"], ["predictions", 0, "y.png"]]
    plan = exported_plan_of(tiny, units, 0, "mark", tmp_path / "plan.json")
    assert {*plan["programs"]} == {*plan["check"]} == {LAYER, "predictions"}
    x = tiny.input.preprocess(torch.rand(1, 3, 224, 224) * 255).requires_grad_()
    (found,) = torch.export.load(plan["programs"][LAYER]).module()(x)
    torch.testing.assert_close(found, tiny.probe([LAYER]).eval()(x)[0])
    found[:, 3].mean().backward()
    assert x.grad.abs().sum() > 0
