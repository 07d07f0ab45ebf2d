"""The two trainings in examples/ run as they stand, but for one epoch and two steps: each compares itself with one without
pictures."""

from __future__ import annotations

import json
from importlib import import_module

import pytest


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "needs", "targets"),
    [
        ("watch_keras_training", "sklearn", ["conv2:0", "digit:3"]),
        ("watch_lightning_training", "lightning", ["net.relu2:0", "net.digit:3"]),
    ],
)
def test_a_watched_training(name, needs, targets, tmp_path, monkeypatch, capsys):
    """Losses and weights are the same; the page is where it says."""
    pytest.importorskip("sklearn")
    pytest.importorskip(needs)
    example = import_module(f"examples.{name}")
    for constant, value in (("EPOCHS", 1), ("STEPS", 2), ("TARGETS", targets)):
        monkeypatch.setattr(example, constant, value)
    example.main(str(tmp_path / "out"))
    said = capsys.readouterr().out
    assert "the same to the bit without pictures" in said
    assert str(tmp_path / "out" / "index.html") in said
    turns = json.loads((tmp_path / "out" / "recording.json").read_text())["turns"]
    assert [[row["target"] for row in turn["units"]] for turn in turns] == [targets] * 2
