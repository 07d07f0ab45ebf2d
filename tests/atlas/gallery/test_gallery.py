"""gallery/: pages for every unit, nothing outside the atlas, names only ever text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.made_up_atlas import HOSTILE, rows_of, write_atlas

from filterscope.atlas.gallery.data import LayerPages, describe_unit, group_units, round_number, thin_curve
from filterscope.atlas.gallery.kept import keep_picture, list_kept
from filterscope.atlas.gallery.pages import build_gallery, make_script
from filterscope.atlas.gallery.paths import check_inside, folder_name, is_inside, quote_path
from filterscope.atlas.storage.manifest import LayerEntry
from filterscope.atlas.storage.rows import Row
from filterscope.atlas.storage.store import open_store
from filterscope.errors import ArgumentError, DamagedError


@pytest.fixture(scope="module")
def atlas(tmp_path_factory) -> Path:
    """Two networks: plain layers, one with facets, one with hostile class names; its pages are built."""
    place = tmp_path_factory.mktemp("gallery") / "atlas"
    networks = {
        "net": {
            "conv/1": rows_of("net", "conv/1", 150),
            "faceted": rows_of("net", "faceted", 5, facets=3),
            "classes": rows_of("net", "classes", 8, names=[HOSTILE, "sea_snake", *"abcdef"]),
        },
        "other": {"conv1": rows_of("other", "conv1", 4, examples=False)},
    }
    write_atlas(place, networks)
    assert build_gallery(place) == f"{place}/index.html"
    return place


def told(path: Path) -> list:
    """The data that a script hands over."""
    text = path.read_text()
    assert re.fullmatch(r"filterscope\.\w+\((JSON\.parse\('.*'\)(, )?)+\);\n", text)
    literals = re.findall(r"JSON\.parse\('((?:[^'\\]|\\.)*)'\)", text)  # a JavaScript string, then JSON
    return [
        json.loads(re.sub(r"\\(u003c|.)", lambda m: "<" if m[1] == "u003c" else m[1], x)) for x in literals
    ]


class Links(HTMLParser):
    """Every address a page names, its tags, and its text."""

    def __init__(self):
        super().__init__()
        self.addresses, self.tags, self.handlers = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.addresses.append(value)
            if name == "style":
                self.addresses += re.findall(r"url\(([^)]*)\)", value)
            if name.startswith("on"):
                self.handlers.append((tag, name))


def pages(atlas: Path) -> list[Path]:
    return sorted(atlas.rglob("*.html"))


def test_pages(atlas):
    """A page for the atlas, one for each network and each layer; separators in a layer's name are dots."""
    found = [str(p.relative_to(atlas)) for p in pages(atlas)]
    assert found == [
        "index.html", "net/classes/index.html", "net/conv.1/index.html", "net/faceted/index.html", "net/index.html",
        "other/conv1/index.html", "other/index.html",
    ]  # fmt: skip


def test_links_lead_somewhere(atlas):
    """Every address on every page is a file of the atlas: no server, no internet."""
    from urllib.parse import unquote

    for page in pages(atlas):
        links = Links()
        links.feed(page.read_text())
        assert links.addresses
        for address in links.addresses:
            if address.startswith(("#", "data:")):
                continue
            target = (page.parent / unquote(address.partition("?")[0])).resolve()
            assert target.is_file(), (page, address)
            assert target.is_relative_to(atlas.resolve())


def test_no_inline_code(atlas):
    """Pages hold no code of their own: scripts are files, there are no handlers, and a policy forbids both."""
    for page in pages(atlas):
        text = page.read_text()
        links = Links()
        links.feed(text)
        assert not links.handlers
        assert re.findall(r"<make_script(?! src=)", text) == []
        assert "script-src 'self' file:;" in text


