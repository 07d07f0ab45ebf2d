"""run: every unit drawn once, whatever cuts it short; changes noticed; failures listed and retried."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import uuid

import numpy as np
import pytest
from PIL import Image
from tests.helpers.atlas import draw_atlas

import filterscope.atlas.run.drawer as drawer
from filterscope.atlas.storage.index import read_index
from filterscope.atlas.storage.lock import hold_lock
from filterscope.atlas.storage.rows import decode_response
from filterscope.atlas.storage.store import Store, open_store
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given, Run
from filterscope.errors import ArgumentError, OutputError, TargetError, WorkError
from filterscope.pictures.png import CHUNK
from filterscope.recipe import ask_recipe, get_recipe

QUICK = {"recipe": get_recipe("sharp", steps=2, size=16), "precision": "float32", "progress": False}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Two units a chunk, so that small layers have several."""
    monkeypatch.setattr("filterscope.atlas.storage.manifest.usual_count", lambda size, recipe, device: 2)


@pytest.fixture
def memory():
    """A store of its own in memory."""
    return open_store(f"memory://{uuid.uuid4().hex}")


def contents(store: Store, folder: str = "") -> dict[str, bytes]:
    """Every file of a store by its path."""
    found = {f"{folder}{name}": store.read(f"{folder}{name}") for name in store.sizes(folder)}
    for inner in store.folders(folder):
        found |= contents(store, f"{folder}{inner}/")
    return found


def pictures(store: Store) -> dict[str, bytes]:
    return {name: data for name, data in contents(store).items() if name.endswith(".png")}


def rows(store: Store) -> list[dict]:
    """The index without what no two runs share."""
    table = read_index(store).drop_columns(["seconds"])
    return table.to_pylist()


# --- what it makes -------------------------------------------------------------------------------------------


def test_atlas(small, memory):
    """A picture of every unit of every layer worth one, in the folders of the format, all in the index."""
    summary = draw_atlas(small, memory, **QUICK)
    told = memory.read_json("small/network.json")
    assert [row["name"] for row in told["layers"]] == ["conv1", "pool", "conv2", "predictions"]
    assert memory.read_json("atlas.json") == {"format": 1, "networks": ["small"]}
    found = rows(memory)
    assert [(r["layer"], r["unit"]) for r in found] == [
        (layer, unit) for layer, units in [("conv1", 4), ("pool", 4), ("conv2", 6), ("predictions", 5)]
        for unit in range(units)
    ]  # fmt: skip
    assert summary["pictures"] == len(found) == len(pictures(memory)) == 19
    for row in found:
        data = memory.read(row["file"])
        assert len(data) == row["bytes"]
        image = Image.open(io.BytesIO(data))
        assert image.size == (16, 16)
        meta = json.loads(image.text[CHUNK])
        assert meta["target"] == f"{row['layer']}:{row['unit']}"
        assert meta["scores"]["activation"] == row["activation"]
        assert (meta["status"], meta["seed"], meta["attempt"]) == (row["status"], row["seed"], row["attempt"])
        assert len(row["curve"]) == 2
    assert found[0]["file"] == "small/conv1/conv1-0000.png"
    assert memory.read_json("report.json")["small"]["pictures"] == 19


def test_pictures_are_those_of_show(tiny, memory):
    """The bytes of an atlas' pictures are those that `draw` gives for the same batch."""
    draw_atlas(tiny, memory, layers=["block1_conv1"], **QUICK)
    run, given = Run(precision="float32"), Given(batch=2)
    two = list(draw(tiny, tiny.targets("block1_conv1:6,7"), QUICK["recipe"], run, given=given))
    for picture in two:
        data = memory.read(f"tiny-vgg16/block1_conv1/{picture.target.stem}.png")
        assert (np.asarray(Image.open(io.BytesIO(data))) == picture.image).all()
        told, own = json.loads(Image.open(io.BytesIO(data)).text[CHUNK]), picture.metadata()
        assert told == json.loads(json.dumps(own))


