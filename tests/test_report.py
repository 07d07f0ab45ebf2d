"""report.py: several commands into one folder; what each drew stays in the report, and no sheet is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filterscope import files as files_module
from filterscope.cli import main
from filterscope.drawing.draw import draw
from filterscope.errors import ArgumentError, OutputError
from filterscope.formats import REPORT_ROW
from filterscope.pictures.picture import Picture
from filterscope.pictures.sheet import Sheet, save_sheet
from filterscope.report import add_to_report, check_folder, read_report, update_report

QUICK = ["--recipe", "blog", "--steps", "2", "--size", "16"]


def show(*arguments, out: Path, quick=QUICK) -> int:
    """The quickest possible `filterscope show tiny-vgg16 ...`."""
    return main(["show", "tiny-vgg16", *arguments, *quick, "--out", str(out)])


def rows(folder: Path) -> list[dict]:
    return json.loads((folder / "report.json").read_text())


def row(file: str, folder: Path | None = None, **more) -> dict:
    """A row, and its picture in the folder."""
    if folder is not None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"a picture")
    return {"file": file, "target": "conv:1", **more}


@pytest.fixture
def photo(tmp_path) -> Path:
    """A photograph of 32 x 24 px."""
    values = np.random.default_rng(5).integers(40, 216, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


# --- what counts is that a picture was written ----------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-7200, -2.5, 7200])
def test_no_clock_is_asked(tmp_path, monkeypatch, capsys, seconds):
    """Files of a disk whose clock is behind or ahead: the report, the sheet and the count are the same."""
    real = Picture.save

    def on_another_clock(self, path):
        place = real(self, path)
        time = place.stat().st_mtime + seconds
        os.utime(place, (time, time))
        return place

    monkeypatch.setattr(Picture, "save", on_another_clock)
    assert show("block2_conv1:3,7", out=tmp_path) == 0
    assert f"2 pictures in {tmp_path}: sheet.png, report.json" in capsys.readouterr().out
    assert [r["file"] for r in rows(tmp_path)] == ["block2_conv1-0003.png", "block2_conv1-0007.png"]
    assert (tmp_path / "sheet.png").is_file()


def test_an_older_file_of_that_name_does_not_count(tmp_path, monkeypatch, capsys):
    """A picture that could not be written is not reported, though a new file of its name is there."""
    (tmp_path / "block2_conv1-0003.png").write_bytes(b"somebody else's, just written")

    def full(self, path):
        raise OutputError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(Picture, "save", full)
    assert show("block2_conv1:3", out=tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["block2_conv1-0003.png"]
    assert "1 picture" not in capsys.readouterr().out


def test_ctrl_c_between_a_file_and_its_being_counted(tmp_path, monkeypatch):
    """The file is whole and has the picture's very bytes: it is reported."""
    real = Picture.save

    def interrupted(self, path):
        real(self, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Picture, "save", interrupted)
    assert show("block2_conv1:3,4", out=tmp_path) == 130
    assert [r["file"] for r in rows(tmp_path)] == ["block2_conv1-0003.png"]


# --- several commands, one folder -----------------------------------------------------------------------------


def test_a_second_command(tmp_path, capsys):
    """Both commands' pictures are in the report; what is drawn again is there once, as it was drawn last."""
    show("block2_conv1:3,4", out=tmp_path)
    show("predictions:goldfish", "block2_conv1:4", "--seed", "9", out=tmp_path)
    found = {r["file"]: r["seed"] for r in rows(tmp_path)}
    assert found == {"block2_conv1-0003.png": 0, "predictions-0000.png": 9, "block2_conv1-0004.png": 9}
    assert len(rows(tmp_path)) == 3
    assert all(r["format"] == REPORT_ROW.number for r in rows(tmp_path))


def test_json_has_what_this_command_drew(tmp_path, capsys):
    """For machines: the rows of this command alone."""
    show("block2_conv1:3", "--quiet", out=tmp_path)
    show("block2_conv1:4", "--json", out=tmp_path)
    assert json.loads(capsys.readouterr().out) == rows(tmp_path)[1:]


def test_a_picture_that_is_gone(tmp_path):
    """Its row goes with it."""
    show("block2_conv1:3,4", out=tmp_path)
    (tmp_path / "block2_conv1-0003.png").unlink()
    show("block2_conv1:5", out=tmp_path)
    assert [r["file"] for r in rows(tmp_path)] == ["block2_conv1-0004.png", "block2_conv1-0005.png"]