def test_catalog(atlas):
    """A layer's script gives every unit's number, status and excitation in the sprites' order."""
    (layer,) = told(atlas / "net/conv.1/layer.js")[0]
    rows = rows_of("net", "conv/1", 150)
    assert layer["units"] == list(range(150))
    assert [("ok", "no-gain", "dead", "failed")[int(s)] for s in layer["status"]] == [
        r["status"] for r in rows
    ]
    assert layer["excitation"][3] == pytest.approx(rows[3]["excitation"], rel=1e-3)
    assert layer["excitation"][149] is None
    assert layer["sheets"]["shown"] == "1" * 149 + "0"
    assert layer["sheets"]["rows"] == [12, 1]
    assert all((atlas / "net/conv.1" / name).is_file() for name in layer["sheets"]["files"])
    (whole,) = told(atlas / "net/catalog.js")
    assert [row["name"] for row in whole] == ["conv/1", "faceted", "classes"]
    assert whole[0] == layer


def test_details(atlas):
    """A chunk of 64 units: each one's facets, curve, photographs with their place, units alike."""
    units, chunk = told(atlas / "net/conv.1/units-1.js")
    assert (chunk, [u["unit"] for u in units]) == (1, list(range(64, 128)))
    assert not (atlas / "net/conv.1/units-3.js").exists()
    first = units[0]
    assert len(first["examples"]) == 9
    assert first["examples"][0] == {
        "file": "net/examples/000000.jpg", "image": "photo-0.jpg", "activation": 3.0, "x": 0.5, "y": 0.25,
        "share": 0.3125,  # sees 20 of 64 px
    }  # fmt: skip
    assert first["alike"][0] == [65, 0.9]
    assert first["histogram"]["counts"][0] == 900
    assert first["natural"]["best"] == 3
    facets, _ = told(atlas / "net/faceted/units-0.js")
    assert [p["file"] for p in facets[0]["pictures"]] == [
        f"net/faceted/faceted-0000{e}.png" for e in ("", "~1", "~2")
    ]
    assert facets[4]["reason"] == "out of memory"
    assert facets[4]["pictures"][0]["file"] is None


def test_hostile_names(atlas):
    """A class's name is text wherever it goes."""
    (layer,) = told(atlas / "net/classes/layer.js")[0]
    assert layer["classes"][0] == HOSTILE
    for path in (*atlas.rglob("*.html"), *(p for p in atlas.rglob("*.js") if p.parent.name != "_gallery")):
        assert "<img src=x" not in path.read_text()
        assert "</script><img" not in path.read_text()


def test_hostile_networks_and_layers(tmp_path):
    """A network's and a layer's name too, on pages and in addresses; a folder that leads out is not followed."""
    rows = rows_of("net", HOSTILE, 3)
    for row in rows:
        row["file"] = "net/layer/picture.png"
    write_atlas(tmp_path / "atlas", {"net": {HOSTILE: rows}}, name=HOSTILE, input="<script>alert(1)</script>")
    record = json.loads((tmp_path / "atlas/net/network.json").read_text())
    record["layers"][0]["folder"] = "../../out"
    (tmp_path / "atlas/net/network.json").write_text(json.dumps(record))
    build_gallery(tmp_path / "atlas")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["atlas"]
    for page in pages(tmp_path / "atlas"):
        links = Links()
        links.feed(page.read_text())
        assert "img" not in links.tags
        assert not links.handlers
        assert "<script>alert" not in page.read_text()


