"""An atlas of a file's concepts: drawn, gone on with, on pages with the file's names, beside the layers' units."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import filterscope as fs
from filterscope.atlas.run.worker import Worker, WorkerSetup, send_concepts
from filterscope.atlas.storage.index import read_index
from filterscope.cli import main
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, TargetError
from filterscope.measure.concepts import concepts_at
from filterscope.recipe import get_recipe

LAYER = "block1_conv1"
WORDS = ["--steps", "2", "--size", "16", "--precision", "float32", "--quiet"]
NAMES = ["red", "green", "edge", "<b>"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with concepts.safetensors, photographs, and the atlas of the concepts with their natural activations."""
    place = tmp_path_factory.mktemp("concepts")
    rows = np.random.default_rng(0).random((4, 32), np.float32)
    words = {"layer": LAYER, "names": json.dumps(NAMES)}
    save_file({"concepts": rows}, place / "concepts.safetensors", metadata=words)
    (place / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (80 * i, 100, 250 - 80 * i)).save(place / "photos" / f"{i}.png")
    file, photos = str(place / "concepts.safetensors"), str(place / "photos")
    asked = ["tiny-vgg16", "--out", str(place / "atlas"), "--concepts", file, "--images", photos]
    assert main(["atlas", *asked, *WORDS]) == 0
    return place


def test_rows(made, tiny):
    """A row for each concept, under the text that means them all, by the file's names, with excitations."""
    rows = read_index(made / "atlas").to_pylist()
    name = f"concept({LAYER}, concepts.safetensors, *)"
    assert [(row["layer"], row["unit"], row["class_name"]) for row in rows] == [
        (name, i, own) for i, own in enumerate(NAMES)
    ]
    assert all(row["excitation"] > 0 and row["examples"] and row["alike"] for row in rows)
    (entry,) = json.loads((made / "atlas" / "tiny-vgg16" / "network.json").read_text())["layers"]
    assert entry["concepts"] == {
        "file": "concepts.safetensors", "layer": LAYER, "how": "dot",
        "sha256": concepts_at(tiny, str(made / "concepts.safetensors")).file.sha256,
    }  # fmt: skip
    picture = made / "atlas" / rows[2]["file"]
    assert picture.name == f"{LAYER}-concepts-0002.png"
    alone = fs.visualize_one(
        tiny, f"concept(*, '{made / 'concepts.safetensors'}', edge)", recipe="sharp", steps=2, size=16,
        precision="float32", progress=False,
    )  # fmt: skip
    assert np.abs(np.asarray(Image.open(picture)).astype(int) - alone.image).max() <= 1


def test_pages_have_the_names(made):
    """As text, whatever they are."""
    catalog = (made / "atlas" / "tiny-vgg16" / "catalog.js").read_text()
    assert "edge" in catalog
    assert "<b>" not in catalog
    (page,) = (made / "atlas" / "tiny-vgg16").glob("*/index.html")
    assert "concepts of concepts.safetensors (.safetensors)" in page.read_text()


def test_gone_on_with(made, tmp_path):
    """A chunk that is missing is drawn again, to the same bytes; nothing else is touched."""
    shutil.copytree(made, tmp_path / "c")
    folder = next((tmp_path / "c" / "atlas" / "tiny-vgg16").glob("concept*"))
    before = {p.name: p.read_bytes() for p in folder.glob("*.png")}
    (folder / "layer.parquet").unlink()
    (folder / "chunk-000000.json").unlink()
    (folder / f"{LAYER}-concepts-0001.png").unlink()
    request = {"layers": [LAYER], "steps": 2, "size": 16, "precision": "float32", "progress": False}
    request |= {"images": made / "photos"}
    file = made / "concepts.safetensors"
    summary = fs.make_atlas("tiny-vgg16", tmp_path / "c" / "atlas", concepts=file, **request)
    assert summary["pictures"] == 4
    assert {p.name: p.read_bytes() for p in folder.glob("*.png")} == before
    other = tmp_path / "other" / file.name
    other.parent.mkdir()
    save_file({"concepts": np.eye(4, 32, dtype=np.float32)}, other)
    with pytest.raises(ArgumentError, match=r"from another file .sha256 .* rename the file"):
        fs.make_atlas("tiny-vgg16", tmp_path / "c" / "atlas", concepts=other, **request)


def test_refused(made, tmp_path):
    """Other widths, latents of a file without any, a manner without a file."""
    file = made / "concepts.safetensors"
    with pytest.raises(
        TargetError, match="holds concepts of block1_conv1, which is block1_conv1 of tiny-vgg16"
    ):
        fs.make_atlas("tiny-vgg16", tmp_path, concepts=file, layers=["block2_conv1"])
    with pytest.raises(TargetError, match="has no latents to draw"):
        fs.make_atlas("tiny-vgg16", tmp_path, concepts=file, how="latent")
    with pytest.raises(ArgumentError, match="how='cosine' is of a file of concepts"):
        fs.make_atlas("tiny-vgg16", tmp_path, how="cosine")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_lacks_the_file(made, tiny, tmp_path, monkeypatch):
    """It gets the bytes, and draws the same."""
    shutil.copy(made / "concepts.safetensors", tmp_path / "here.safetensors")
    units = concepts_at(tiny, str(tmp_path / "here.safetensors"))
    sent = send_concepts(units, whole=True)
    (tmp_path / "here.safetensors").unlink()
    setup = WorkerSetup(
        "tiny-vgg16", None, tiny.weights.sha256,
        {units.name: get_recipe("sharp", steps=2, size=16).model_dump_json()}, Run(precision="float32"), {}, concepts=[sent],
    )  # fmt: skip
    from filterscope.atlas.plan import PlannedLayer

    chunk = PlannedLayer(units.name, "x", 4, 16, 4).chunk(0, seed=0)
    result = Worker(setup).draw(chunk)
    assert [row.status for row in result.rows] == ["ok"] * 4
    assert f"x/{LAYER}-here-0003.png" in result.files


def test_one_and_the_other(made, tmp_path):
    """The layer's own units beside its concepts, in one atlas."""
    shutil.copytree(made / "atlas", tmp_path / "atlas")
    words = ["atlas", "tiny-vgg16", "--out", str(tmp_path / "atlas"), "--layers", LAYER, "--images"]
    assert main([*words, str(made / "photos"), *WORDS]) == 0
    layers = {row["layer"] for row in read_index(tmp_path / "atlas").to_pylist()}
    assert layers == {LAYER, f"concept({LAYER}, concepts.safetensors, *)"}
