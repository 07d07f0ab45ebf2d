"""drawing/ladder.py: the blog's stages side by side."""

from __future__ import annotations

import json

import numpy as np

from filterscope.cli import main
from filterscope.drawing.ladder import draw_ladder
from filterscope.recipe import LADDER, get_recipe


def test_rows_are_targets_and_columns_are_stages(tiny):
    """Each picture is the one that its recipe alone gives."""
    from filterscope.drawing.draw import draw

    targets = tiny.targets("predictions:goldfish,lion")
    recipes = [get_recipe(name, steps=3, size=32) for name in LADDER]
    seen, steps = [], []
    ladder = draw_ladder(tiny, targets, recipes, on_step=steps.append, on_picture=seen.append)
    assert [[p.recipe.name for p in row] for row in ladder.rows] == [list(LADDER)] * 2
    assert [row[0].class_name for row in ladder.rows] == ["goldfish", "lion"]
    assert len(seen) == 8
    assert steps[-1].done == steps[-1].total == 3 * 4 * 2
    alone = list(draw(tiny, targets, recipes[2]))
    assert np.array_equal(ladder.rows[1][2].image, alone[1].image)
    image = ladder.to_pil()
    assert image.width > image.height


def test_rows_of_several_layers_name_theirs(tiny, monkeypatch):
    """Filter 3 of two layers is told apart under the picture; of one layer there is nothing to tell."""
    import filterscope.drawing.ladder as ladder

    captions: list[list[str]] = []
    real = ladder.compose
    monkeypatch.setattr(
        ladder,
        "compose",
        lambda tiles, **kw: captions.append([t.caption for t in tiles]) or real(tiles, **kw),
    )
    recipes = [get_recipe("tv", steps=2, size=32)]
    both = [*tiny.targets("block1_conv1:3"), *tiny.targets("block2_conv1:3")]
    draw_ladder(tiny, both, recipes).to_pil()
    draw_ladder(tiny, both[:1], recipes).to_pil()
    assert captions == [["block1_conv1", "block2_conv1"], [""]]


def test_the_command_writes_the_sheet_every_picture_and_a_report(tmp_path, capsys):
    """ladder.png, a folder a stage, report.json with the probabilities."""
    code = main(
        [
            "ladder",
            "tiny-vgg16",
            "predictions:goldfish",
            "--steps",
            "2",
            "--size",
            "32",
            "--out",
            str(tmp_path),
        ]
    )
    assert code == 0
    assert "ladder.png" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["recipe"] for row in report] == list(LADDER)
    assert all(0 <= row["probability"] <= 1 for row in report)
    assert all((tmp_path / row["file"]).is_file() for row in report)
