"""formats.py: every form of a record is read, newer ones are refused in words, what is written carries its number."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.made_up_atlas import rows_of, write_atlas

from filterscope import notices
from filterscope.atlas.gallery.data import Index, read_networks
from filterscope.atlas.storage.index import list_network_folders
from filterscope.atlas.storage.manifest import read_manifest
from filterscope.atlas.storage.store import open_store
from filterscope.cache import Cache
from filterscope.errors import ArgumentError, DamagedError, ImageError
from filterscope.formats import NATURAL, PICTURE, REGISTER, Form
from filterscope.measure import activations, natural
from filterscope.pictures.png import CHUNK, encode_png, read_metadata
from filterscope.recipe import get_recipe
from filterscope.rerun import draw_again

WEIGHTS = Cache("weights.json", REGISTER, "files")
RECORDS = Path(__file__).parent / "records"
"""A PNG of each kind in each form, drawn by the code of its time: never to be drawn anew, never to be removed."""
FORMS = [f"format-{number}" for number in range(PICTURE.number + 1)]
PICTURES = sorted(
    str(path.relative_to(RECORDS))
    for path in RECORDS.glob("*/*.png")
    if path.stem not in ("photograph", "location")
)


def rewritten(name: str, place: Path, **changes) -> Path:
    """A copy of one of the kept pictures whose record is changed."""
    path = RECORDS / name
    with Image.open(path) as image:
        told = {**json.loads(image.text[CHUNK]), **changes}
        copy = place / path.name
        copy.write_bytes(encode_png(image.copy(), told))
    return copy


def test_a_form_is_read_step_by_step():
    """Each step makes the next form of the one before; the newest comes out, numbered."""
    form = Form(2, {0: lambda d: {"b": d["a"]}, 1: lambda d: {"c": d["b"] + 1}})
    assert form.newest({"a": 3}, "it") == {"c": 4, "format": 2}
    assert form.newest({"b": 3, "format": 1}, "it") == {"c": 4, "format": 2}
    assert form.newest({"c": 3, "format": 2}, "it") == {"c": 3, "format": 2}
    assert form.stamped({"c": 3}) == {"c": 3, "format": 2}


@pytest.mark.parametrize("number", [3, 99, 10**30])
def test_a_newer_form_is_refused_in_words(number):
    """What was written by a newer filterscope says so, and what to do."""
    with pytest.raises(
        ArgumentError,
        match=rf"^it was written by a newer filterscope \(format {number}; this one reads up to 2\): upgrade",
    ):
        Form(2, {0: dict, 1: dict}).newest({"format": number}, "it")


@pytest.mark.parametrize("number", ["1", 1.0, True, None, -1, [1], {}])
def test_a_number_that_is_none(number):
    """Only whole numbers count forms."""
    with pytest.raises(ArgumentError, match="it is damaged: its format is"):
        Form(1, {0: dict}).newest({"format": number}, "it")


def test_a_form_that_never_was():
    """A kind whose first form had a number already is not read without one."""
    with pytest.raises(ArgumentError, match="of format 0, which no filterscope wrote"):
        Form(1, {}).newest({}, "it")


@pytest.mark.parametrize("folder", FORMS)
def test_every_form_of_a_picture_is_kept(folder):
    """Each form's pictures lie in tests/records and carry that form's number."""
    names = {path.stem for path in (RECORDS / folder).glob("*.png")}
    assert {"channel-blog", "class-naive", "neuron-distill", "facet-sharp", "restart-facet", "dream"} <= names
    told = read_metadata(RECORDS / folder / "neuron-distill.png")
    assert told.get("format", 0) == int(folder.removeprefix("format-"))


@pytest.mark.parametrize("name", PICTURES)
def test_every_form_is_drawn_again(name, own_cache):
    """A picture of any form comes out the same from its own record (within what another processor rounds)."""
    again = draw_again(RECORDS / name)
    assert again.mean_difference < 3, again.describe()
    assert again.picture.metadata()["format"] == PICTURE.number


@pytest.mark.parametrize("folder", FORMS)
def test_where_a_unit_is_excited(folder):
    """An overlay of any form says what it is and how to ask again."""
    with pytest.raises(
        ImageError, match=r"ask again with filterscope locate tiny-vgg16 IMAGE block2_conv1:7"
    ):
        draw_again(RECORDS / folder / "location.png")


@pytest.mark.parametrize("name", ["channel-blog.png", "dream.png", "location.png"])
def test_a_newer_picture_is_refused_in_words(tmp_path, name):
    """A PNG of a newer filterscope names the file, both formats and what to do, whatever else it holds."""
    path = rewritten(f"format-0/{name}", tmp_path, format=7, recipe={"unheard": "of"})
    with pytest.raises(ImageError) as caught:
        draw_again(path)
    assert str(caught.value) == (
        f"{str(path)!r} was written by a newer filterscope (format 7; this one reads up to {PICTURE.number}): "
        "upgrade filterscope to read it"
    )


@pytest.mark.parametrize(
    ("name", "kinds", "rate", "facets"),
    [
        ("neuron-distill", [], 0.05, None),
        ("accentuated-neuron", [], 0.05, None),
        ("restart-sharp", ["jitter"], 0.1 / 5, None),
        ("restart-facet", ["jitter"], 0.1 / 5, None),
        ("facet-sharp", ["jitter"], 0.1, 3),
    ],
)
def test_what_form_0_held_back(name, kinds, rate, facets):
    """Form 0 held the recipe that was asked for: read today it is the one that was carried out."""
    told = read_metadata(RECORDS / "format-0" / f"{name}.png")
    assert told["recipe"]["transforms"] or name == "neuron"
    recipe = PICTURE.newest(told, "it")["recipe"]
    assert [part["kind"] for part in recipe["transforms"]] == kinds
    assert recipe["optimizer"]["lr"] == rate
    assert (recipe["facets"] or {}).get("count") == facets
    assert recipe == read_metadata(RECORDS / "format-1" / f"{name}.png")["recipe"]


@pytest.mark.parametrize("target", ["conv:3@5,6", "direction(conv, 3:1)@0,12", "conv:1 + 0.5 * conv:3@1,2"])
def test_places_in_form_0(target):
    """Any term with a place holds still; noise stays."""
    asked = json.loads(get_recipe("maco").model_dump_json())
    recipe = PICTURE.newest({"target": target, "recipe": asked}, "it")["recipe"]
    assert [part["kind"] for part in recipe["transforms"]] == ["noise"]
    for other in ("conv:3", "conv:3@cls", "direction(conv, 3:1)"):
        assert PICTURE.newest({"target": other, "recipe": asked}, "it")["recipe"] == asked


def test_a_restart_of_the_blogs_recipes_in_form_0():
    """They were drawn again at the same rate."""
    asked = json.loads(get_recipe("tv").model_dump_json())
    assert PICTURE.newest({"target": "c:3", "attempt": 2, "recipe": asked}, "it")["recipe"] == asked


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"recipe": None},
        {"recipe": {}, "attempt": [1]},
        {
            "recipe": {"optimizer": 3, "transforms": [4, None], "facets": []},
            "attempt": 1,
            "target": "c:3@1,2",
        },
        {"recipe": {"optimizer": {"lr": "x"}}, "attempt": 1},
    ],
)
def test_damaged_records_of_form_0(told):
    """What is damaged goes through the step and is refused by the check that follows."""
    assert PICTURE.newest(told, "it")["format"] == PICTURE.number


# --- caches and atlases -----------------------------------------------------------------------------------------


@pytest.fixture
def register(own_cache) -> Path:
    """Where the cache of weights lies."""
    place = own_cache / "filterscope" / "weights.json"
    place.parent.mkdir(parents=True)
    return place


def test_a_register_of_form_0(register):
    """The table alone, as it was: read, and numbered once something is added."""
    register.write_text(json.dumps({"ab": "/somewhere/a.safetensors"}))
    assert WEIGHTS.read() == {"ab": "/somewhere/a.safetensors"}
    WEIGHTS.add("cd", "/somewhere/b.safetensors")
    told = json.loads(register.read_text())
    assert told == {
        "format": 1, "files": {"ab": "/somewhere/a.safetensors", "cd": "/somewhere/b.safetensors"},
    }  # fmt: skip
    assert WEIGHTS.read() == told["files"]


def test_a_newer_register(register, caplog, monkeypatch):
    """It is left as it is, is not used, and that is said once."""
    notices.forget()
    register.write_text('{"format": 8, "places": []}')
    before = register.read_bytes()
    assert WEIGHTS.read() == {}
    WEIGHTS.add("cd", "/somewhere/b.safetensors")
    assert WEIGHTS.read() == {}
    assert register.read_bytes() == before
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == (
        f"{register} was written by a newer filterscope (format 8; this one reads up to 1): "
        "upgrade filterscope to read it; it is left as it is and not used"
    )


@pytest.mark.parametrize(
    "content", ["[]", "3", '{"format": "x"}', '{"format": 1}', '{"format": 1, "files": 3}', "[" * 10**5]
)
def test_a_damaged_register(register, content):
    """It is begun anew."""
    register.write_text(content)
    assert WEIGHTS.read() == {}
    WEIGHTS.add("cd", "/b")
    assert WEIGHTS.read() == {"cd": "/b"}


def test_programs_that_remember_at_once(register):
    """None forgets what the other has put in."""
    code = (
        "import sys; from filterscope.cache import Cache; from filterscope.formats import REGISTER\n"
        "c = Cache('weights.json', REGISTER, 'files')\n"
        "for i in range(30): c.add(f'{sys.argv[1]}{i}', 'x')"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(WEIGHTS.read()) == 60


def as_form(small, number: int | None) -> Path:
    """The cached natural activations of a layer, with the number of another form, as that form had it."""
    place = natural._cached(small, "conv1")
    with np.load(place) as file:
        arrays = {name: file[name] for name in file.files}
    told = json.loads(str(arrays.pop("meta")))
    assert told.pop("format") == NATURAL.number
    key = "form" if number is not None and number <= 2 else "format"
    told |= {} if number is None else {key: number}
    np.savez(place, meta=np.array(json.dumps(told)), **arrays)
    return place


@pytest.fixture
def remembered(small, tmp_path) -> dict:
    """Natural activations of a layer in the cache, of three pictures."""
    for i in range(3):
        Image.new("RGB", (16, 16), (80 * i, 9, 9)).save(tmp_path / f"{i}.png")
    images = sorted(tmp_path.glob("*.png"))
    found = activations.natural_activations(small, ["conv1"], images)["conv1"]
    natural.remember(small, found, images="digest", size=16)
    return {"images": "digest", "size": 16}


@pytest.mark.parametrize(("number", "same_set"), [(None, False), (1, False), (2, True), (3, True), (4, True)])
def test_natural_activations_of_older_forms(small, remembered, number, same_set):
    """Any form says what excites a unit; a set of images is known again from the form on that has their folders."""
    as_form(small, number)
    assert natural.recall(small, "conv1") is not None
    assert (natural.recall(small, "conv1", **remembered) is not None) == same_set


def test_natural_activations_of_a_newer_form(small, remembered, caplog, monkeypatch):
    """They are taken as not known, in words."""
    notices.forget()
    place = as_form(small, 9)
    assert natural.recall(small, "conv1") is None
    assert natural.recall(small, "conv1") is None
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(
        f"{place} was written by a newer filterscope (format 9; this one reads up to 4)"
    )
    assert message.endswith("what excites conv1 most is taken as not known")


@pytest.mark.parametrize("name", ["atlas.json", "NET/network.json"])
def test_a_newer_atlas(tmp_path, name):
    """Whoever reads it says so: a run that would go on, the gallery, the viewer."""
    store = open_store(tmp_path)
    write_atlas(tmp_path, {"NET": {"conv1": rows_of("NET", "conv1", 2)}})
    told = store.read_json(name)
    store.write_json(name, {**told, "format": 5})
    message = rf"{name} was written by a newer filterscope \(format 5; this one reads up to 1\)"
    with pytest.raises(ArgumentError, match=message):
        read_manifest(store, list_network_folders(store)[0])
    with pytest.raises(ArgumentError, match=message):
        read_networks(store, Index(store))


@pytest.mark.parametrize("content", ["[]", "3", '{"format": 1}', '{"format": 1, "networks": 3}'])
def test_a_damaged_atlas(tmp_path, content):
    """What names no networks is damaged."""
    (tmp_path / "atlas.json").write_text(content)
    with pytest.raises(DamagedError, match=r"atlas\.json is damaged: it names no networks"):
        list_network_folders(open_store(tmp_path))