def test_all_commands_into_one_folder(tmp_path, photo, capsys):
    """Every picture of each command is in the report, also one that another of its name moved away."""
    out = tmp_path / "out"
    size = ["--steps", "2", "--size", "32", "--out", str(out), "-q"]
    commands = [
        ["show", "tiny-vgg16", "block2_conv1:3,4"],
        ["ladder", "tiny-vgg16", "predictions:goldfish"],
        ["dream", "tiny-vgg16", str(photo), "--layers", "block2_conv1", "--octaves", "1"],
        ["invert", "tiny-vgg16", str(photo), "block1_conv1", "block1_conv2"],
        ["caricature", "tiny-vgg16", str(photo), "block2_conv1"],
        ["accentuate", "tiny-vgg16", str(photo), "block2_conv1:3"],
        ["compare", "tiny-vgg16", "tiny-vgg16", "block1_conv1:2"],
        ["show", "tiny-vgg16", "block1_conv1:5"],
    ]
    for command in commands:
        assert main([*command, *size]) == 0, command
    for command in (
        ["locate", "tiny-vgg16", str(photo), "block2_conv1:3"],
        ["kernels", "tiny-vgg16", "block1_conv1:0-3"],
        ["kernels", "tiny-vgg16", "block1_conv1:4,5"],
        ["examples", "tiny-vgg16", "block1_conv1:0", "--images", str(photo.parent)],
    ):
        assert main([*command, "--out", str(out), "-q"]) == 0, command
    told = {one["file"] for r in rows(out) for one in ([r] if "file" in r else [r["a"], r["b"]])}
    sheets = {"sheet.png", "sheet-1.png", "sheet-2.png", "ladder.png", "compare.png"}
    there = {p.relative_to(out).as_posix() for p in out.rglob("*.png")} - sheets
    assert told == {name for name in there if "sprite" not in name}
    assert len(told) == 2 + 4 + 1 + 2 + 1 + 1 + 2 + 1 + 1 + 2 + 1
    units = {r["file"]: r["units"] for r in rows(out) if r.get("kind") == "kernels"}
    assert units == {"block1_conv1-kernels-1.png": [0, 1, 2, 3], "block1_conv1-kernels.png": [4, 5]}
    assert {p.name for p in out.glob("*.png")} >= sheets


def test_a_ladder_that_is_interrupted(tmp_path, monkeypatch, capsys):
    """What was finished is in the report, and said."""
    import filterscope.drawing.ladder as ladder

    def drawing(net, targets, recipe, *how, **more):
        if recipe.name == "lp":
            raise KeyboardInterrupt
        return draw(net, targets, recipe, *how, **more)

    monkeypatch.setattr(ladder, "draw", drawing)
    words = [
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
    assert main(words) == 130
    assert [r["file"] for r in rows(tmp_path)] == [
        "naive/predictions-0000.png",
        "linear/predictions-0000.png",
    ]
    assert f"2 of 4 pictures were finished and are kept in {tmp_path}" in capsys.readouterr().err


def test_rerun_into_a_folder_with_a_report(tmp_path, capsys):
    """A picture that `rerun` replaces there has its new row; a folder without a report gets none."""
    show("block2_conv1:3", "--seed", "1", out=tmp_path / "a")
    show("block2_conv1:3", "--seed", "2", out=tmp_path / "b")
    assert main(["rerun", str(tmp_path / "a" / "block2_conv1-0003.png"), "--out", str(tmp_path / "b")]) == 0
    assert [r["seed"] for r in rows(tmp_path / "b")] == [1]
    assert main(["rerun", str(tmp_path / "a" / "block2_conv1-0003.png"), "--out", str(tmp_path / "c")]) == 0
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["block2_conv1-0003.png"]


def test_a_sheet_saved_from_python(tmp_path, picture):
    """The report of a folder is told of pictures that Python saves there, and none is made where there is none."""
    Sheet([picture()]).save(tmp_path / "new")
    assert not (tmp_path / "new" / "report.json").exists()
    show("block2_conv1:3", out=tmp_path)
    Sheet([picture()]).save(tmp_path)
    assert [r["file"] for r in rows(tmp_path)] == ["block2_conv1-0003.png", "block3_conv1-0034.png"]
    assert (tmp_path / "sheet-1.png").is_file()


def test_two_programs_at_once(tmp_path):
    """Each adds its rows to what the other has written meanwhile."""
    code = (
        "import sys; from filterscope.report import add_to_report\n"
        "for i in range(30): add_to_report(sys.argv[1], [{'file': f'{sys.argv[2]}-{i}.png'}])"
    )
    for name in "ab":
        for i in range(30):
            (tmp_path / f"{name}-{i}.png").touch()
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(rows(tmp_path)) == 60


def test_without_locks(tmp_path, monkeypatch):
    """Where the system has none, the report is written all the same."""
    monkeypatch.setattr(files_module, "fcntl", None)
    add_to_report(tmp_path, [row("a.png", tmp_path)])
    assert len(rows(tmp_path)) == 1


# --- rows -------------------------------------------------------------------------------------------------------


def test_pairs(tmp_path):
    """A pair holds while both of its pictures do; what is left of it is a row of its own."""
    pair = {"target": "conv:1", "a": row("A/x.png", tmp_path), "b": row("B/x.png", tmp_path)}
    other = {"target": "conv:2", "a": row("A/y.png", tmp_path), "b": row("B/y.png", tmp_path)}
    add_to_report(tmp_path, [pair, other])
    add_to_report(tmp_path, [row("A/x.png", seed=3)])
    (tmp_path / "B" / "y.png").unlink()
    add_to_report(tmp_path, [])
    found = [(r["file"], r.get("seed")) for r in rows(tmp_path)]
    assert found == [("B/x.png", None), ("A/y.png", None), ("A/x.png", 3)]


@pytest.mark.parametrize("file", ["../outside.png", "/etc/hostname", "a/../../outside.png"])
def test_a_row_that_leads_out(tmp_path, file):
    """A report may come from anywhere: what lies outside of its folder is no picture of it."""
    (tmp_path / "outside.png").touch()
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps([row(file), row("a.png", folder)]))
    assert [r["file"] for r in read_report(folder)] == ["a.png"]


