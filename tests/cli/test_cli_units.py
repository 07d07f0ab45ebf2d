"""examples and label on the command line: sheets, classes of folders, the CSV file, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.cli import main

FAST = ["--steps", "1", "--set", "image=pixels", "--recipe", "sharp", "--precision", "float32"]
ENCODER = """
import numpy as np

class Own:
    def encode_image(self, images):
        return np.array([np.asarray(image).mean((0, 1)) for image in images])

    def encode_text(self, texts):
        return np.eye(3)[[("red", "green", "blue").index(text) for text in texts]]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures in two folders and a file beside none, a vocabulary, an encoder."""
    folder = tmp_path_factory.mktemp("units")
    rng = np.random.default_rng(0)
    for name, colour in {"blue": (0, 0, 230), "red": (230, 0, 0)}.items():
        (folder / "photographs" / name).mkdir(parents=True)
        for i in range(6):
            values = np.array(colour) + rng.integers(0, 25, (64, 64, 3))
            Image.fromarray(values.astype(np.uint8)).save(folder / "photographs" / name / f"{i}.png")
    (folder / "words.txt").write_text("red\ngreen\nblue\n")
    (folder / "own.py").write_text(ENCODER)
    return folder


def run(place, *words) -> int:
    return main([str(word) for word in words])


def test_a_sheet_with_the_drawn_picture(place, tmp_path, capsys):
    """A row a unit, with --by-class for each class that excites it: its picture, then its best photographs as crops; --count
    changes how many."""
    images = ["--images", place / "photographs"]
    asked = ["examples", "tiny-vgg16", "block1_conv1:3,7", *images, "--out", tmp_path, *FAST]
    assert run(place, *asked, "--count", 4) == 0
    assert "2 units" not in capsys.readouterr().err
    with Image.open(tmp_path / "block1_conv1-examples.png") as sheet:
        narrow = sheet.size
    (row,) = json.loads((tmp_path / "report.json").read_text())
    assert (row["kind"], row["units"]) == ("examples", [3, 7])
    assert run(place, *asked, "--by-class", "-q") == 0
    found = fs.find_examples(
        "tiny-vgg16", "block1_conv1:3,7", place / "photographs", by_class=True, progress=False
    )
    classes = sum(len(row["classes"]) for row in found)
    assert classes > 2
    with Image.open(tmp_path / "block1_conv1-examples.png") as sheet:
        assert sheet.height > 0.9 * classes / 2 * narrow[1]
        assert sheet.width > narrow[0]
    python = fs.draw_examples(
        "tiny-vgg16", "block1_conv1:3,7", place / "photographs", count=4, recipe="sharp", steps=1,
        settings={"image": "pixels"}, precision="float32", progress=False,
    )  # fmt: skip
    assert python.size == narrow


def test_classes_of_folders(place, capsys):
    """--by-class prints each unit's classes, --json has their pictures; flat folders have none, and that is said."""
    words = ["examples", "tiny-vgg16", "block1_conv1:3", "--by-class", "--images"]
    assert run(place, *words, place / "photographs") == 0
    assert "    red" in capsys.readouterr().out
    assert run(place, *words, place / "photographs", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert len(row["top"]) == 12
    assert {one["class"] for one in row["classes"]} == {"red", "blue"}
    assert row["best_class"] == row["classes"][0]["class"]
    assert run(place, *words, place / "photographs" / "red") == 2
    assert "have no classes: these are the names of subfolders" in capsys.readouterr().err


def test_label(place, tmp_path, capsys):
    """The file has a row a unit, the same as in Python; what is printed says where it is."""
    words = [
        "label",
        "tiny-vgg16",
        "block1_conv1",
        "--images",
        place / "photographs",
        "--vocabulary",
        place / "words.txt",
    ]
    encoder = ["--encoder", f"{place / 'own.py'}:Own"]
    assert run(place, *words, *encoder, "--out", tmp_path / "a" / "labels.csv") == 0
    said = capsys.readouterr().out
    assert f"32 units in {tmp_path / 'a' / 'labels.csv'}" in said
    lines = (tmp_path / "a" / "labels.csv").read_text().splitlines()
    assert lines[0] == "layer,unit,description,similarity"
    assert len(lines) == 33
    assert run(place, *words, *encoder, "--out", tmp_path / "b.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)[5]["description"] == lines[6].split(",")[2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--vocabulary", "EMPTY", "--encoder", "OWN"], "is empty: it needs a word or phrase on each line"),
        (["--vocabulary", "gone", "--encoder", "OWN"], "cannot be read as a vocabulary"),
        (["--vocabulary", "WORDS", "--encoder", "gone.py:Own"], "there is no file 'gone.py'"),
        (["--vocabulary", "WORDS", "--encoder", "WORDLESS"], "has no encode_text"),
    ],
)
def test_labels_that_cannot_be(place, tmp_path, monkeypatch, capsys, options, said):
    """Exit status 2, in a line, and no file is there afterwards."""
    monkeypatch.chdir(tmp_path)
    (place / "empty.txt").write_text("\n")
    (place / "wordless.py").write_text("class Own:\n    def encode_image(self, images): return [[1.0]]\n")
    real = {
        "EMPTY": place / "empty.txt", "WORDS": place / "words.txt", "OWN": f"{place / 'own.py'}:Own",
        "WORDLESS": f"{place / 'wordless.py'}:Own",
    }  # fmt: skip
    words = [real.get(word, word) for word in options]
    assert run(place, "label", "tiny-vgg16", "block1_conv1", "--images", place / "photographs", *words) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