def test_responses_are_the_activations(small, memory):
    """A picture's response at its own unit is its activation; ranks and likeness follow from the responses."""
    draw_atlas(small, memory, layers=["conv2"], **QUICK)
    response = {}
    for number in range(3):
        for row in memory.read_json(f"small/conv2/chunk-{number:06d}.json")["rows"]:
            response[row["unit"]] = decode_response(row["response"])
            assert response[row["unit"]][row["unit"]] == pytest.approx(row["activation"], rel=1e-4, abs=1e-5)
    matrix = np.stack([response[unit] for unit in range(6)]).astype(float)
    spread = matrix.std(0)
    relative = matrix / np.where(spread > 0, spread, 1)
    for row in rows(memory):
        assert row["top_unit"] == relative[row["unit"]].argmax()
        assert len(row["alike"]) == 5
        other = row["alike"][0]
        a, b = relative[:, row["unit"]], relative[:, other["unit"]]
        if a.std() > 0 and b.std() > 0:
            assert other["likeness"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)


def test_natural_images(tiny, memory, tmp_path):
    """With --images each unit has its best images, their thumbnails and activations; the excitation is over these,
    and stays so whatever the cache says later."""
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (70, 64, 3), dtype=np.uint8)).save(tmp_path / f"{i:02d}.png")
    draw_atlas(tiny, memory, layers=["block1_conv1"], images=tmp_path, **QUICK)
    for row in rows(memory):
        assert len(row["examples"]) == 12
        assert row["examples"][0]["activation"] == pytest.approx(row["natural_best"])
        best = [e["activation"] for e in row["examples"]]
        assert best == sorted(best, reverse=True)
        if row["natural_best"] > 0:
            assert row["excitation"] == pytest.approx(row["activation"] / row["natural_best"])
        for example in row["examples"]:
            assert Image.open(io.BytesIO(memory.read(example["file"]))).size == (112, 112)
    before = pictures(memory)
    memory.remove("tiny-vgg16/block1_conv1/chunk-000003.json")
    memory.remove("tiny-vgg16/block1_conv1/layer.parquet")
    memory.remove("tiny-vgg16/block1_conv1/block1_conv1-0006.png")
    Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(tmp_path / "white.png")
    draw_atlas(tiny, memory, layers=["block1_conv1"], **QUICK)  # without --images: what it was begun with
    assert pictures(memory) == before
    with pytest.raises(ArgumentError, match="images_digest"):
        draw_atlas(tiny, memory, layers=["block1_conv1"], images=tmp_path, **QUICK)
    with pytest.raises(ArgumentError, match="give it for the new layers"):
        draw_atlas(tiny, memory, layers=["block1_conv2"], **QUICK)


def test_more_layers_and_networks(small, tiny, memory):
    """Layers and networks come together in one atlas and one index, in the network's order."""
    draw_atlas(small, memory, layers=["conv2"], **QUICK)
    before = pictures(memory)
    summary = draw_atlas(small, memory, layers=["conv1"], **QUICK)
    assert (summary["drawn"], summary["pictures"]) == (4, 10)
    assert before.items() <= pictures(memory).items()
    with pytest.raises(ArgumentError, match=r"\(got 'Other/one'\)"):
        draw_atlas(tiny, memory, layers=["block1_conv1"], name="Other/one", **QUICK)
    draw_atlas(tiny, memory, layers=["block1_conv1"], name="Other.one", **QUICK)
    assert memory.read_json("atlas.json")["networks"] == ["small", "Other.one"]
    seen = list(dict.fromkeys((r["network"], r["layer"]) for r in rows(memory)))
    assert seen == [("small", "conv1"), ("small", "conv2"), ("Other.one", "block1_conv1")]


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("small/network.json", b"{}", "network.json is damaged; remove the folder"),
        ("small/network.json", b"{", "network.json is damaged"),
        ("small/conv1/layer.parquet", b"PAR1", "layer.parquet is damaged .*; remove it and run again"),
        ("small/conv2/natural.npz", b"PK", "natural.npz is damaged or gone .* remove memory://.*/small and draw anew"),
    ],
)  # fmt: skip
def test_damaged_files_are_told(small, memory, tmp_path, file, data, message):
    """What somebody spoiled is named, with what to do."""
    for i in range(9):
        Image.new("RGB", (16, 16), (20 * i, 90, 10)).save(tmp_path / f"{i}.png")
    draw_atlas(small, memory, layers=["conv1", "conv2"], images=tmp_path, **QUICK)
    memory.write(file, data)
    with pytest.raises(OutputError, match=message):
        draw_atlas(small, memory, layers=["conv2"], **QUICK)