def test_rows_without_a_number(tmp_path):
    """What was written before rows had a number is read, and has one from then on."""
    row("a.png", tmp_path)
    (tmp_path / "report.json").write_text(json.dumps([row("a.png")]))
    add_to_report(tmp_path, [row("b.png", tmp_path)])
    assert [r["format"] for r in rows(tmp_path)] == [1, 1]


FOREIGN = [
    ("{", "cannot be read"),
    ("", "cannot be read"),
    ("[" * 100_000, "cannot be read"),
    ('{"tiny-vgg16": {"pictures": 3}}', "is no list of filterscope's pictures"),
    ("3", "is no list"),
    ("[1, 2]", "is no list"),
    ('[{"name": "x"}]', "is no list"),
    ('[{"file": "a.png"}, {"file": 4}]', "is no list"),
    ('[{"a": {"file": 4}, "b": {}}]', "is no list"),
    (b"\xff\xfe\x00", "cannot be read"),
    ('[{"file": "a.png", "format": 9}]', r"newer filterscope \(format 9; this one reads up to 1\)"),
]


@pytest.mark.parametrize(("content", "message"), FOREIGN)
@pytest.mark.parametrize(
    "command", ["show", "ladder", "dream", "invert", "accentuate", "compare", "locate", "kernels", "examples"]
)
def test_a_foreign_report_is_never_replaced(tmp_path, photo, monkeypatch, capsys, content, message, command):
    """It is refused before any work, in words; nothing of the folder changes."""
    monkeypatch.setattr("filterscope.networks.open_network", lambda *a, **kw: pytest.fail("work began"))
    out = tmp_path / "out"
    out.mkdir()
    place = out / "report.json"
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = place.read_bytes()
    words = {
        "show": ["tiny-vgg16", "block1_conv1:0"],
        "ladder": ["tiny-vgg16", "block1_conv1:0"],
        "dream": ["tiny-vgg16", str(photo)],
        "invert": ["tiny-vgg16", str(photo), "block1_conv1"],
        "accentuate": ["tiny-vgg16", str(photo), "block1_conv1:0"],
        "compare": ["tiny-vgg16", "tiny-vgg16", "block1_conv1:0"],
        "locate": ["tiny-vgg16", str(photo), "block1_conv1:0"],
        "kernels": ["tiny-vgg16", "block1_conv1"],
        "examples": ["tiny-vgg16", "block1_conv1", "--images", str(photo.parent)],
    }[command]
    assert main([command, *words, "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert str(place) in told
    with pytest.raises(ArgumentError, match=message):
        check_folder(out)
    assert (place.read_bytes(), [p.name for p in out.iterdir()]) == (before, ["report.json"])
    update_report(out, [row("a.png", out)])
    assert place.read_bytes() == before


# --- sheets -----------------------------------------------------------------------------------------------------


def shade(value: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (value, value, value))


def at(path: Path) -> int:
    with Image.open(path) as image:
        return image.getpixel((0, 0))[0]


def test_a_sheet_of_others_is_kept(tmp_path):
    """The newest has the name; a sheet of the same pictures, or of some of them, is replaced."""
    place = tmp_path / "sheet.png"
    assert save_sheet(shade(1), place, ["a", "b"]) is None
    assert save_sheet(shade(2), place, ["a", "b"]) is None
    assert save_sheet(shade(3), place, ["b", "a", "c"]) is None
    assert save_sheet(shade(4), place, ["a"]) == tmp_path / "sheet-1.png"
    assert save_sheet(shade(5), place, ["z"]) == tmp_path / "sheet-2.png"
    assert [at(tmp_path / name) for name in ("sheet-1.png", "sheet-2.png", "sheet.png")] == [3, 4, 5]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("kind", ["another program's", "damaged", "no picture", "newer"])
def test_a_sheet_of_which_nothing_is_known(tmp_path, monkeypatch, kind):
    """It is kept too."""
    place = tmp_path / "sheet.png"
    save_sheet(shade(1), place, ["a"])
    if kind == "another program's":
        shade(1).save(place)
    elif kind == "damaged":
        place.write_bytes(place.read_bytes()[:40])
    elif kind == "no picture":
        place.write_text("notes")
    else:
        place.write_bytes(place.read_bytes().replace(b'"format": 1', b'"format": 9'))
    before = place.read_bytes()
    assert save_sheet(shade(2), place, ["a"]) == tmp_path / "sheet-1.png"
    assert (tmp_path / "sheet-1.png").read_bytes() == before
    assert at(place) == 2


def test_the_same_command_twice_leaves_one_sheet(tmp_path, capsys):
    """Nothing piles up; where a sheet is kept that is said, unless told to be quiet."""
    show("block2_conv1:3", out=tmp_path)
    show("block2_conv1:3", "--seed", "5", out=tmp_path)
    assert not list(tmp_path.glob("sheet-*"))
    assert capsys.readouterr().err == ""
    show("block2_conv1:4", out=tmp_path)
    assert (
        f"the sheet of other pictures that was there is now {tmp_path / 'sheet-1.png'}"
        in capsys.readouterr().err
    )
    show("block2_conv1:5", "--quiet", out=tmp_path)
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "sheet-2.png").is_file()


def test_kernels_and_examples_keep_theirs(tmp_path, capsys):
    """Sheets that bear a layer's name are kept alike where they show other units."""
    main(["kernels", "tiny-vgg16", "block1_conv1:0-3", "--out", str(tmp_path)])
    main(["kernels", "tiny-vgg16", "block1_conv1:4-5", "--out", str(tmp_path)])
    assert (tmp_path / "block1_conv1-kernels-1.png").is_file()
    main(["kernels", "tiny-vgg16", "block1_conv1", "--out", str(tmp_path)])
    assert len(list(tmp_path.glob("*.png"))) == 2
    (tmp_path / "photos").mkdir()
    shade(7).resize((64, 64)).save(tmp_path / "photos" / "1.png")
    for units in ("0-1", "2", "1-3"):
        words = [
            "examples",
            "tiny-vgg16",
            f"block1_conv1:{units}",
            "--images",
            str(tmp_path / "photos"),
            "-q",
        ]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "block1_conv1-examples-1.png",
        "block1_conv1-examples.png",
        "report.json",
    ]


