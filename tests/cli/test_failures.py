"""cli/failures.py: what goes wrong is one line, with where it came from under --verbose; what was finished stays."""

import json
import operator
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.atlas import draw_atlas

import filterscope as fs
from filterscope import errors
from filterscope.cli import cli, main
from filterscope.drawing import attempts, draw
from filterscope.measure.examples import find_examples
from filterscope.pictures.reading import list_images
from filterscope.rerun import _REGISTER, draw_again

QUICK = ["--recipe", "sharp", "--steps", "2", "--size", "32"]
SHOW = ["show", "tiny-vgg16", "block1_conv1:1", *QUICK]


def allocate(*_, **__):
    return torch.empty(10**15)


def say(error: BaseException):
    def fail(*_, **__):
        raise error

    return fail


OUT = [
    (say(MemoryError()), "memory is out: draw"),
    (lambda *_, **__: np.zeros(10**15), "memory is out (Unable to allocate"),
    (allocate, "DefaultCPUAllocator: can't allocate memory"),
    (say(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")), "CUDA out of memory"),
    (say(RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you")), "not enough memory"),
    (say(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")), "ALLOC_FAILED"),
    (say(RuntimeError("std::bad_alloc")), "bad_alloc"),
]


@pytest.mark.parametrize(("fail", "said"), OUT)
def test_out_of_memory(monkeypatch, tmp_path, capsys, fail, said):
    """However it is said: what to change, and that what was finished stays."""
    monkeypatch.setattr(attempts, "ascend", fail)
    assert main([*SHOW, "--out", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert all(word in lines[0] for word in ("--size", "--precision bfloat16", "what was finished is kept"))


def test_out_of_memory_in_python(monkeypatch, tiny):
    """An error of ours, that has torch's as its cause."""
    monkeypatch.setattr(attempts, "ascend", allocate)
    with pytest.raises(fs.OutOfMemoryError, match=r"size=.* precision='bfloat16'") as error:
        fs.visualize(tiny, "block1_conv1:1", steps=2, size=32, progress=False)
    assert isinstance(error.value.__cause__, RuntimeError)
    photo = Image.new("RGB", (40, 40))
    monkeypatch.setattr(import_module("filterscope.photographs.location"), "choose_device", allocate)
    with pytest.raises(fs.OutOfMemoryError):
        fs.dream(tiny, photo, layers="block1_conv1", steps=2, progress=False)
    with pytest.raises(fs.OutOfMemoryError):
        fs.locate(tiny, photo, "block1_conv1:1")


def test_other_runtime_errors_are_not_memory(monkeypatch, tiny):
    """They stay what they are in Python."""
    monkeypatch.setattr(attempts, "ascend", say(RuntimeError("sizes do not match")))
    with pytest.raises(RuntimeError, match="sizes do not match"):
        fs.visualize(tiny, "block1_conv1:1", steps=2, size=32, progress=False)


def test_finished_pictures_stay(monkeypatch, tmp_path, capsys):
    """Memory that runs out at the second layer leaves the first one's picture, sheet and report."""
    ascend, calls = attempts.ascend, []

    def second(*arguments, **settings):
        calls.append(1)
        return ascend(*arguments, **settings) if len(calls) == 1 else allocate()

    monkeypatch.setattr(attempts, "ascend", second)
    assert (
        main(["show", "tiny-vgg16", "block1_conv1:1", "block2_conv1:1", *QUICK, "--out", str(tmp_path)]) == 1
    )
    assert {p.name for p in tmp_path.iterdir()} == {"block1_conv1-0001.png", "sheet.png", "report.json"}
    assert "1 of 2 pictures were finished and are kept" in capsys.readouterr().err


@pytest.mark.parametrize("verbose", [False, True])
def test_internal_error(monkeypatch, tmp_path, capsys, verbose):
    """A mistake of ours: its type and message, and how to see the rest."""
    monkeypatch.setattr(draw, "choose_batch", operator.index)  # TypeError, in a line of draw.py
    assert main([*SHOW, "--out", str(tmp_path), *["--verbose"] * verbose]) == 1
    said = capsys.readouterr().err
    assert "filterscope: internal error: TypeError: " in said
    assert ("Traceback" in said and "draw.py" in said) == verbose
    assert "--verbose" in said.splitlines()[-1]


def test_error_of_the_system(monkeypatch, tmp_path, capsys):
    """What the operating system says, and of which file."""
    monkeypatch.setattr(draw, "choose_batch", say(PermissionError(13, "Permission denied", "/some/place")))
    assert main([*SHOW, "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "filterscope: " in said
    assert "Permission denied" in said


OWN = """
from torch import nn

SEEN = [0]

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, x):
        x = self.a(x)
        if x.device.type != "meta":
            SEEN[0] += 1
            if SEEN[0] > 40:
                {fails}
        if x.sum() > 1e30:  # so that no graph holds it
            return x
        return self.b(x.relu())
"""


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("raise KeyError('my own trouble')", "KeyError: my own trouble"),
        ("raise ValueError('first line\\nsecond line')", "ValueError: first line"),
        ("raise Exception", "Exception: Exception"),
        ("assert False, 'never'", "AssertionError: never"),
        ("x.view(-1, 7, 11)", "RuntimeError: shape"),
        ("import sys; sys.exit(3)", "net.py, line 16: SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("verbose", [False, True])
def test_own_forward_pass(tmp_path, capsys, fails, said, verbose):
    """What a person's own code raises while it draws: one line with type and message, the whole under --verbose."""
    (tmp_path / "net.py").write_text(OWN.replace("{fails}", fails))
    more = ["--steps", "60", "--size", "32", "--out", str(tmp_path / "out"), *["-v"] * verbose]
    assert main(["show", f"{tmp_path}/net.py:Net", "b:1", *more]) in (1, 2)
    told = capsys.readouterr().err
    assert said in told.splitlines()[-1]
    assert ("Traceback" in told) == verbose
    assert ("net.py" in told and "in forward" in told) == verbose or not verbose


@pytest.mark.parametrize("verbose", [False, True])
def test_own_forward_pass_that_never_runs(tmp_path, capsys, verbose):
    """At its first picture already: type and message, and where under --verbose."""
    code = (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    )
    code += "        self.a = nn.Conv2d(3, 8, 3)\n    def forward(self, x):\n        raise KeyError('my own trouble')\n"
    (tmp_path / "net.py").write_text(code)
    assert main(["layers", f"{tmp_path}/net.py:Net", *["-v"] * verbose]) == 2
    told = capsys.readouterr().err
    assert "KeyError: my own trouble" in told.splitlines()[-1]
    assert ("net.py" in told and "line 7, in forward" in told) == verbose


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_takes_verbose(name):
    """--verbose, and -v for short."""
    options = {o for parameter in cli.commands[name].params for o in parameter.opts}
    assert {"--verbose", "-v"} <= options


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two pictures, a link to nothing, a folder of a picture's name, a pipe and a name that is no UTF-8."""
    place = tmp_path / "images"
    place.mkdir()
    for name, colour in (("a.png", (9, 99, 200)), ("b.png", (200, 99, 0))):
        Image.new("RGB", (64, 64), colour).save(place / name)
    (place / "gone.png").symlink_to(place / "nothing")
    (place / "loop.png").symlink_to(place / "loop.png")
    (place / "folder.png").mkdir()
    os.mkfifo(place / "pipe.png")
    Image.new("RGB", (64, 64)).save(os.fsdecode(os.fsencode(place) + b"/\xff.png"))
    return place


def test_what_is_no_picture_among_images(tiny, folder, capsys):
    """It is left out with a line of its own; the others are used."""
    assert len(list_images(folder)) == 7
    skipped = []
    found = find_examples(tiny, ["block1_conv1"], folder, on_skip=lambda path, _: skipped.append(path.name))
    assert sorted(skipped) == ["folder.png", "gone.png", "loop.png", "pipe.png"]
    assert len(found["block1_conv1"].images) == 3
    assert main(["examples", "tiny-vgg16", "block1_conv1:1", "--images", str(folder), "--fresh"]) == 0
    assert "gone.png" in capsys.readouterr().err
    assert main(["examples", "tiny-vgg16", "*", "--images", str(folder), "--json"]) == 0
    assert "\\udcff.png" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:left out:UserWarning")
def test_what_is_no_picture_among_an_atlas_images(tiny, folder, tmp_path):
    """Likewise for an atlas."""
    how = {"layers": ["block1_conv1"], "recipe": fs.Recipe(name="x", steps=1, size=32), "progress": False}
    assert draw_atlas(tiny, tmp_path / "atlas", images=folder, **how)["failed"] == 0
    shown = sorted((tmp_path / "atlas" / "tiny-vgg16" / "examples").glob("*.jpg"))
    colours = [np.asarray(Image.open(p)).mean((0, 1)).round(-1).astype(int).tolist() for p in shown]
    assert colours == [[10, 100, 200], [200, 100, 0], [0, 0, 0]]  # of those that could be read, by number


@pytest.mark.parametrize(
    "register",
    ['{"SHA": 3}', '{"SHA": null}', '{"SHA": ["x"]}', '{"SHA": "x\\u0000y"}', f'{{"SHA": "{"x" * 5000}"}}', "[" * 100_000,
     '{"SHA": ' + "[" * 100_000, "[]", "3", "", "\xff", '{"SHA": "/"}', '{"SHA": "' + "\\ud800" + '"}'],
)  # fmt: skip
def test_damaged_register(tiny, tmp_path, register, capsys):
    """Where weights and photographs lie is only remembered: what is damaged there counts as not known."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 40), (9, 99, 200)).save(photo)
    dreamt = fs.dream(tiny, photo, layers="block1_conv1", steps=1, octaves=1, progress=False)
    path = dreamt.save(tmp_path / "out" / "dreamt.png")
    place = _REGISTER.path
    place.parent.mkdir(parents=True, exist_ok=True)
    sha256 = dreamt.photographs["image"]["sha256"]
    place.write_bytes(register.replace("SHA", sha256).encode("latin-1"))
    assert draw_again(path).largest_difference == 0  # found in the folder above
    photo.unlink()
    with pytest.raises(errors.ImageError, match="which is not here; say where it is with image=FILE"):
        draw_again(path)
    assert main(["rerun", str(path)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_register_that_is_damaged_is_written_anew(tiny_file, tmp_path):
    """And then holds what is known again."""
    place = _REGISTER.path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text('{"x": 3, "y": ' + "[" * 100_000)
    assert (
        main(
            [
                "show",
                "tiny-vgg16",
                "block1_conv1:1",
                "--weights",
                str(tiny_file),
                *QUICK,
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert str(tiny_file) in json.dumps(json.loads(place.read_text()))


SMALL_ATLAS = ["atlas", "tiny-vgg16", "--layers", "block1_conv1", "--steps", "1", "--size", "16", "--out"]


@pytest.mark.parametrize("content", ["[" * 100_000, "3", '{"format": 1, "networks": [3]}', "", "{}"])
def test_damaged_atlas_json(monkeypatch, tmp_path, capsys, content):
    """What an atlas says of itself is read with care."""
    monkeypatch.setattr("filterscope.viewer.app.server", lambda _: SimpleNamespace(run=lambda **__: None))
    (tmp_path / "atlas.json").write_text(content)
    words = [*SMALL_ATLAS, str(tmp_path)]
    for command in (words, ["view", str(tmp_path)]):
        assert main(command) in (0, 1, 2)
        assert "internal error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    ['{"turn": "x", "units": {}}', '{"units": {}}', '{"turn": 1, "units": {"block1_conv1": [[-1, 0]]}}',
     '{"turn": 1, "units": {"block1_conv1": [[1, 4611686018427387904]]}}', '{"turn": 1, "units": [3]}', "[" * 100_000],
)  # fmt: skip
def test_damaged_round_of_retry(tmp_path, capsys, content):
    """So is a round of `--retry`."""
    words = [*SMALL_ATLAS, str(tmp_path), "-q"]
    assert main(words) == 0
    (tmp_path / "tiny-vgg16" / "retry-001.json").write_text(content)
    assert main([*words, "--retry"]) == 1
    assert "retry-001.json is damaged" in capsys.readouterr().err


def test_checkpoint_with_names_that_are_no_text(tmp_path, capsys):
    """An archive whose table of contents cannot be decoded."""
    (tmp_path / "net.py").write_text(OWN.replace("{fails}", "pass"))
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    at = content.rindex(b"w/data.pkl")
    (tmp_path / "w.pth").write_bytes(content[:at] + b"\x80\xff" + content[at + 2 :])
    assert main(["layers", f"{tmp_path}/net.py:Net", "--weights", str(tmp_path / "w.pth")]) == 2
    assert "w.pth" in capsys.readouterr().err


def test_a_reader_that_has_gone():
    """Where the pipe that a command writes to is closed, as by `head`, nothing is said of it."""
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "filterscope", "layers", "tiny-vgg16"]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.fixture(scope="module")
def refused_from(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photograph, a file that is none, and a folder of photographs."""
    place = tmp_path_factory.mktemp("refused")
    (place / "DIR").mkdir()
    for name in ("photo.png", "DIR/a.png", "DIR/b.png"):
        Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(place / name)
    (place / "text.png").write_text("no picture")
    return place


REFUSED = [
    "show tiny-vgg16 block9:1", "show nothing block1_conv1:1", "show tiny-vgg16 concept(block1_conv1,none.npy,0)",
    "ladder tiny-vgg16 block9:1", "dream tiny-vgg16 text.png", "dream tiny-vgg16 photo.png --layers block9",
    "invert tiny-vgg16 photo.png block9", "caricature tiny-vgg16 photo.png block9",
    "accentuate tiny-vgg16 photo.png block9:1", "locate tiny-vgg16 photo.png predictions:goldfsh",
    "explain tiny-vgg16 text.png", "explain tiny-vgg16 photo.png goldfsh",
    "explain tiny-vgg16 photo.png --layers block9", "kernels tiny-vgg16 block9", "wires tiny-vgg16 block9:1",
    "wires tiny-vgg16 block1_conv1:0", "examples tiny-vgg16 block9 --images DIR",
    "examples tiny-vgg16 block1_conv1 --images NONE", "concepts tiny-vgg16 block9 --images DIR",
    "concepts tiny-vgg16 block4_conv3 --images NONE", "atlas tiny-vgg16 --layers block9",
    "atlas tiny-vgg16 --map block9 --images DIR", "atlas tiny-vgg16 --map block4_conv3",
    "compare tiny-vgg16 tiny-vgg16 block9:1", "compare tiny-vgg16 tiny-vgg16 --map block9 --images DIR",
    "rerun photo.png",
]  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_refused_work_leaves_no_folder(words, refused_from, tmp_path, monkeypatch, capsys):
    """Neither the folder of --out nor one above it."""
    monkeypatch.chdir(refused_from)
    before = sorted(refused_from.rglob("*"))
    assert main([*words.split(), "--out", str(tmp_path / "new" / "out")]) in (1, 2)
    assert capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert sorted(refused_from.rglob("*")) == before


def test_every_command_that_writes_a_folder_is_refused_once():
    """But those whose --out is a file, and the tour, which takes no other argument."""
    writing = {
        name for name, command in cli.commands.items() if any("--out" in one.opts for one in command.params)
    }
    assert writing - {"label", "demo"} == {words.split()[0] for words in REFUSED}
