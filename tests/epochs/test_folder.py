"""Which folder and which epoch a run goes on at, by epochs and by weights."""

from __future__ import annotations

import json

import pytest

from filterscope.epochs.folder import Recording, open_recording, read_recording

SAME = {"targets": ["a:1"], "seed": 0}


def turn(epoch: int, weights: str, file: str = "epoch-00001/a.png") -> dict:
    return {"epoch": epoch, "weights_sha256": weights, "units": [{"name": "a", "file": file}]}


def written(folder, turns=None) -> Recording:
    found = Recording(folder, SAME, turns or [turn(1, "w1"), turn(2, "w2"), turn(3, "w3")])
    folder.mkdir(exist_ok=True)
    found.save()
    return found


@pytest.mark.parametrize(
    ("epoch", "now", "start", "number"),
    [
        (4, "x", "y", 4),  # later epochs
        (9, "x", None, 9),
        (1, "x", "w3", 4),  # its epochs begin anew, at 1 or at 0, from weights that are there
        (0, "x", "w3", 4),
        (2, "x", "w3", 5),  # every second one
        (0, "w3", "w3", 3),  # the weights it begins with, drawn first
        (2, "x", "y", 2),  # from a middle epoch on
        (2, "x", "w1", 2),
        (1, "x", "y", None),  # another training
        (0, "x", None, None),
    ],
)
def test_where_a_run_goes_on(tmp_path, epoch, now, start, number):
    """The number that its first epoch has there; None where it gets a folder of its own."""
    written(tmp_path / "out")
    found = open_recording(tmp_path / "out", SAME, epoch, now, start)
    if number is None:
        assert found.folder == tmp_path / "out-1"
        assert (found.turns, found.shift) == ([], 0)
    else:
        assert found.folder == tmp_path / "out"
        assert epoch + found.shift == number


def test_the_second_folder_is_gone_on_in_too(tmp_path):
    """The first of the folders that fits."""
    Recording(tmp_path / "out", {**SAME, "seed": 1}, [turn(1, "w1")]).save()
    written(tmp_path / "out-1")
    assert open_recording(tmp_path / "out", SAME, 4, "x", None).folder == tmp_path / "out-1"
    assert open_recording(tmp_path / "out", SAME, 1, "x", None).folder == tmp_path / "out-2"


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        json.dumps({"format": 99, "turns": []}),
        json.dumps({"format": 1, "identity": {}, "steps": None, "turns": [turn(1, "w", "../../etc/passwd")]}),
    ],
)
def test_what_cannot_be_read_is_left_alone(tmp_path, damage):
    """Also what leads out of the folder, and a page of something else."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "recording.json").write_text(damage)
    assert read_recording(out) is None
    assert open_recording(out, SAME, 1, "x", None).folder == tmp_path / "out-1"
    (tmp_path / "out-1").mkdir()
    (tmp_path / "out-1" / "index.html").write_text("an atlas")
    assert open_recording(out, SAME, 1, "x", None).folder == tmp_path / "out-2"