# --- cut short -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What ends a process at once: nothing catches it."""


class Mortal(Store):
    """A store whose process dies at its n-th write: before it, or right after it."""

    def __init__(self, inner: Store, at: int, after: bool):
        super().__init__(inner.address, inner.system, inner.root)
        self.at, self.after = at, after
        self.written: list[str] = []

    @contextlib.contextmanager
    def writing(self, name):
        if len(self.written) == self.at and not self.after:
            raise Killed
        with super().writing(name) as spare:
            yield spare
        self.written.append(name)
        if len(self.written) == self.at + 1 and self.after:
            raise Killed


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_write(small, memory, after):
    """Killed before or after any write and run again: the same pictures, the same index, no picture drawn into
    its file twice."""
    layers = ["conv1", "predictions"]
    whole = Mortal(memory, -1, False)
    draw_atlas(small, whole, layers=layers, **QUICK)
    expected, index, count = pictures(memory), rows(memory), len(whole.written)
    assert count > 20
    for at in range(count):
        store = open_store(f"memory://{uuid.uuid4().hex}")
        first = Mortal(store, at, after)
        with pytest.raises(Killed):
            draw_atlas(small, first, layers=layers, **QUICK)
        assert pictures(store).items() <= expected.items()  # whole, or not there
        second = Mortal(store, -1, False)
        draw_atlas(small, second, layers=layers, **QUICK)
        assert pictures(store) == expected
        assert rows(store) == index
        once = [n for n in first.written + second.written if n.endswith(".png") or "/chunk-" in n]
        assert len(once) == len(set(once))


def test_finished_runs_draw_nothing(small, memory, monkeypatch):
    """The same command again draws nothing and changes no picture."""
    draw_atlas(small, memory, **QUICK)
    before = contents(memory)
    monkeypatch.setattr(drawer, "draw", lambda *a, **k: pytest.fail("drew again"))
    assert draw_atlas(small, memory, **QUICK)["drawn"] == 0
    after = contents(memory)
    assert {n for n in after if after[n] != before.get(n)} <= {"index.parquet"}


@pytest.mark.parametrize("damage", ["picture gone", "picture short", "journal damaged", "parquet damaged"])
def test_damage_is_found_and_mended(small, memory, damage):
    """A picture that is gone or cut short is drawn again, of a journal or index that is damaged nothing is believed."""
    draw_atlas(small, memory, **QUICK)
    expected, index = pictures(memory), rows(memory)
    if damage == "picture gone":
        memory.remove("small/conv2/conv2-0003.png")
    elif damage == "picture short":
        memory.write("small/conv2/conv2-0003.png", expected["small/conv2/conv2-0003.png"][:50])
    elif damage == "journal damaged":
        memory.remove("small/conv2/layer.parquet")
        memory.write("small/conv2/chunk-000001.json", b"{")
    else:
        memory.write("small/conv2/layer.parquet", b"PAR1")
    draw_atlas(small, memory, **QUICK)
    assert pictures(memory) == expected
    assert rows(memory) == index


