"""benchmarks/page.py and result_files.py: the documents' tables are what the results make, whole and never empty."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import page, result_files

from filterscope.recipe import PRESETS

HOME = Path(__file__).resolve().parents[2]
DOCUMENTS = [HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))]
RESULTS = sorted(result_files.FOLDER.glob("*.json"))
HOW = {"machine": "two cores", "versions": {"lucent": "1"}}


def tables(text: str) -> list[list[list[str]]]:
    """Every table of a page: rows of cells, without the line under the header."""
    found = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    rows = [[line.strip()[1:-1].split(" | ") for line in table.splitlines()] for table in found]
    return [[table[0], *table[2:]] for table in rows]


@pytest.mark.parametrize("path", page.PAGES, ids=lambda path: path.name)
def test_the_pages_are_what_the_command_makes(path):
    """After a run: `python -m benchmarks.page`."""
    text = path.read_text(encoding="utf-8")
    assert page.TABLE.search(text)
    assert text == page.made(text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_table_is_empty(path):
    """Each has rows, and each row says something beside its first cell."""
    for table in tables(path.read_text(encoding="utf-8")):
        header, *rows = table
        assert rows, header
        for row in rows:
            assert any(cell.strip() for cell in row[1:]), row


def test_every_table_of_what_was_measured_is_made():
    """None on the page but those between marks."""
    text = (HOME / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert tables(page.TABLE.sub("", text)) == []
    assert len(tables(text)) >= 10


def test_every_program_has_its_row():
    """Side by side: all presets but the slow one and the newest, and both peers, on both networks; the README's five."""
    rows = result_files.read(result_files.FOLDER / "quality.json")["side by side"]["rows"]
    programs = [*(name for name in PRESETS if name not in ("maco", "robust")), "lucent", "tf-keras-vis"]
    found = {tuple(row["row"]) for row in rows if row["excitation"] and row["success"] is not None}
    assert found >= {(network, program) for network in ("vgg16", "tiny-vgg16") for program in programs}
    shown = page.table("quality / side by side / compared")
    assert all(name in shown for name, _ in page.SHOWN.values())


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_say_how_they_were_come_by(path):
    """Where and by which command, or from where they were copied; no place on anybody's disk."""
    for name, part in result_files.read(path).items():
        assert part["rows"], name
        assert part["machine"], name
        assert part.get("source") or (part["command"] and part["versions"] and part["when"]), name
    assert not re.search(r"/(home|root|work|tmp|Users)/", path.read_text(encoding="utf-8"))


def test_what_is_kept_is_read_back(tmp_path, monkeypatch):
    """A part replaces that of an earlier run; others stay, unless the run is the whole of the result."""
    monkeypatch.setattr(sys, "argv", ["/a/b/speed.py", "--weights", "/c/d.safetensors", "--jobs=deep"])
    keep = {"folder": tmp_path / "new", **HOW}
    result_files.keep("speed", {"deep": {"rows": [1]}, "own": {"rows": [2]}}, **keep)
    path = result_files.keep("speed", {"deep": {"rows": [3], "notes": ["quick"]}}, **keep)
    found = result_files.read(path)
    assert {name: part["rows"] for name, part in found.items()} == {"deep": [3], "own": [2]}
    assert found["deep"]["command"] == "python benchmarks/speed.py --weights d.safetensors --jobs=deep"
    assert found["deep"]["machine"] == "two cores"
    assert found["deep"]["notes"] == ["quick"]
    assert {"python", "torch", "lucent"} <= set(found["deep"]["versions"])
    result_files.keep("speed", {"deep": {"rows": [4]}}, beside=False, **keep)
    assert list(result_files.read(path)) == ["deep"]


def test_another_form_is_refused(tmp_path):
    """A result of a later program says so."""
    (tmp_path / "a.json").write_text(json.dumps({"form": 2, "parts": {}}))
    with pytest.raises(ValueError, match="has form 2; known is 1"):
        result_files.read(tmp_path / "a.json")


