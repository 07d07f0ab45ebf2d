"""The blog's stages side by side, and the demo's page."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from filterscope.cli import main
from filterscope.ladder import draw_ladder
from filterscope.pictures.page import Section, write_page
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
    import filterscope.ladder as ladder

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


def test_the_page_shows_each_sheet_and_escapes_text(tmp_path):
    """One picture a section, found beside the page; text cannot become markup."""
    page = write_page(
        tmp_path / "index.html", "A <title>", [Section("One", "x < y", "a.png"), Section("Two", "", "b.png")]
    )
    text = page.read_text()
    assert re.findall(r'<img src="([^"]+)"', text) == ["a.png", "b.png"]
    assert "x &lt; y" in text
    assert "http" not in text  # nothing is fetched


@pytest.fixture
def short_demo(monkeypatch):
    """The demo with few steps of small pictures."""
    import filterscope.demo as demo

    real = demo.get_recipe
    monkeypatch.setattr(demo, "get_recipe", lambda name, **kw: real(name, steps=2, size=32))


def test_the_demo_names_its_sheets_and_page(tmp_path, capsys, short_demo):
    """`filterscope demo` with few steps: every sheet is named, exists, and is on the page."""
    assert main(["demo", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    files = re.findall(r'<img src="([^"]+)"', (tmp_path / "index.html").read_text())
    assert len(files) == 6
    for file in files:
        assert (tmp_path / file).is_file()
        assert file in printed
    assert "index.html" in printed


def test_the_demo_says_what_it_draws_and_how_long_it_takes(tmp_path, capsys, short_demo):
    """Where there is no terminal too: the whole first, then what is being drawn and what is left before each sheet."""
    assert main(["demo", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"6 sheets of tiny-vgg16, about \d+ (s|min) in all; Ctrl-C keeps what is finished", lines[0]
    )
    announced = [line for line in lines if re.match(r"\d of 6, about [\d.]+ (s|min) left: \w", line)]
    assert [line[0] for line in announced] == list("123456")
    for line in announced:
        assert lines[lines.index(line) + 1].endswith(".png")  # said before the sheet is there


def test_the_demo_says_nothing_where_it_is_quiet(tmp_path, capsys, short_demo):
    """--quiet: the sheets alone."""
    assert main(["demo", "--quiet", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "ladder.png").is_file()
