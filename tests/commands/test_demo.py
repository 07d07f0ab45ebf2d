"""commands/demo.py: the demo's sheets and page."""

import re

import pytest

from filterscope.cli import main


@pytest.fixture
def short_demo(monkeypatch):
    """The demo with few steps of small pictures."""
    import filterscope.commands.demo as demo

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