@pytest.fixture
def kept(tmp_path) -> Path:
    """A folder with one result of each kind of rows."""
    parts = {
        "figures": {
            "rows": [{"what": "a step, ", "value": 0.12345, "unit": "s", "aim": "< 1 s", "note": "once"}]
        },
        "more": {"rows": [{"what": "none", "value": None}, {"what": "many", "value": 12345.6}]},
        "numbers": {"names": ["network", "program"], "rows": [{"row": ["net", "sharp"], "success": 0.5}]},
        "cells": {"columns": ["a", "b"], "rows": [["1", "2"]], "source": "a page"},
        "none": {"rows": []},
    }
    result_files.keep("run", parts, folder=tmp_path, **HOW)
    return tmp_path


@pytest.mark.parametrize(
    ("part", "lines"),
    [
        ("figures", ["| what | found | aim |", "| a step | 0.1235 s (once) | < 1 s |"]),
        ("more", ["| what | found |", "| none | - (not measured) |", "| many | 12,346 |"]),
        ("numbers", ["| network | program | success |", "| net | sharp | 50.0% |"]),
        ("cells", ["| a | b |", "| 1 | 2 |"]),
    ],
)
def test_each_kind_of_rows_is_a_table(kept, part, lines):
    """The header, the rows, and how they were come by; between the same marks as before."""
    text = f"Words.\n\n<!-- table: run / {part} -->\nSTALE\n<!-- end of table -->\n\nMore words.\n"
    made = page.made(text, kept)
    assert [line for line in made.splitlines() if line.startswith("| ")] == lines
    assert "two cores" in made
    assert ("copied by hand: a page" in made) == (part == "cells")
    assert "STALE" not in made
    assert made.startswith("Words.\n\n<!-- table: run /")
    assert made.endswith("<!-- end of table -->\n\nMore words.\n")
    assert page.made(made, kept) == made


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("walk / figures", "has no walk.json"),
        ("run / figure", "has the parts figures, more, numbers"),
        ("run / figures / upside down", "views are"),
        ("run / none", "has no rows"),
    ],
)
def test_marks_that_name_nothing_are_refused(kept, name, said):
    """Instead of an empty table."""
    with pytest.raises(ValueError, match=said):
        page.table(name, kept)


def test_parts_together(tmp_path):
    """One table; how they were come by once where that is the same, else for each."""
    row = {"what": "a", "value": 1}
    result_files.keep("run", {"one": {"rows": [row]}, "two": {"rows": [row]}}, folder=tmp_path, **HOW)
    assert page.table("run / *", tmp_path).count("two cores") == 1
    result_files.keep("run", {"two": {"rows": [row], "notes": ["quick"]}}, folder=tmp_path, **HOW)
    made = page.table("run / *", tmp_path)
    assert made.count("| a | 1 |") == 2
    assert "- `one`: " in made
    assert "; quick" in made


def test_check_tells_a_stale_page(tmp_path, monkeypatch, capsys):
    """Exit status 1 and the difference; writing mends it."""
    copy = tmp_path / "page.md"
    copy.write_text("<!-- table: quality / side by side / compared -->\n\nold\n\n<!-- end of table -->\n")
    monkeypatch.setattr(page, "PAGES", (copy,))
    assert page.main(["--check"]) == 1
    assert "-old" in capsys.readouterr().out
    assert page.main([]) == 0
    assert page.main(["--check"]) == 0


@pytest.mark.parametrize(
    "command",
    [
        "benchmarks/quality.py",
        "benchmarks/tune.py",
        "benchmarks/speed.py",
        "benchmarks/atlas.py",
        "-m benchmarks.page",
    ],
)
def test_the_documents_commands_run(command, tmp_path):
    """From a checkout, without its folder on the path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *command.split(), "--help"],
        cwd=HOME,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    "path", sorted((HOME / "benchmarks" / "runners").glob("*.py")), ids=lambda path: path.stem
)
def test_runners_import_nothing_of_ours(path):
    """What the peers' interpreters run imports its neighbours and what is installed there, but none of our packages."""
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    assert not found & {"filterscope", "benchmarks", "tests", "training"}
