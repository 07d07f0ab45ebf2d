"""dream, invert, caricature, accentuate, locate and show --frames, as commands."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.cli import main
from filterscope.errors import OutputError
from filterscope.pictures.png import read_metadata

QUICK = ["--steps", "4", "--precision", "float32"]


@pytest.fixture
def photo(tmp_path) -> Path:
    """A photograph of 40 x 56 px on the disk."""
    values = np.random.default_rng(5).integers(40, 216, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "blobs.png"
    Image.fromarray(values).resize((56, 40), Image.Resampling.BICUBIC).save(path)
    return path


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_dream(tmp_path, photo, capsys):
    """A PNG with its recipe, and a report; the picture is the library's."""
    out = tmp_path / "out"
    layers = ["--layers", "block2_conv1=0.5,block3_conv1", "--octaves", "2", "--strength", "2"]
    assert main(["dream", "tiny-vgg16", str(photo), *layers, *QUICK, "--out", str(out), "--json"]) == 0
    name = "blobs-dream-block2_conv1+block3_conv1.png"
    assert files(out) == [name, "report.json"]
    (row,) = json.loads(capsys.readouterr().out)
    assert row == json.loads((out / "report.json").read_text())[0]
    assert (row["file"], row["photograph"], row["status"]) == (name, "blobs.png", "ok")
    assert row["activation"] > row["start"]
    told = read_metadata(out / name)
    assert told["photographs"]["image"]["file"] == "blobs.png"
    assert told["target"] == "0.5 * layer(block2_conv1) + layer(block3_conv1)"
    same = fs.dream(
        "tiny-vgg16", photo, layers={"block2_conv1": 0.5, "block3_conv1": 1}, octaves=2, strength=2, steps=4,
        precision="float32", progress=False,
    )  # fmt: skip
    assert np.array_equal(np.asarray(Image.open(out / name)), same.image)


def test_rerun_finds_the_photograph(tmp_path, photo, capsys):
    """Moved, the photograph is found no more; --image says where it is."""
    out = tmp_path / "deep" / "down" / "out"
    assert (
        main(["dream", "tiny-vgg16", str(photo), "--layers", "block2_conv1", *QUICK, "--out", str(out), "-q"])
        == 0
    )
    drawn = out / "blobs-dream-block2_conv1.png"
    assert main(["rerun", str(drawn)]) == 0
    assert "identical" in capsys.readouterr().out
    moved = photo.rename(tmp_path / "elsewhere.png")
    assert main(["rerun", str(drawn)]) == 2
    assert "--image FILE" in capsys.readouterr().err
    assert main(["rerun", str(drawn), "--image", str(moved)]) == 0
    assert "identical" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_frames(tmp_path, photo, kind):
    """--frames writes an animation beside the picture."""
    out = tmp_path / "out"
    options = ["--layers", "block1_conv1", "--frames", "4", "--format", kind, "--out", str(out), "-q"]
    assert main(["dream", "tiny-vgg16", str(photo), *options, *QUICK]) == 0
    with Image.open(out / f"blobs-dream-block1_conv1.{kind}") as film:
        assert (film.n_frames, film.size) == (4, (56, 40))


def test_zoom(tmp_path, photo):
    """--zoom makes the endless zoom."""
    out = tmp_path / "out"
    options = ["--layers", "block1_conv1", "--frames", "3", "--zoom", "--out", str(out), "-q"]
    assert main(["dream", "tiny-vgg16", str(photo), *options, *QUICK]) == 0
    with Image.open(out / "blobs-dream-block1_conv1-zoom.webp") as film:
        assert (film.n_frames, film.size) == (3, (56, 40))


def test_show_frames(tmp_path):
    """show --frames: one animation a unit, the picture over its curve."""
    options = ["--size", "16", "--frames", "5", "--format", "gif", "--out", str(tmp_path), "-q"]
    assert main(["show", "tiny-vgg16", "block2_conv1:3,7", *options, "--steps", "8"]) == 0
    for unit in (3, 7):
        with Image.open(tmp_path / f"block2_conv1-{unit:04d}.gif") as film:
            assert film.n_frames == 5
            assert film.size == (16, 16 + 24)


