"""cli: commands, exit statuses, files written, interrupted and failed work, start without torch."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.cli import main
from filterscope.pictures.png import read_metadata
from filterscope.recipe import PRESETS

QUICK = ["--recipe", "blog", "--steps", "2", "--size", "16", "--precision", "float32"]


def show(*arguments: str | Path) -> int:
    return main(["show", "tiny-vgg16", *map(str, arguments), *QUICK])


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def started(*arguments: str, **more) -> subprocess.Popen:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "filterscope", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


# --- show ---------------------------------------------------------------------------------------------------


def test_show(tmp_path, capsys):
    """A PNG a unit, a sheet, a report and nothing else; a line for each picture."""
    out = tmp_path / "out"
    assert show("block2_conv1:3,7", "predictions:goldfish", "--out", out) == 0
    assert files(out) == [
        "block2_conv1-0003.png",
        "block2_conv1-0007.png",
        "predictions-0000.png",
        "report.json",
        "sheet.png",
    ]
    said = capsys.readouterr()
    assert "block2_conv1:3" in said.out
    assert "goldfish" in said.out
    assert f"3 pictures in {out}: sheet.png, report.json" in said.out
    assert said.err == ""


def test_report(tmp_path):
    """report.json: a list with, for each picture, the fields of the design."""
    show("block2_conv1:3", "predictions:goldfish", "--out", tmp_path, "--seed", "4")
    rows = json.loads((tmp_path / "report.json").read_text())
    fields = {
        "file", "target", "class_name", "seed", "recipe", "steps", "size", "activation", "excitation", "probability",
        "status", "seconds",
    }  # fmt: skip
    assert all(set(row) >= fields for row in rows)
    first, second = rows
    assert (first["file"], first["target"], first["class_name"]) == (
        "block2_conv1-0003.png",
        "block2_conv1:3",
        None,
    )
    assert (second["file"], second["target"], second["class_name"]) == (
        "predictions-0000.png",
        "predictions:0",
        "goldfish",
    )
    for row in rows:
        assert (row["seed"], row["recipe"], row["steps"], row["size"]) == (4, "tv", 2, 16)
        assert row["status"] in ("ok", "dead", "no-gain")
        assert isinstance(row["activation"], float)
        assert row["seconds"] > 0
        assert row["activation"] == read_metadata(tmp_path / row["file"])["scores"]["activation"]
    assert first["probability"] is None
    assert 0 <= second["probability"] <= 1


def test_json(tmp_path, capsys):
    """--json prints the report and nothing else."""
    assert show("block2_conv1:3,7", "--out", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "report.json").read_text())


def test_quiet(tmp_path, capsys):
    """--quiet prints nothing."""
    assert show("block2_conv1:3", "--out", tmp_path, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_show_is_visualize(tmp_path):
    """The command's picture is the library's, byte for byte; twice the same is the same."""
    show("block2_conv1:3", "--out", tmp_path / "a", "--seed", "2")
    show("block2_conv1:3", "--out", tmp_path / "b", "--seed", "2")
    picture = fs.visualize(
        "tiny-vgg16",
        "block2_conv1:3",
        recipe="blog",
        steps=2,
        size=16,
        seed=2,
        precision="float32",
        progress=False,
    )
    one = (tmp_path / "a" / "block2_conv1-0003.png").read_bytes()
    assert one == (tmp_path / "b" / "block2_conv1-0003.png").read_bytes()
    assert one == picture.save(tmp_path / "c.png").read_bytes()
    assert (tmp_path / "a" / "sheet.png").read_bytes() == (tmp_path / "b" / "sheet.png").read_bytes()


def test_alpha(tmp_path):
    """--alpha writes a second PNG of each picture, whose alpha channel is where the network looked; the first is the same
    as without it."""
    assert show("block1_conv1:3", "--out", tmp_path / "a", "--quiet") == 0
    assert show("block1_conv1:3", "--alpha", "--out", tmp_path / "b", "--quiet") == 0
    name = "block1_conv1-0003.png"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    (row,) = json.loads((tmp_path / "b" / "report.json").read_text())
    with Image.open(tmp_path / "b" / row["alpha"]) as image:
        assert image.mode == "RGBA"
        assert image.getchannel("A").getextrema()[1] == 255
    assert "alpha" not in json.loads((tmp_path / "a" / "report.json").read_text())[0]
    assert main(["rerun", str(tmp_path / "b" / row["alpha"]), "--quiet"]) == 0


def test_settings(tmp_path):
    """--set reaches the recipe, lists and p = inf too, and the PNG says so."""
    settings = ["--set", "regularizers.lp_norm.p=inf", "--set", "optimizer.lr=0.5", "--set", "image.spread=5"]
    assert show("block2_conv1:3", "--out", tmp_path, *settings) == 0
    recipe = read_metadata(tmp_path / "block2_conv1-0003.png")["recipe"]
    assert recipe["regularizers"][0]["p"] == "Infinity"
    assert recipe["optimizer"]["lr"] == 0.5
    assert recipe["image"]["spread"] == 5


def test_default_recipe(tmp_path):
    """Without --recipe our own is taken."""
    assert (
        main(
            [
                "show",
                "tiny-vgg16",
                "block1_conv1:0",
                "--steps",
                "1",
                "--size",
                "16",
                "--out",
                str(tmp_path),
                "-q",
            ]
        )
        == 0
    )
    assert read_metadata(tmp_path / "block1_conv1-0000.png")["recipe"]["name"] == "sharp"


def test_weights(tmp_path, vgg16_file, capsys):
    """--weights FILE opens VGG16 without a download; a target in or behind an uncovered layer is refused."""
    weights = ["--weights", str(vgg16_file), "--out", str(tmp_path), *QUICK]
    assert main(["show", "vgg16", "block1_conv2:3", *weights]) == 0
    assert main(["show", "vgg16", "block3_conv1:3", *weights]) == 2
    assert "covered are: block1_conv1, block1_conv2, block2_conv1" in capsys.readouterr().err


def test_old_files_stay(tmp_path):
    """Pictures of an earlier run that are not drawn again stay as they are."""
    show("block2_conv1:3", "--out", tmp_path)
    before = (tmp_path / "block2_conv1-0003.png").read_bytes()
    show("block2_conv1:4", "--out", tmp_path)
    pictures = ["block2_conv1-0003.png", "block2_conv1-0004.png"]
    assert files(tmp_path) == [*pictures, "report.json", "sheet-1.png", "sheet.png"]
    assert (tmp_path / "block2_conv1-0003.png").read_bytes() == before


# --- what is wrong with the arguments -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "vgg61", "block1_conv1:0"], "unknown network 'vgg61'; did you mean 'vgg1"),
        (["show", "tiny-vgg16", "block9_conv1"], "has no layer 'block9_conv1'; did you mean 'block"),
        (["show", "tiny-vgg16", "block1_conv1:99"], "block1_conv1 has units 0 to 31 (got 99)"),
        (["show", "tiny-vgg16", "predictions:goldfsh"], "did you mean 'goldfish'"),
        (["show", "tiny-vgg16", "block1_conv1:"], "is no target"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--recipe", "bloog"], "did you mean 'blog'"),
        (
            ["show", "tiny-vgg16", "block1_conv1:0", "--recipe", "autos"],
            "did you mean 'auto'? (known: auto, naive",
        ),
        (
            ["show", "tiny-vgg16", "block1_conv1:" + "9" * 20],
            "is no unit of block1_conv1: write a number, as",
        ),
        (["show", "tiny-vgg16", "block1_conv1:1-"], "'1-' is no unit of block1_conv1: write a number, as"),
        (["show", "tiny-vgg16", "1e999 * block1_conv1:1"], "a term's factor is a finite number (got 1e999"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--weights", ""], "'random' (got an empty text)"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--weights", "."], ". is a folder: name a file in it"),
        (["layers", "tiny-vgg16?wide=1"], "shown, as ?size=32"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--set", "stepz=3"], "did you mean 'steps'"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--set", "steps"], "a setting is KEY=VALUE"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--steps", "0"], "'--steps': 0 is not in the range x>=1"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--steps", "-3"], "'--steps'"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--steps", "many"], "'--steps'"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--size", "0"], "'--size': 0 is not in the range x>=1"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--seed", "-1"], "'--seed'"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--precision", "float8"], "'--precision'"),
        (["show", "tiny-vgg16", "block1_conv1:0", "--device", "tpu"], "device 'tpu' is not to be had here"),
        (["show", "tiny-vgg16", "block5_conv3:0", "--size", "8"], "the smallest size that works is 16 px"),
        (
            ["show", "tiny-vgg16", "block1_conv1:0", "--weights", "missing.h5"],
            "there is no weights file 'missing.h5'",
        ),
        (["show", "missing.keras", "block1_conv1:0"], "there is no model file 'missing.keras'"),
        (["show", "tiny-vgg16"], "Missing argument 'TARGET...'"),
        (["show"], "Missing argument 'NET'"),
        (["shw", "tiny-vgg16"], "No such command 'shw'"),
        (["--nothing"], "No such option"),
        (["rerun", "missing.png"], "there is no picture 'missing.png'"),
        (["layers", "vgg61"], "did you mean 'vgg1"),
    ],
)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, arguments, message):
    """Exit status 2, one message that helps on standard error, no picture and no traceback."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert files(tmp_path) == []