def test_interrupted(small, memory, monkeypatch):
    """Ctrl-C keeps what is finished, says so, and leaves an index of it."""
    told, count = [], iter(range(99))

    def interrupted(*arguments, **more):
        if more["given"].batch and next(count) == 3:  # the trial names no batch
            raise KeyboardInterrupt
        return draw(*arguments, **more)

    monkeypatch.setattr(drawer, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_atlas(small, memory, layers=["conv1", "conv2"], on_message=told.append, **QUICK)
    assert "6 of 10 units are finished" in told[-1]
    found = rows(memory)
    assert [(r["layer"], r["unit"]) for r in found] == [
        *(("conv1", i) for i in range(4)),
        ("conv2", 0),
        ("conv2", 1),
    ]
    assert found[0]["alike"] is not None
    assert found[-1]["alike"] is None  # its layer is not complete


def test_disk_full(small, tmp_path, monkeypatch):
    """No space left: OutputError, finished pictures whole, nothing half written; goes on when there is room."""
    draw_atlas(small, tmp_path / "whole", layers=["conv1"], **QUICK)
    expected = pictures(open_store(tmp_path / "whole"))
    store, told = open_store(tmp_path / "full"), []
    write = Store.write

    def full(self, name, data):
        if name.endswith("0002.png"):
            with self.writing(name) as spare:
                spare.write_bytes(data[:100])
                raise OSError(errno.ENOSPC, "No space left on device")
        write(self, name, data)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(OutputError, match="No space left on device"):
        draw_atlas(small, store, layers=["conv1"], on_message=told.append, **QUICK)
    monkeypatch.setattr(Store, "write", write)
    assert "2 of 4 units are finished" in told[-1]
    assert pictures(store).items() <= expected.items()
    assert not list((tmp_path / "full").rglob(".*.part"))
    draw_atlas(small, store, layers=["conv1"], **QUICK)
    assert pictures(store) == expected


def test_what_a_kill_left_is_swept_up(small, tmp_path):
    """Half-written files beside the pictures go when the run goes on."""
    draw_atlas(small, tmp_path, layers=["conv1"], **QUICK)
    (tmp_path / "small" / "conv1" / ".conv1-0001.png.abcd1234.part").write_bytes(b"half")
    draw_atlas(small, tmp_path, layers=["conv1"], **QUICK)
    assert not list(tmp_path.rglob(".*.part"))


def test_one_run_at_a_time(small, tmp_path):
    """A second run on a network's folder is refused while the first lasts; another network's is not."""
    store = open_store(tmp_path)
    with hold_lock(store, "small"):
        with pytest.raises(OutputError, match="another run is drawing small"):
            draw_atlas(small, tmp_path, layers=["conv1"], **QUICK)
        draw_atlas(small, tmp_path, layers=["conv1"], name="twin", **QUICK)
    draw_atlas(small, tmp_path, layers=["conv1"], **QUICK)


# --- the recipe that suits each layer ---------------------------------------------------------------------------

AUTO = {"recipe": ask_recipe(None, steps=2), "precision": "float32", "progress": False}


def test_each_layer_by_what_suits_it(small, memory):
    """Without a named recipe layers are drawn as `show` draws them; which recipe that is stands in network.json."""
    draw_atlas(small, memory, layers=["conv1", "predictions"], **AUTO)
    told = memory.read_json("small/network.json")
    assert told["recipe"] == {"name": "auto", "changes": {"steps": 2}}
    assert [row["recipe"]["name"] for row in told["layers"]] == ["sharp", "robust"]
    assert {(r["layer"], r["recipe"]) for r in rows(memory)} == {
        ("conv1", "sharp"),
        ("predictions", "robust"),
    }
    shown = next(iter(draw(small, small.targets("predictions:0"), AUTO["recipe"], Run(0, "float32"))))
    meta = json.loads(
        Image.open(io.BytesIO(memory.read("small/predictions/predictions-0000.png"))).text[CHUNK]
    )
    assert meta["recipe"] == json.loads(shown.recipe.model_dump_json())


def test_goes_on_with_what_was_chosen(small, memory, monkeypatch):
    """A layer that is begun keeps its recipe, though the rules change; what no recipe is named for is not refused."""
    draw_atlas(small, memory, layers=["conv1"], **AUTO)
    before = pictures(memory)
    for name in list(before)[2:]:
        memory.remove(name)
    memory.remove("small/conv1/layer.parquet")
    monkeypatch.setattr("filterscope.drawing.choice.FAR", 0.0)  # all by robust from now on
    draw_atlas(small, memory, layers=["conv1"], **AUTO)
    assert pictures(memory) == before
    with pytest.raises(ArgumentError, match=r"recipe\.changes\.steps is 2 there and 3 here"):
        draw_atlas(small, memory, layers=["conv1"], **AUTO | {"recipe": ask_recipe(None, steps=3)})


def test_one_recipe_for_all_goes_on(small, memory):
    """An atlas that was begun with a named recipe, as all were once, goes on with that; "auto" by name is refused."""
    draw_atlas(small, memory, layers=["predictions"], **QUICK)
    again = {**QUICK, "recipe": ask_recipe(None, steps=2, size=16)}
    draw_atlas(small, memory, layers=["predictions", "conv2"], **again)
    assert {r["recipe"] for r in rows(memory)} == {"sharp"}
    assert memory.read_json("small/network.json")["recipe"]["name"] == "sharp"
    with pytest.raises(ArgumentError, match=r"recipe\.name is 'sharp' there and 'auto' here"):
        draw_atlas(
            small, memory, layers=["conv2"], **{**QUICK, "recipe": ask_recipe("auto", steps=2, size=16)}
        )


# --- changes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"recipe": get_recipe("sharp", steps=3, size=16)}, "recipe.steps is 2 there and 3 here"),
        ({"precision": "bfloat16"}, "precision is 'float32' there and 'bfloat16' here"),
    ],
)
def test_changes_are_refused(small, memory, change, said):
    """Other settings: refused with what differs; nothing changes unless told, then all is drawn anew."""
    draw_atlas(small, memory, layers=["conv1", "conv2"], **QUICK)
    before = contents(memory)
    asked = {**QUICK, **change}
    with pytest.raises(ArgumentError, match=said) as error:
        draw_atlas(small, memory, layers=["conv1"], **asked)
    assert "overwrite=True" in str(error.value)
    assert contents(memory) == before
    draw_atlas(small, memory, layers=["conv1"], overwrite=True, **asked)
    assert {r["layer"] for r in rows(memory)} == {"conv1"}
    after = contents(memory)
    draw_atlas(small, memory, layers=["conv1"], overwrite=True, **asked)  # the same now: it goes on with it
    assert pictures(memory) == {n: d for n, d in after.items() if n.endswith(".png")}


