"""No words on a command line and no damage to a file show a traceback: what is wrong is said, or nothing was.

-m slow tries hundreds of each.
"""

import contextlib
import io
import json
import os
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras import layers
from PIL import Image
from platformdirs import user_cache_path
from safetensors.torch import save_file
from tests.helpers.damage import WORDS, damaged_bytes, damaged_json
from torch import nn

import filterscope as fs
from filterscope.cli import cli, main
from filterscope.errors import WorkError
from filterscope.pictures.png import encode_png, read_metadata

FEW = settings(max_examples=25, suppress_health_check=list(HealthCheck))
MANY = settings(
    max_examples=600,
    suppress_health_check=list(HealthCheck),
    derandomize=False,
    phases=(Phase.explicit, Phase.generate),  # the smallest case is not looked for: that takes many more
)
NETPY = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))\n"
SMALL = {"steps": 1, "size": 16, "progress": False}


def tried(*words: str) -> str:
    """What a command says on standard error; no traceback, and a word where it fails."""
    said, out = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        warnings.simplefilter("ignore")
        status = main(list(words))
    told = said.getvalue()
    assert status in (0, 1, 2), (words, status)
    assert "internal error" not in told, (words, told)
    assert "Traceback" not in told, (words, told)
    assert status == 0 or told.strip(), words
    return told


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one good file of each kind, where all commands run."""
    folder = tmp_path_factory.mktemp("fuzz")
    before = Path.cwd()
    os.chdir(folder)
    made(folder)
    yield {"report": Path("reported/report.json").read_bytes()}
    os.chdir(before)


def made(folder: Path) -> None:
    Path("net.py").write_text(NETPY)
    Path("images").mkdir()
    for name, colour in (("a", (9, 99, 200)), ("b", (200, 99, 0))):
        Image.new("RGB", (40, 40), colour).save(f"images/{name}.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save("photo.jpg")
    net = fs.open_network("tiny-vgg16")
    fs.visualize(net, "block1_conv1:1", **SMALL).save("drawn.png")
    fs.dream(net, "photo.jpg", layers="block1_conv1", octaves=1, steps=1, size=16, progress=False).save(
        "dreamt.png"
    )
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    torch.save({"state_dict": module.state_dict(), "epoch": 3}, "w.pth")
    torch.save(module.state_dict(), "old.pth", _use_new_zipfile_serialization=False)
    save_file(module.state_dict(), "w.safetensors")
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(2)]
    )
    model.save("model.keras")
    model.save_weights("model.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save("model.h5")
        torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 8, 8),)), "program.pt2")
    assert h5py.is_hdf5("model.h5")
    tried(*ATLAS)
    tried(*REPORTED)
    Path("empty").touch()
    Path("dangling.png").symlink_to("nothing")


REPORTED = ["show", "tiny-vgg16", "block1_conv1:1", "--steps", "1", "--size", "16", "--out", "reported", "-q"]
ATLAS = [
    "atlas", "tiny-vgg16", "--layers", "block1_conv1", "--images", "images", "--steps", "1", "--size", "16",
    "--out", "atlas", "-q",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch, place):
    """Nothing long is drawn, no server waits, and no tour of the package is made."""
    from filterscope.drawing import attempts

    monkeypatch.setattr(attempts, "ascend", only_small(attempts.ascend))
    monkeypatch.setattr("filterscope.commands.demo.draw_demo", lambda *_, **__: None)
    monkeypatch.setattr("filterscope.viewer.app.server", lambda _: SimpleNamespace(run=lambda **__: None))


def only_small(ascend):
    def small(prepared, goals, recipe, **how):
        sides = how["size"] if isinstance(how["size"], tuple) else (how["size"],)
        if recipe.steps > 2 or max(sides) > 64:
            raise WorkError("enough of it")
        return ascend(prepared, goals, recipe, **how)

    return small


# --- words ----------------------------------------------------------------------------------------------------

FILES = [
    "empty",
    "dangling.png",
    "photo.jpg",
    "drawn.png",
    "images",
    "model.keras",
    "model.h5",
    "w.pth",
    "atlas",
    "program.pt2",
]
NETS = ["tiny-vgg16"] * 6 + ["net.py:make", "model.keras", "program.pt2", "w.pth", "resnet18"]
TARGETS = ["block1_conv1:1"] * 4 + ["predictions:goldfish", "layer(block1_conv1)", "0:1", "conv2d:1"]
IMAGES = ["photo.jpg"] * 4 + ["drawn.png", "dangling.png", "images"]
POOLS = {
    "net": NETS, "net_a": NETS, "net_b": NETS, "judge": NETS, "targets": TARGETS, "target": TARGETS, "layer": TARGETS,
    "layers": ["block1_conv1"] * 4 + TARGETS, "image": IMAGES, "images": [*IMAGES, "images"], "guide": IMAGES,
    "picture": ["drawn.png", "dreamt.png", *FILES], "folder": ["atlas", *FILES],
    "recipe": ["sharp", "blog", "maco", "dream"],
    "settings": ["optimizer.lr=0.1", "image=phase", "facets.count=2", "stages=[]", "transforms=[]"],
    "format": ["webp", "gif", "mp4"], "film": ["webp", "gif"], "on": ["local"],
}  # fmt: skip
# of these the values that are drawn at random are small, or the work would be long and right
NUMBERS = {"frames", "steps", "octaves", "size", "top", "size_of_input", "workers"}
LEFT_OUT = {"verbose", "help", "on", "address", "host", "port"}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = cli.commands[draw(st.sampled_from(sorted(cli.commands)))]
    words = [str(command.name)]
    options = [p for p in command.params if p.param_type_name == "option" and p.name not in LEFT_OUT]
    for argument in (p for p in command.params if p.param_type_name == "argument"):
        words += [draw(word(argument.name))]
    chosen = draw(st.lists(st.sampled_from(options), max_size=3, unique_by=lambda o: o.name))
    for option in chosen:
        words += [option.opts[0], *([] if option.is_flag else [draw(word(option.name))])]
    known = {option.name for option in chosen}
    for name, value in (
        ("steps", "1"),
        ("size", "16"),
        ("net", "tiny-vgg16"),
        ("images", "images"),
        ("layers", "block1_conv1"),
    ):
        usual = next((o for o in options if o.name == name), None)
        if usual is not None and name not in known and not (name == "images" and command.name == "atlas"):
            words += [usual.opts[0], value]
    return words


def word(name: str) -> st.SearchStrategy[str]:
    pool = POOLS.get(name, ["1", "2"])
    odd = WORDS + FILES
    return (
        st.sampled_from(pool)
        | st.sampled_from(pool)
        | st.sampled_from(odd)
        | st.text(max_size=12).filter(printable)
    )


def printable(text: str) -> bool:
    return "\0" not in text


def words_at_random(words):
    before = set(Path().iterdir())
    tried(*words)
    for path in set(Path().iterdir()) - before:  # what it wrote under any name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@FEW
@given(command_lines())
def test_words(words):
    """Any options and arguments of any command."""
    words_at_random(words)


@pytest.mark.slow
@MANY
@given(command_lines())
def test_many_words(words):
    """The same by the hundred, others each time."""
    words_at_random(words)


# --- damaged files --------------------------------------------------------------------------------------------

BYTES = {  # file -> what reads it
    "drawn.png": [["rerun", "FILE"], ["classify", "FILE", "--net", "tiny-vgg16", "--size", "16"]],
    "photo.jpg": [["dream", "tiny-vgg16", "FILE", "--layers", "block1_conv1", "--octaves", "1", "--steps", "1"]],
    "w.safetensors": [["show", "net.py:make", "0:1", "--weights", "FILE", "--steps", "1", "--size", "16"]],
    "w.pth": [["show", "net.py:make", "0:1", "--weights", "FILE", "--steps", "1", "--size", "16"]],
    "old.pth": [["layers", "net.py:make", "--weights", "FILE"]],
    "model.keras": [["layers", "FILE"], ["show", "FILE", "conv2d:1", "--steps", "1", "--size", "8"]],
    "model.h5": [["layers", "FILE"], ["show", "FILE", "conv2d:1", "--steps", "1", "--size", "8"]],
    "model.weights.h5": [["show", "model.keras", "conv2d:1", "--weights", "FILE", "--steps", "1", "--size", "8"]],
    "program.pt2": [["layers", "FILE"], ["show", "FILE", "0:1", "--steps", "1", "--size", "8"]],
}  # fmt: skip


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[str, bytes, list[str]]:
    name = draw(st.sampled_from(sorted(BYTES)))
    content = Path(name).read_bytes()
    return name, draw(damaged_bytes(content)), draw(st.sampled_from(BYTES[name]))


def damaged(name: str, content: bytes, words: list[str]) -> None:
    path = Path(f"damaged.{name.partition('.')[2]}")
    path.write_bytes(content)
    shutil.rmtree("out", ignore_errors=True)
    tried(*[str(path) if w == "FILE" else w for w in words])


@FEW
@given(st.data())
def test_damaged_files(data):
    """Pictures, weights and models with some bytes changed."""
    damaged(*data.draw(damaged_files()))


@pytest.mark.slow
@MANY
@given(st.data())
def test_many_damaged_files(data):
    """The same by the hundred, others each time."""
    damaged(*data.draw(damaged_files()))


def tampered(data, name: str) -> None:
    """A PNG whose record says something else."""
    with Image.open(name) as image:
        pixels = image.copy()
    text = data.draw(damaged_json(read_metadata(name)))
    content = encode_png(pixels, {})
    with contextlib.suppress(ValueError, RecursionError):
        content = encode_png(pixels, json.loads(text))
    Path("tampered.png").write_bytes(content)
    tried("rerun", "tampered.png")


@FEW
@given(st.data(), st.sampled_from(["drawn.png", "dreamt.png"]))
def test_tampered_records(data, name):
    """Whatever a PNG says of how it was drawn."""
    tampered(data, name)


@pytest.mark.slow
@MANY
@given(st.data(), st.sampled_from(["drawn.png", "dreamt.png"]))
def test_many_tampered_records(data, name):
    """The same by the hundred, others each time."""
    tampered(data, name)


def with_damaged_json(data, path: Path, content: bytes, *commands: list[str]) -> None:
    """Commands beside a JSON file that holds something else."""
    text = data.draw(damaged_json(json.loads(content)) | st.just("\xff"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("latin-1", "replace"))
    for words in commands:
        tried(*words)


def registered(data, place) -> None:
    sha256 = read_metadata("dreamt.png")["photographs"]["image"]["sha256"]
    path = user_cache_path("filterscope") / "weights.json"
    with_damaged_json(data, path, json.dumps({sha256: "photo.jpg"}).encode(), ["rerun", "dreamt.png"])


def reported(data, place) -> None:
    with_damaged_json(data, Path("reported/report.json"), place["report"], REPORTED)


@FEW
@given(st.data(), st.sampled_from([registered, reported]))
def test_damaged_register_and_report(place, data, what):
    """The register of where things lie, and the report of a folder."""
    what(data, place)


@pytest.mark.slow
@MANY
@given(st.data(), st.sampled_from([registered, reported]))
def test_many_damaged_registers_and_reports(place, data, what):
    """The same by the hundred, others each time."""
    what(data, place)


def in_atlas(data) -> None:
    files = sorted(
        p for p in Path("atlas").rglob("*") if p.is_file() and p.suffix in (".json", ".npz", ".parquet")
    )
    path = data.draw(st.sampled_from(files))
    commands = [ATLAS, [*ATLAS, "--retry"], ["view", "atlas", "-q", "--port", "0"]]
    shutil.copytree("atlas", "kept")
    try:
        if path.suffix == ".json":
            with_damaged_json(data, path, path.read_bytes(), *commands)
        else:
            path.write_bytes(data.draw(damaged_bytes(path.read_bytes())))
            for words in commands:
                tried(*words)
    finally:
        shutil.rmtree("atlas")
        shutil.move("kept", "atlas")


@settings(FEW, max_examples=12)
@given(st.data())
def test_damaged_atlas(data):
    """Any file of an atlas: the run that goes on, the one that draws again, the viewer."""
    in_atlas(data)


@pytest.mark.slow
@settings(MANY, max_examples=200)
@given(st.data())
def test_many_damaged_atlases(data):
    """The same by the hundred, others each time."""
    in_atlas(data)