def test_files_outside(tmp_path):
    """An index that names files outside the atlas: they are neither read nor linked."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    rows = rows_of("net", "conv", 6)
    for row, file in zip(
        rows, ["../secret.png", "/etc/passwd", "a\\..\\b", "net/\0", "javascript:1"], strict=False
    ):
        row["file"] = file
    (unit, *_) = group_units(map(Row.model_validate, rows))
    assert unit.file is None
    layer = LayerPages(LayerEntry(name="conv"), [unit])
    assert describe_unit(unit, layer, (64, 64))["pictures"][0]["file"] is None


def test_damaged_pictures(tmp_path):
    """A picture that is cut short or missing leaves its place empty; the rest is shown."""
    place = write_atlas(tmp_path / "atlas", {"net": {"conv": rows_of("net", "conv", 6)}})
    (place / "net/conv/conv-0001.png").write_bytes((place / "net/conv/conv-0001.png").read_bytes()[:60])
    (place / "net/conv/conv-0002.png").unlink()
    build_gallery(place)
    (layer,) = told(place / "net/conv/layer.js")[0]
    assert layer["sheets"]["shown"] == "100110"


def test_not_finite(tmp_path):
    """NaN in the index is no number on the pages."""
    rows = rows_of("net", "conv", 3)
    rows[0] |= {"activation": float("nan"), "excitation": float("inf"), "curve": [1.0, float("nan"), 2.0]}
    place = write_atlas(tmp_path / "atlas", {"net": {"conv": rows}})
    build_gallery(place)
    (layer,), (units, _) = told(place / "net/conv/layer.js")[0], told(place / "net/conv/units-0.js")
    assert layer["excitation"][0] is None
    assert units[0]["pictures"][0]["curve"] == [[1, 1], [3, 2]]


def test_no_atlas(tmp_path):
    """A folder without an atlas is an error that says how to make one; so is a damaged one."""
    with pytest.raises(ArgumentError, match="holds no atlas; filterscope atlas NET with out="):
        build_gallery(tmp_path)
    (tmp_path / "atlas.json").write_text('{"format": 1')
    with pytest.raises(ArgumentError, match="holds no atlas that can be read"):
        build_gallery(tmp_path)


def test_damaged_index(tmp_path):
    """A cut index is an error that names it."""
    place = write_atlas(tmp_path / "atlas", {"net": {"conv": rows_of("net", "conv", 3)}})
    (place / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArgumentError, match=r"index\.parquet is damaged"):
        build_gallery(place)


def test_unfinished(tmp_path):
    """An atlas of which nothing is drawn yet has pages that say so."""
    place = write_atlas(tmp_path / "atlas", {"net": {}})
    build_gallery(place)
    assert "No picture of this network is finished yet" in (place / "net/index.html").read_text()


def test_elsewhere():
    """An atlas at any fsspec address gets its pages there."""
    store = open_store("memory://gallery-test")
    local_rows = rows_of("net", "conv", 3, examples=False)
    write_atlas("memory://gallery-test", {"net": {"conv": local_rows}})
    assert build_gallery("memory://gallery-test") == "memory://gallery-test/index.html"
    assert b"<!doctype html>" in store.read("net/conv/index.html")
    store.remove("")


def test_kept(tmp_path, picture):
    """A kept picture lies beside the atlas' own, twice the same is one file, and the pages know it."""
    place = write_atlas(tmp_path / "atlas", {"net": {"block3_conv1": rows_of("net", "block3_conv1", 40)}})
    store = open_store(place)
    file = keep_picture(store, "net", picture())
    assert file == keep_picture(store, "net", picture())
    assert re.fullmatch(r"net/drawn/block3_conv1-0034--tv-5-[0-9a-f]{8}\.png", file)
    (place / "net/drawn/other--1.png").write_bytes(b"no picture")
    (row,) = list_kept(store, "net")
    assert (row["layer"], row["unit"], row["recipe"], row["seed"]) == ("block3_conv1", 34, "tv", 5)
    build_gallery(place)
    assert told(place / "net/drawn/drawn.js") == [[row]]


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../../b", "a\\b", "a\0b"])
def test_inside(path):
    """A path that leads out is refused."""
    with pytest.raises(DamagedError, match="leads out"):
        check_inside(path)
    assert not is_inside(path)


def test_paths():
    """Paths stay themselves; folders of dots alone are renamed; links escape every special sign."""
    assert check_inside("net/conv1/a~1.png") == "net/conv1/a~1.png"
    assert not is_inside(None)
    assert folder_name("..") == "_.."
    assert folder_name("a/b c") == "a.b.c"
    assert quote_path("a'b\")(#?.png") == "a%27b%22%29%28%23%3F.png"


def test_numbers():
    """Significant digits; nothing that is not finite; numpy's numbers too."""
    assert round_number(123456.789, 3) == 123000
    assert round_number(np.float32(0.5)) == 0.5
    assert round_number("3") is None
    assert round_number(float("-inf")) is None


def test_thinned():
    """A long curve keeps its ends and its steps."""
    curve = thin_curve(list(range(1000)), most=100)
    assert len(curve) == 100
    assert (curve[0], curve[-1]) == ([1, 0], [1000, 999])
    assert thin_curve([5.0]) == [[1, 5]]


def test_script_is_json():
    """Quotes, backslashes and tags come through."""
    text = make_script("kept", ["'\\\"</script>\u2028\n"]).decode()
    assert "</" not in text
    assert text.isascii()