def test_other_weights_and_versions_are_refused(small, memory, monkeypatch):
    """Other weights under the same name, another minor version: noticed; a patch is not."""
    draw_atlas(small, memory, layers=["conv1"], **QUICK)
    told = memory.read_json("small/network.json")
    memory.write_json("small/network.json", {**told, "weights_sha256": "ab" * 32})
    with pytest.raises(ArgumentError, match="weights_sha256 is 'abab"):
        draw_atlas(small, memory, layers=["conv1"], **QUICK)
    memory.write_json("small/network.json", {**told, "version": "99.1.0"})
    with pytest.raises(ArgumentError, match=r"version is '99\.1' there"):
        draw_atlas(small, memory, layers=["conv1"], **QUICK)
    memory.write_json("small/network.json", {**told, "version": told["version"] + "1"})
    draw_atlas(small, memory, layers=["conv1"], **QUICK)


def test_precision_auto_goes_on_with_what_is_there(small, memory):
    """`auto` on another machine takes the precision that the atlas was begun with."""
    draw_atlas(small, memory, layers=["conv1"], **QUICK)
    draw_atlas(small, memory, layers=["conv1"], **{**QUICK, "precision": "auto"})


def test_foreign_files_are_left_alone(small, tmp_path):
    """A folder that is no atlas and holds files an atlas would overwrite is refused, unless told."""
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(ArgumentError, match=r"holds report\.json"):
        draw_atlas(small, tmp_path, layers=["conv1"], **QUICK)
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert (tmp_path / "report.json").read_text() == "[]"
    draw_atlas(small, tmp_path, layers=["conv1"], overwrite=True, **QUICK)


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"layers": ["conv3"]}, TargetError, "did you mean 'conv"),
        ({"layers": ["picture"]}, TargetError, "network's input"),
        ({"layers": ["conv1:3"]}, ArgumentError, "whole layers"),
        ({"on": "cloud"}, ArgumentError, "local or ray"),
        ({"on": "ray"}, ArgumentError, "cannot be sent to Ray's workers"),
        ({"layers": ["predictions"], "recipe": get_recipe(size=40)}, ArgumentError, "16 x 16 px only"),
    ],
)
def test_what_cannot_be_done(small, memory, more, error, said):
    """Refused before anything is written."""
    with pytest.raises(error, match=said):
        draw_atlas(small, memory, **{**QUICK, **more})
    assert contents(memory) == {}


# --- failures ------------------------------------------------------------------------------------------------