# --- the pages of a comparison ------------------------------------------------------------------------------------


def compare(*words, out: Path) -> int:
    return main(
        [
            "compare",
            "tiny-vgg16",
            "tiny-vgg16",
            *words,
            "--steps",
            "2",
            "--size",
            "32",
            "--out",
            str(out),
            "-q",
        ]
    )


def test_pages_of_another_comparison(tmp_path, monkeypatch, capsys):
    """They are replaced by those of the same pairs or more; else refused before any work, unless told."""
    assert compare("block1_conv1:0,1", out=tmp_path) == 0
    assert compare("block1_conv1:0-2", out=tmp_path) == 0
    assert not (tmp_path / "compare-1.png").exists()
    with monkeypatch.context() as patched:
        patched.setattr("filterscope.comparison.compare.draw", lambda *a, **kw: pytest.fail("work began"))
        assert compare("block1_conv1:0", out=tmp_path) == 2
    assert "holds a comparison with pairs that this one has not (block1_conv1:" in capsys.readouterr().err
    assert len(rows(tmp_path)) == 3
    assert compare("block1_conv1:5", "--overwrite", out=tmp_path) == 0
    assert len(rows(tmp_path)) == 4
    assert (tmp_path / "compare-1.png").is_file()


def test_a_foreign_page(tmp_path, capsys):
    """A page that is no comparison's is not replaced."""
    (tmp_path / "index.html").write_text("mine")
    assert compare("block1_conv1:0", out=tmp_path) == 2
    assert "holds an index.html that is no comparison's" in capsys.readouterr().err
    assert (tmp_path / "index.html").read_text() == "mine"
    assert compare("block1_conv1:0", "--overwrite", out=tmp_path) == 0