def test_show_frames_of_a_restart(tmp_path, trapped):
    """The animation shows the climb that gave the picture, not the one that failed before it."""
    options = [
        "--size",
        "32",
        "--steps",
        "40",
        "--frames",
        "3",
        "--format",
        "gif",
        "--out",
        str(tmp_path),
        "-q",
    ]
    assert main(["show", "tiny-vgg16", "block2_conv1:3,4", *options]) == 0
    assert [attempt for attempt, _ in trapped] == [0, 1, 1]
    picture = np.asarray(Image.open(tmp_path / "block2_conv1-0003.png").convert("RGB")).astype(int)
    with Image.open(tmp_path / "block2_conv1-0003.gif") as film:
        assert film.n_frames == 3
        film.seek(1)
        near = np.abs(np.asarray(film.convert("RGB")).astype(int)[:32, :32] - picture).mean()
        film.seek(0)
        far = np.abs(np.asarray(film.convert("RGB")).astype(int)[:32, :32] - picture).mean()
    assert near < far / 2


def test_invert_tells_its_error(tmp_path, photo, capsys):
    """Of an inversion the squared error is said, a number from 0 on, and no activation."""
    asked = ["invert", "tiny-vgg16", str(photo), "block1_conv1", *QUICK, "--size", "24"]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"match\(block1_conv1\)  error 0\.\d", said)
    assert "activation" not in said


def test_invert(tmp_path, photo):
    """One layer a picture, several a sheet besides."""
    out = tmp_path / "out"
    assert (
        main(
            [
                "invert",
                "tiny-vgg16",
                str(photo),
                "block1_conv1",
                *QUICK,
                "--size",
                "24",
                "--out",
                str(out),
                "-q",
            ]
        )
        == 0
    )
    assert files(out) == ["blobs-invert-block1_conv1.png", "report.json"]
    both = ["block1_conv1", "block2_conv1,block3_conv1"]
    assert (
        main(["invert", "tiny-vgg16", str(photo), *both, *QUICK, "--size", "24", "--out", str(out), "-q"])
        == 0
    )
    assert "sheet.png" in files(out)
    assert len(json.loads((out / "report.json").read_text())) == 3


def test_caricature_and_accentuate(tmp_path, photo, capsys):
    """Each writes its picture and says what it came to."""
    out, size = tmp_path / "out", ["--size", "24", *QUICK]
    assert main(["caricature", "tiny-vgg16", str(photo), "block2_conv1", *size, "--out", str(out)]) == 0
    assert (
        main(["accentuate", "tiny-vgg16", str(photo), "predictions:goldfish", *size, "--out", str(out)]) == 0
    )
    said = capsys.readouterr().out
    assert "caricature(block2_conv1)" in said
    assert "(the photograph's " in said
    assert {"blobs-caricature-block2_conv1.png", "blobs-accentuate-predictions-0000.png"} <= set(files(out))


@pytest.mark.parametrize("command", ["accentuate", "dream", "caricature"])
def test_a_picture_is_kept_where_its_animation_fails(tmp_path, photo, monkeypatch, capsys, command):
    """The PNG is written first: no encoder that fails costs the ascent."""

    def fail(*arguments, **more):
        raise OutputError("the encoder broke")

    monkeypatch.setattr("filterscope.drawing.recording.save_animation", fail)
    target = {
        "accentuate": ["predictions:0"],
        "dream": ["--target", "predictions:0"],
        "caricature": ["block1_conv1"],
    }
    asked = [command, "tiny-vgg16", str(photo), *target[command], "--size", "24", *QUICK, "--frames", "3"]
    assert main([*asked, "--out", str(tmp_path / "out"), "-q"]) == 1
    assert "the encoder broke" in capsys.readouterr().err
    (name,) = (n for n in files(tmp_path / "out") if n.endswith(".png"))
    assert read_metadata(tmp_path / "out" / name)["recipe"]["steps"] == 4