@pytest.fixture
def sick(monkeypatch):
    """Units that fail while it lasts; yields a function that heals them."""
    ill = {("conv1", 1), ("conv2", 4)}

    def weak(net, targets, *arguments, **more):
        for target in targets:
            if (target.layer, target.unit) in ill:
                raise WorkError(f"the picture of {target} is not finite\nand more")
        return draw(net, targets, *arguments, **more)

    monkeypatch.setattr(drawer, "draw", weak)
    return ill.clear


def test_a_unit_that_fails(small, memory, sick):
    """Its chunk's other units are drawn, the run goes on, index and report say why; nothing redraws it unasked."""
    summary = draw_atlas(small, memory, **QUICK)
    assert (summary["failed"], summary["pictures"]) == (2, 17)
    bad = [r for r in summary["not_ok"] if r["status"] == "failed"]
    assert [r["target"] for r in bad] == ["conv1:1", "conv2:4"]
    assert bad[0]["reason"] == "WorkError: the picture of conv1:1 is not finite"
    row = next(r for r in rows(memory) if (r["layer"], r["unit"]) == ("conv1", 1))
    assert (row["file"], row["activation"], row["curve"]) == (None, None, [])
    assert row["alike"] is not None  # other pictures excite it or not
    sick()
    assert draw_atlas(small, memory, **QUICK)["failed"] == 2


def test_retry(small, memory, sick):
    """--retry draws failed units again, with the same seed, and none else."""
    draw_atlas(small, memory, **QUICK)
    before = pictures(memory)
    sick()
    summary = draw_atlas(small, memory, retry=True, **QUICK)
    assert (summary["failed"], summary["drawn"]) == (0, 2)
    after = pictures(memory)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"small/conv1/conv1-0001.png", "small/conv2/conv2-0004.png"}
    assert {r["seed"] for r in rows(memory)} == {0}
    told = []
    draw_atlas(small, memory, retry=True, on_message=told.append, **QUICK)
    assert "nothing to retry" in told[-1]


@pytest.fixture
def with_dead(keras_with_weights):
    """A network whose second unit no input excites."""
    import keras

    from filterscope.networks import open_network

    model = keras_with_weights(
        keras.Sequential(
            [keras.Input((8, 8, 3), name="i"), keras.layers.Conv2D(4, 3, activation="relu", name="conv")],
            name="dead",
        )
    )
    kernel, bias = (np.array(w) for w in model.layers[0].get_weights())
    kernel[..., 1], bias[:] = 0, (500, -1, 500, 500)
    model.layers[0].set_weights([kernel, bias])
    return open_network(model)


def test_dead_units(with_dead, memory):
    """A dead unit is listed with a reason, and retried from other noise, its new seed on record."""
    summary = draw_atlas(with_dead, memory, **QUICK)
    assert summary["dead"] == 1
    (bad,) = (r for r in summary["not_ok"] if r["status"] == "dead")
    assert (bad["target"], "nothing excites it" in bad["reason"]) == ("conv:1", True)
    first = pictures(memory)
    assert draw_atlas(with_dead, memory, retry=True, **QUICK)["dead"] == 1
    assert [r["seed"] for r in rows(memory)] == [0, 1, 0, 0]
    changed = {name for name, data in pictures(memory).items() if first[name] != data}
    assert changed == {"dead/conv/conv-0001.png"}
    draw_atlas(with_dead, memory, retry=True, **QUICK)
    assert [r["seed"] for r in rows(memory)] == [0, 2, 0, 0]


@pytest.mark.parametrize("after", [False, True])
def test_a_retry_killed_at_every_write(small, memory, sick, after):
    """A retry cut short anywhere is finished by the same command, as an uninterrupted one would have."""
    layers = ["conv1", "conv2"]
    draw_atlas(small, memory, layers=layers, **QUICK)
    before = contents(memory)
    sick()
    whole = Mortal(memory, -1, False)
    draw_atlas(small, whole, layers=layers, retry=True, **QUICK)
    expected, index = pictures(memory), rows(memory)
    for at in range(len(whole.written)):
        store = open_store(f"memory://{uuid.uuid4().hex}")
        for name, data in before.items():
            store.write(name, data)
        with pytest.raises(Killed):
            draw_atlas(small, Mortal(store, at, after), layers=layers, retry=True, **QUICK)
        draw_atlas(small, store, layers=layers, retry=True, **QUICK)
        assert pictures(store) == expected
        assert rows(store) == index