def test_a_wrong_precision_in_the_environment(tmp_path, monkeypatch, capsys):
    """Exit status 2, what it may be, and what to do; nothing where a precision is named."""
    monkeypatch.setenv("FILTERSCOPE_PRECISION", "float8")
    command = [
        "show",
        "tiny-vgg16",
        "block1_conv1:0",
        "--steps",
        "1",
        "--size",
        "16",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 2
    said = capsys.readouterr()
    assert "FILTERSCOPE_PRECISION must be one of auto, float32, bfloat16 (got 'float8')" in said.err
    assert "--precision float32" in said.err
    assert main([*command, "--precision", "float32"]) == 0


@pytest.mark.parametrize(
    ("layer", "change", "message"),
    [
        (
            "block1_conv1",
            lambda v: v[..., :5],
            "block1_conv1/kernel has shape [3, 3, 3, 5], expected [3, 3, 3, 64]",
        ),
        (
            "block1_conv2",
            lambda v: v * np.float32("nan"),
            "block1_conv2/kernel holds 36864 values that are NaN or infinite",
        ),
    ],
)
def test_wrong_weights(tmp_path, vgg16_tensors, capsys, layer, change, message):
    """A weights file of another architecture or holding NaN: exit status 2, the tensor named."""
    from safetensors.numpy import save_file

    name = f"{layer}/kernel"
    save_file(
        {**vgg16_tensors, name: np.ascontiguousarray(change(vgg16_tensors[name]))}, tmp_path / "w.safetensors"
    )
    weights = ["--weights", str(tmp_path / "w.safetensors"), "--out", str(tmp_path / "out"), *QUICK]
    assert main(["show", "vgg16", "block2_conv1:0", *weights]) == 2
    assert message in capsys.readouterr().err


# --- what goes wrong on the way -----------------------------------------------------------------------------


def test_out_cannot_be_written(tmp_path, monkeypatch, capsys):
    """A folder that cannot be made is told at once, before the network is opened: exit status 1."""
    monkeypatch.setattr("filterscope.networks.open_network", lambda *a, **kw: pytest.fail("work began"))
    (tmp_path / "file").write_text("a file")
    for out in (tmp_path / "file", tmp_path / "file" / "deep"):
        assert show("block1_conv1:0", "--out", out) == 1
        assert f"filterscope: cannot write to the folder {out}" in capsys.readouterr().err
    assert files(tmp_path) == ["file"]


def interrupted_after(count: int, error: BaseException):
    """`draw` that fails after some pictures."""
    from filterscope.drawing.draw import draw
    from filterscope.drawing.run import Given

    def drawing(*args, **kw):
        for i, picture in enumerate(draw(*args, **kw, given=Given(batch=1))):
            if i == count:
                raise error
            yield picture

    return drawing


def test_ctrl_c(tmp_path, monkeypatch, capsys):
    """Interrupted after two pictures: they, their sheet and report are kept and told; exit status 130."""
    monkeypatch.setattr("filterscope.drawing.draw.draw", interrupted_after(2, KeyboardInterrupt()))
    assert show("block2_conv1:0-4", "--out", tmp_path) == 130
    assert files(tmp_path) == ["block2_conv1-0000.png", "block2_conv1-0001.png", "report.json", "sheet.png"]
    assert [row["target"] for row in json.loads((tmp_path / "report.json").read_text())] == [
        "block2_conv1:0",
        "block2_conv1:1",
    ]
    said = capsys.readouterr()
    assert f"2 of 5 pictures were finished and are kept in {tmp_path}" in said.err
    assert "interrupted" in said.err
    assert "Traceback" not in said.err
    for name in files(tmp_path):
        if name.endswith(".png"):
            Image.open(tmp_path / name).load()


def test_ctrl_c_before_the_first_picture(tmp_path, monkeypatch, capsys):
    """Interrupted at once: nothing is left behind."""
    monkeypatch.setattr("filterscope.drawing.draw.draw", interrupted_after(0, KeyboardInterrupt()))
    assert show("block2_conv1:0-4", "--out", tmp_path) == 130
    assert files(tmp_path) == []
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("full_from", [0, 2])
def test_disk_full(tmp_path, monkeypatch, capsys, full_from):
    """A disk that fills up: exit status 1, the reason told, finished pictures whole, no half file left."""
    written = []
    real = Path.write_bytes

    def write_bytes(self, data):
        if len(written) >= full_from:
            real(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(self)
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert show("block2_conv1:0-3", "--out", tmp_path) == 1
    said = capsys.readouterr()
    assert f"block2_conv1-000{full_from}.png: No space left on device" in said.err
    assert "Traceback" not in said.err
    kept = [f"block2_conv1-000{i}.png" for i in range(full_from)]
    assert files(tmp_path) == kept + (["report.json", "sheet.png"] if kept else [])
    for name in kept:
        Image.open(tmp_path / name).load()


def test_failed_work(tmp_path, monkeypatch, capsys):
    """Work that fails: exit status 1, what was finished is kept."""
    error = fs.WorkError("the picture of x is not finite")
    monkeypatch.setattr("filterscope.drawing.draw.draw", interrupted_after(1, error))
    assert show("block2_conv1:0-4", "--out", tmp_path) == 1
    assert files(tmp_path) == ["block2_conv1-0000.png", "report.json", "sheet.png"]
    assert "filterscope: the picture of x is not finite" in capsys.readouterr().err


def test_download_failure(tmp_path, monkeypatch, capsys):
    """Weights that cannot be downloaded: exit status 1, and what to do instead."""
    import keras

    real = keras.applications.VGG16

    def offline(*, weights=None, **kw):
        if weights is None:
            return real(weights=None)
        raise Exception("URL fetch failure on https://example: None -- [Errno -3] Temporary failure")

    monkeypatch.setattr(keras.applications, "VGG16", offline)
    assert main(["show", "vgg16", "block1_conv1:0", "--out", str(tmp_path), *QUICK]) == 1
    said = capsys.readouterr().err
    assert "URL fetch failure" in said
    assert "--weights FILE, or use tiny-vgg16" in said
    assert files(tmp_path) == []


# --- the other commands -------------------------------------------------------------------------------------


def test_models(capsys):
    """The networks that open by name, for people and for machines."""
    from filterscope.networks import network_names

    assert main(["models", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == network_names()
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in network_names())


def test_layers(capsys):
    """A row a layer: name, kind, shape, units, parameters, receptive field, trained."""
    assert main(["layers", "tiny-vgg16"]) == 0
    head, titles, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("tiny-vgg16: 64 x 64 px")
    assert titles.split() == [
        "layer",
        "kind",
        "output",
        "shape",
        "units",
        "parameters",
        "receptive",
        "field",
        "trained",
    ]
    assert len(rows) == 22
    assert rows[2].split() == ["block1_conv1", "Conv2D", "32", "x", "64", "x", "64", "32", "896", "3", "yes"]
    assert rows[-1].split() == ["softmax", "Softmax", "200", "200", "0", "all", "-"]


def test_layers_of_a_partial_file(capsys, vgg16_file):
    """The table says which layers have trained weights."""
    assert main(["layers", "vgg16", "--weights", str(vgg16_file), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["block2_conv1"] == {
        "name": "block2_conv1",
        "kind": "Conv2D",
        "output_shape": [128, 112, 112],
        "units": 128,
        "parameters": 73856,
        "receptive_field": 10,
        "trained": True,
    }
    assert [n for n, row in rows.items() if row["trained"]] == [
        "block1_conv1",
        "block1_conv2",
        "block2_conv1",
    ]
    assert rows["block5_conv3"]["trained"] is False
    assert rows["block1_pool"]["trained"] is None
    assert rows["fc1"]["receptive_field"] is None


def test_layers_downloads_nothing(capsys, monkeypatch):
    """The table of a network that must be downloaded is printed without downloading it."""
    monkeypatch.setattr("keras.utils.get_file", lambda *a, **kw: pytest.fail("a download began"))
    assert main(["layers", "vgg19"]) == 0
    assert "block5_conv4" in capsys.readouterr().out


def test_rerun(tmp_path, capsys):
    """A picture is drawn again from itself: identical, and said so."""
    show("block2_conv1:3", "--out", tmp_path, "-q")
    picture = tmp_path / "block2_conv1-0003.png"
    assert main(["rerun", str(picture)]) == 0
    assert capsys.readouterr().out == "block2_conv1:3: identical\n"
    assert main(["rerun", str(picture), "--json", "--out", str(tmp_path / "again")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["identical"] is True
    assert told["file"] == str(tmp_path / "again" / "block2_conv1-0003.png")
    assert Path(told["file"]).read_bytes() == picture.read_bytes()
    assert main(["rerun", str(picture), "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_rerun_of_a_changed_picture(tmp_path, capsys):
    """A picture whose pixels were changed is told from its recipe's."""
    show("block2_conv1:3", "--out", tmp_path, "-q")
    picture = tmp_path / "block2_conv1-0003.png"
    with Image.open(picture) as image:
        from filterscope.pictures.png import encode_png

        content = encode_png(Image.fromarray(255 - np.array(image)), read_metadata(picture))
    picture.write_bytes(content)
    assert main(["rerun", str(picture)]) == 0
    assert "differs by" in capsys.readouterr().out


def test_rerun_finds_the_weights(tmp_path, vgg16_file, capsys):
    """A weights file used by show is found again by rerun, without naming it."""
    assert (
        main(
            [
                "show",
                "vgg16",
                "block1_conv1:3",
                "--weights",
                str(vgg16_file),
                "--out",
                str(tmp_path),
                "-q",
                *QUICK,
            ]
        )
        == 0
    )
    assert main(["rerun", str(tmp_path / "block1_conv1-0003.png")]) == 0
    assert capsys.readouterr().out == "block1_conv1:3: identical\n"


# --- processes ----------------------------------------------------------------------------------------------

HEAVY = ("torch", "keras", "numpy", "tensorflow", "jax", "PIL", "h5py", "safetensors")


def test_answers_without_torch():
    """Help, version, the list of networks and wrong arguments import neither torch nor Keras nor numpy."""
    commands = [
        (0, ["--help"]),
        (0, ["-h"]),
        (0, ["--version"]),
        (0, ["show", "--help"]),
        (0, ["layers", "--help"]),
        (0, ["rerun", "--help"]),
        (0, ["models"]),
        (2, []),
        (2, ["shw"]),
        (2, ["show", "tiny-vgg16"]),
        (2, ["show", "tiny-vgg16", "a:", "--out", os.devnull]),
        (2, ["show", "tiny-vgg16", "a:1", "--recipe", "bloog"]),
        (2, ["show", "tiny-vgg16", "a:1", "--set", "steps=0"]),
        (2, ["show", "tiny-vgg16", "a:1", "--steps", "0"]),
        (1, ["show", "tiny-vgg16", "a:1", "--out", os.devnull]),
    ]
    code = f"""
import sys
from filterscope.cli import main
for status, arguments in {commands!r}:
    found = main(arguments)
    assert found == status, (arguments, found)
    heavy = [m for m in {HEAVY!r} if m in sys.modules]
    assert not heavy, (arguments, heavy)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_module_runs(option):
    """python -m filterscope is the command line."""
    process = started(option)
    out, err = process.communicate()
    assert process.returncode == 0
    assert err == ""
    assert out.startswith(
        f"filterscope, version {fs.__version__}" if option == "--version" else "Usage: filterscope "
    )


@pytest.mark.parametrize("command", ["show", "atlas", "compare"])
def test_help_tells_the_usual_sizes(command, capsys):
    """The sizes that --help speaks of are the presets' own."""
    usual = {name: PRESETS[name].usual_size for name in PRESETS}
    assert {usual.pop("maco"), *(usual.pop(n) for n in ("sharp", "natural", "distill"))} == {512, 128}
    assert usual.pop("robust") == "own"
    assert set(usual.values()) == {None}
    assert main([command, "--help"]) == 0
    assert "[128, for maco 512; the network's own for robust and the blog's stages" in " ".join(
        capsys.readouterr().out.split()
    )


def test_help_names_every_command():
    """The help lists the commands, each with a line."""
    out, _ = started("--help").communicate()
    commands = out.partition("Commands:")[2].partition("Start with:")[0].split("\n")
    listed = {
        line.split()[0] for line in commands if line.strip() and line.startswith("  ") and line[2] != " "
    }
    assert {"show", "layers", "models", "rerun"} <= listed
    from filterscope.cli import cli

    assert listed == set(cli.commands)


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or sys.platform == "win32", reason="needs POSIX signals")
def test_a_real_ctrl_c(tmp_path):
    """A process interrupted while it draws ends with 130, keeps whole files only, and shows no traceback."""
    process = started(
        "show", "tiny-vgg16", "block2_conv1:*", "--recipe", "blog", "--steps", "20", "--size", "32", "--out", str(tmp_path),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # whoever runs the tests in the background may have switched Ctrl-C off for all below
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.png"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err
    pictures = [name for name in files(tmp_path) if name.startswith("block2_conv1-")]
    assert 3 <= len(pictures) < 64
    assert sorted(files(tmp_path)) == sorted([*pictures, "report.json", "sheet.png"])
    rows = [row["file"] for row in json.loads((tmp_path / "report.json").read_text())]
    assert rows in (pictures, pictures[:-1])  # the last may be written and not yet noted
    for name in [*pictures, "sheet.png"]:
        Image.open(tmp_path / name).load()


def test_a_reader_that_goes_away():
    """`filterscope layers NET | head -1` ends quietly."""
    process = started("layers", "tiny-vgg16")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() in (0, 1)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
