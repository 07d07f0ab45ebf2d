"""cli/atlas.py: what is printed, exit statuses, arguments refused before torch, an object store's address."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tests.helpers.atlas import draw_atlas

from filterscope.atlas.storage.index import read_index
from filterscope.cli import main
from filterscope.measure.examples import find_examples
from filterscope.measure.legibility import Features, legibility, pair_files
from filterscope.pictures.png import read_image
from filterscope.recipe import get_recipe
from filterscope.recipe.parts import Facets

QUICK = ["--steps", "2", "--size", "16", "--precision", "float32"]


def atlas(*arguments) -> int:
    return main(["atlas", "tiny-vgg16", *map(str, arguments), *QUICK])


def test_atlas(tmp_path, capsys):
    """A line for what is not ok, worst first, and one for all; the same again draws nothing."""
    assert atlas("--out", tmp_path, "--layers", "block1_conv1, block1_conv1") == 0
    said = capsys.readouterr()
    assert f"32 pictures in {tmp_path} (32 of them drawn now)" in said.out
    assert len(said.out.splitlines()) <= 22
    assert said.err.count("\n") <= 1
    assert atlas("--out", tmp_path, "--layers", "block1_conv1", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["pictures"], summary["drawn"]) == (32, 0)
    assert sum(summary[s] for s in ("ok", "no-gain", "dead", "failed")) == 32
    assert len(read_index(tmp_path)) == 32
    assert (tmp_path / "index.html").is_file()


def test_quiet(tmp_path, capsys):
    """--quiet prints nothing."""
    assert atlas("--out", tmp_path, "--layers", "block1_conv1", "--quiet") == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_alpha(tmp_path, capsys):
    """--alpha writes a second PNG a picture, which the index and the pages name; an atlas keeps to what it began with."""
    for out, more in ((tmp_path / "a", []), (tmp_path / "b", ["--alpha"])):
        assert atlas("--out", out, "--layers", "block1_conv1", "-q", *more) == 0
    row = read_index(tmp_path / "b").to_pylist()[3]
    assert row["alpha"] == "tiny-vgg16/block1_conv1/block1_conv1-0003.alpha.png"
    with Image.open(tmp_path / "b" / row["alpha"]) as image:
        assert image.mode == "RGBA"
    assert (tmp_path / "a" / row["file"]).read_bytes() == (tmp_path / "b" / row["file"]).read_bytes()
    assert read_index(tmp_path / "a").to_pylist()[3]["alpha"] is None
    details = "tiny-vgg16/block1_conv1/units-0.js"
    assert "block1_conv1-0003.alpha.png" in (tmp_path / "b" / details).read_text()
    assert "alpha.png" not in (tmp_path / "a" / details).read_text()
    assert atlas("--out", tmp_path / "b", "--layers", "block1_conv1", "-q") == 2
    assert "alpha is True there and False here" in capsys.readouterr().err


def test_judge(tmp_path, capsys, tiny):
    """--judge measures legibility from the saved pictures, as `legibility` does, for the index and the pages."""
    rng = np.random.default_rng(0)
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for i in range(100):
        values = rng.integers(0, 200, 3) + rng.integers(0, 56, (64, 64, 3))
        Image.fromarray(values.astype(np.uint8)).save(photographs / f"{i:03d}.png")
    asked = ["--layers", "block1_conv1", "-q", "--out", tmp_path / "a", "--judge", "tiny-vgg16"]
    assert atlas(*asked) == 2
    assert "give their folder with --images" in capsys.readouterr().err
    assert atlas(*asked, "--images", photographs) == 0
    natural = find_examples(tiny, ["block1_conv1"], photographs, shown=False)["block1_conv1"]
    rows, features = read_index(tmp_path / "a").to_pylist(), Features(tiny)
    for row in rows[:4]:
        found = legibility(
            features, read_image(tmp_path / "a" / row["file"]), pair_files(natural, row["unit"])
        )
        known = (None, None) if found is None else (found.legibility, found.ceiling)
        assert (row["legibility"], row["legibility_ceiling"]) == pytest.approx(known)
    assert any(row["legibility"] is not None for row in rows[:4])
    details = (tmp_path / "a" / "tiny-vgg16" / "block1_conv1" / "units-0.js").read_text()
    assert '"legibility_ceiling":' in details
    assert atlas("--layers", "block1_conv1", "-q", "--out", tmp_path / "a") == 2
    assert "judge is 'tiny-vgg16' there and not set here" in capsys.readouterr().err


def test_changes_and_units_that_fail(tmp_path, capsys, monkeypatch):
    """Other settings: exit status 2 and what to do. Units that fail: 1, with --retry named."""
    assert atlas("--out", tmp_path, "--layers", "block1_conv1", "-q") == 0
    assert atlas("--out", tmp_path, "--layers", "block1_conv1", "--seed", "7") == 2
    said = capsys.readouterr().err
    assert "seed is 0 there and 7 here" in said
    assert "--overwrite" in said

    def broken(*arguments, **more):
        raise RuntimeError("no")

    monkeypatch.setattr("filterscope.atlas.run.drawer.draw", broken)
    assert atlas("--out", tmp_path / "b", "--layers", "block1_conv1", "-q") == 1
    assert "32 units failed; the same command with --retry" in capsys.readouterr().err
    monkeypatch.undo()
    assert atlas("--out", tmp_path / "b", "--layers", "block1_conv1", "-q", "--retry") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layers", " , "], "names no layer"),
        (["--layers", "block1_conv9"], "did you mean 'block1_conv"),
        (["--workers", "2"], "--on ray"),
        (["--on", "slurm"], "'slurm' is not one of"),
        (["--out", "nosuch://x"], "nosuch"),
        (["--out", ""], "needs a folder"),
        (["--recipe", "sharpp"], "did you mean 'sharp'"),
        (["--name", "a/b"], "letters, digits and . _ + -"),
        (["--name", ".."], "(got '..')"),
        (["--name", ".hidden"], "the first no dot"),
        (["--name", ""], "(got '')"),
        (["--name", "_Gallery"], "not _gallery"),
        (["--name", "a\n"], "(got 'a\\n')"),
        (["--name", "a", "--images", "/no/such/folder"], "no folder of pictures"),
    ],
)
def test_wrong_arguments(tmp_path, monkeypatch, capsys, arguments, said):
    """Exit status 2, what was wrong, nothing written."""
    monkeypatch.chdir(tmp_path)
    assert atlas(*arguments) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_need_no_torch():
    """Arguments that can be judged without torch are refused without it."""
    code = (
        "import sys; from filterscope.cli import main\n"
        "status = main(['atlas', 'tiny-vgg16', '--recipe', 'nosuch'])\n"
        "assert status == 2 and main(['atlas', 'x', '--out', 'nosuch://x']) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_facets(tmp_path):
    """A recipe with several pictures a unit: a file and a row each, and as many in a chunk as fit."""
    recipe = get_recipe("sharp", steps=2, size=16).model_copy(update={"facets": Facets(count=2)})
    draw_atlas(
        "tiny-vgg16", tmp_path, layers=["block1_conv1"], recipe=recipe, precision="float32", progress=False
    )
    rows = read_index(tmp_path).to_pylist()
    facets = len({row["facet"] for row in rows})
    assert facets > 1
    assert len(rows) == 32 * facets
    assert [(r["unit"], r["facet"]) for r in rows] == [(u, f) for u in range(32) for f in range(facets)]
    assert rows[1]["file"].endswith("block1_conv1-0000~1.png")
    assert all((tmp_path / row["file"]).stat().st_size == row["bytes"] for row in rows)


@pytest.fixture
def s3(monkeypatch):
    """An S3 server on this machine, and its address."""
    server = pytest.importorskip("moto.server", reason="moto, a server that speaks S3, is not installed")
    boto3, _ = pytest.importorskip("boto3"), pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer(port=0)
    running.start()
    host, port = running.get_host_and_port()
    for key, value in {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    boto3.client("s3").create_bucket(Bucket="atlases")
    yield "s3://atlases/tiny"
    running.stop()


@pytest.mark.filterwarnings("ignore")  # of the server's and the client's own
def test_object_store(s3, tmp_path):
    """An atlas on S3 is the same as one in a folder, and is gone on with."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "filterscope",
        "atlas",
        "tiny-vgg16",
        "--layers",
        "block1_conv1",
        *QUICK,
        "--json",
    ]
    for out, drawn in ((s3, 32), (s3, 0), (str(tmp_path / "local"), 32)):
        done = subprocess.run(
            [*command, "--out", out], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["drawn"] == drawn
    import fsspec

    system, root = fsspec.url_to_fs(s3)
    local = {p.name: p.read_bytes() for p in (tmp_path / "local" / "tiny-vgg16").rglob("*.png")}
    assert len(local) == 32
    for name, data in local.items():
        assert system.cat_file(f"{root}/tiny-vgg16/block1_conv1/{name}") == data