def test_locate(tmp_path, photo, capsys):
    """An overlay, and where the peak is."""
    out = tmp_path / "out"
    assert main(["locate", "tiny-vgg16", str(photo), "predictions:goldfish", "--out", str(out)]) == 0
    assert "most at row" in capsys.readouterr().out
    assert files(out) == ["blobs-locate-predictions-0000.png", "report.json"]
    assert main(["locate", "tiny-vgg16", str(photo), "block2_conv1:3", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert 0 <= told["peak"]["row"] < 40
    assert told["file"] == "blobs-locate-block2_conv1-0003.png"


def test_animated_input_is_said(tmp_path, capsys):
    """Of an animation the first frame is taken, which is said on standard error unless --quiet."""
    frames = [Image.new("RGB", (32, 32), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    asked = [
        "dream",
        "tiny-vgg16",
        str(tmp_path / "a.gif"),
        "--layers",
        "block1_conv1",
        *QUICK,
        "--out",
        str(tmp_path),
    ]
    assert main(asked) == 0
    assert "a.gif has 2 frames; the first one is taken" in capsys.readouterr().err
    assert main([*asked, "-q"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dream", "tiny-vgg16", "missing.jpg"], "there is no picture 'missing.jpg'"),
        (["dream", "tiny-vgg16", "."], "'.' is a folder: name a picture in it"),
        (["dream", "tiny-vgg16", "text.jpg"], "cannot be read as a picture"),
        (["dream", "tiny-vgg16", "empty.jpg"], "cannot be read as a picture"),
        (["dream", "tiny-vgg16", "PHOTO", "--layers", "block9"], "has no layer 'block9'"),
        (["dream", "tiny-vgg16", "PHOTO", "--layers", "block1_conv1", "--target", "predictions:1"], "--target stands alone"),
        (["dream", "tiny-vgg16", "PHOTO", "--recipe", "dremy"], "did you mean 'dreamy'"),
        (["dream", "tiny-vgg16", "PHOTO", "--octaves", "0"], "'--octaves'"),
        (["dream", "tiny-vgg16", "PHOTO", "--strength", "0"], "'--strength'"),
        (["dream", "tiny-vgg16", "PHOTO", "--frames", "1"], "'--frames'"),
        (["dream", "tiny-vgg16", "PHOTO", "--frames", "3", "--format", "avi"], "animations are webp, gif, mp4"),
        (["dream", "tiny-vgg16", "PHOTO", "--zoom", "--format", "gif", "--fps", "101"], "at most 50 frames a second"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--frames", "3", "--format", "gif", "--fps", "60"], "(got 60)"),
        (["dream", "tiny-vgg16", "PHOTO", "--guide", "missing.jpg"], "there is no picture 'missing.jpg'"),
        (["invert", "tiny-vgg16", "PHOTO"], "Missing argument 'LAYER...'"),
        (["invert", "tiny-vgg16", "PHOTO", "block9"], "has no layer 'block9'"),
        (["accentuate", "tiny-vgg16", "PHOTO", "predictions:0-3"], "one target at a time"),
        (["accentuate", "tiny-vgg16", "PHOTO", "predictions:0", "--keep", "-1"], "'--keep'"),
        (["locate", "tiny-vgg16", "PHOTO", "predictions:goldfsh"], "did you mean 'goldfish'"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--frames", "3", "--format", "webm"], "did you mean 'webp'"),
    ],
)  # fmt: skip
def test_refused(arguments, message, photo, tmp_path, monkeypatch, capsys):
    """Wrong arguments leave with status 2, a message and no traceback."""
    monkeypatch.chdir(tmp_path)
    Path("text.jpg").write_text("no picture")
    Path("empty.jpg").write_bytes(b"")
    assert main([str(photo) if a == "PHOTO" else a for a in arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_odd_numbers_and_photographs(tmp_path, capsys):
    """nan frames a second, a thin photograph, a file for a folder: wrong arguments, told in a line."""
    from PIL import Image

    Image.new("RGB", (2000, 3)).save(tmp_path / "thin.png")
    thin = str(tmp_path / "thin.png")
    assert main(["dream", "tiny-vgg16", thin, "--fps", "nan", "--frames", "2", "--out", str(tmp_path)]) == 2
    assert main(["locate", "tiny-vgg16", thin, "predictions:0", "--out", str(tmp_path)]) == 2
    assert "too large to go through the network whole" in capsys.readouterr().err
    assert main(["view", thin]) == 2
