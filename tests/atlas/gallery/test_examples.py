"""Forty photographs as crops, those of each class, labels and numbers: their data, and the pages in a browser."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.made_up_atlas import HOSTILE, rows_of, write_atlas

from filterscope.atlas.gallery.data import LayerPages, describe_more, describe_unit, group_units
from filterscope.atlas.gallery.pages import build_gallery
from filterscope.atlas.storage.manifest import LayerEntry
from filterscope.atlas.storage.rows import Row
from filterscope.atlas.storage.store import open_store

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # selenium's pipes

LABELS = ["zebra stripes", "dots", HOSTILE, ""]
CLASSES = ["sea_snake", "tench"]


def rows_with_examples(layer: str, units: int) -> list[dict]:
    """Rows of a layer with forty photographs each, crops, classes, labels and numbers."""
    rows = rows_of("net", layer, units)
    for row in rows:
        unit = row["unit"]
        one = row["examples"][0]
        row["examples"] = [
            {**one, "image": f"photo-{i}.jpg", "file": f"net/examples/{i % 9:06d}.jpg"} for i in range(40)
        ]
        row |= {
            "crops": f"net/{layer}/examples-{unit:04d}.webp",
            "classes": [
                {"name": name, "mean": 2.0 - i, "examples": [{**one, "row": None, "column": None}] * 3}
                for i, name in enumerate([*CLASSES, HOSTILE])
            ],
            "best_class": CLASSES[unit % 2], "selectivity": (unit * 7 % units) / units, "sparsity": 0.5,
            "clarity": None, "label": LABELS[unit % 4] or None, "label_similarity": 0.25,
        }  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def atlas(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("examples") / "atlas"
    layers = {"conv1": rows_with_examples("conv1", 12), "plain": rows_of("net", "plain", 5)}
    write_atlas(place, {"net": layers})
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((960, 384)).save(buffer, "WEBP")
    store = open_store(place)
    for unit in range(12):
        store.write(f"net/conv1/examples-{unit:04d}.webp", buffer.getvalue())
    build_gallery(place)
    return place


def told(path: Path) -> list:
    """The data that a script hands over."""
    literals = re.findall(r"JSON\.parse\('((?:[^'\\]|\\.)*)'\)", path.read_text())
    return [
        json.loads(re.sub(r"\\(u003c|.)", lambda m: "<" if m[1] == "u003c" else m[1], x)) for x in literals
    ]


def test_the_first_nine_come_with_the_panel(atlas):
    """The other photographs, and those of the classes, are in a file of their own; a layer without them has none."""
    units, number = told(atlas / "net/conv1/units-0.js")
    assert (number, len(units)) == (0, 12)
    assert [len(units[0]["examples"]), units[0]["found"], units[0]["classes"]] == [9, 40, 3]
    assert units[0]["examples"][8]["at"] == 8
    assert units[0]["crops"] == {"file": "net/conv1/examples-0000.webp", "rows": 4}
    assert units[1]["label"] == ["dots", 0.25]
    assert units[1]["numbers"] == {
        "selectivity": 0.5833,
        "sparsity": 0.5,
        "clarity": None,
        "polysemanticity": None,
    }
    more, number = told(atlas / "net/conv1/more-0.js")
    assert (number, [e["at"] for e in more[0]["examples"]]) == (0, list(range(9, 40)))
    assert [one["name"] for one in more[0]["classes"]] == [*CLASSES, HOSTILE]
    assert not (atlas / "net/plain/more-0.js").exists()
    assert (atlas / "net/conv1/units-0.js").stat().st_size < 1.3 * 12 / 5 * (
        (atlas / "net/plain/units-0.js").stat().st_size
    )


def test_the_catalog_has_labels_and_numbers(atlas):
    """Each class's name once; what no unit has is left out."""
    conv, plain = told(atlas / "net/catalog.js")[0]
    assert conv["labels"] == LABELS * 3
    assert conv["best"] == {"names": CLASSES, "of": [0, 1] * 6}
    assert set(conv["numbers"]) == {"selectivity", "sparsity"}
    assert (plain["labels"], plain["best"], plain["numbers"]) == (None, None, {})


def test_files_outside():
    """A sheet or a photograph that leads out of the atlas is not linked."""
    rows = rows_with_examples("conv1", 3)
    rows[0] |= {"crops": "../secret.webp"}
    rows[0]["classes"][0]["examples"][0]["file"] = "/etc/passwd"
    (unit, *_) = group_units(map(Row.model_validate, rows))
    layer = LayerPages(LayerEntry(name="conv1"), [unit])
    assert describe_unit(unit, layer, None)["crops"] is None
    files = [e["file"] for one in describe_more(unit, layer, None)["classes"] for e in one["examples"]]
    assert "/etc/passwd" not in files
    assert len(files) == 6


# --- in a browser -------------------------------------------------------------------------------------------


@pytest.fixture
def page(chromium, atlas):
    """Opens a page of the atlas; at the end nothing may have been complained of."""

    def go(path: str):
        file, sign, rest = re.match(r"([^?#]*)([?#]?)(.*)", path).groups()
        chromium.get("about:blank")
        chromium.get((atlas / file).as_uri() + sign + rest)
        return chromium

    chromium.get_log("browser")
    yield go
    assert [line["message"] for line in chromium.get_log("browser")] == []
    assert chromium.title != "owned"


def one(browser, selector: str):
    return browser.find_element("css selector", selector)


def count(browser, selector: str) -> int:
    return len(browser.find_elements("css selector", selector))


def until(condition, seconds: float = 10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def test_photographs(page):
    """Nine crops, then forty, whole photographs with their place, and the classes' rows."""
    browser = page("net/conv1/index.html#1")
    until(lambda: count(browser, "#panel .crop") == 9)
    assert 'examples-0001.webp")' in one(browser, "#panel .crop").get_attribute("style")
    assert count(browser, "#panel .place") == 0
    shown = [button.text for button in browser.find_elements("css selector", ".photo-buttons button")]
    assert shown == ["Whole photographs", "All 40", "By class"]
    one(browser, ".more-photos").click()
    until(lambda: count(browser, "#panel .crop") == 40)
    whole, by_class = browser.find_elements("css selector", ".photo-buttons button")
    whole.click()
    until(lambda: count(browser, "#panel .examples .place") == 40)
    assert count(browser, "#panel .crop") == 0
    by_class.click()
    until(lambda: count(browser, "#panel .by-class section") == 3)
    assert "sea_snake mean 2" in one(browser, ".by-class h4").text
    whole.click()
    assert count(browser, "#panel .crop") == 40
    assert one(browser, "#panel .label").text.startswith("dots")
    assert "SELECTIVITY" in one(browser, "#panel .scores").text.upper()


def test_search_and_sort(page):
    """Labels and the class that excites a unit most are found; units are sorted by a number, which their tiles then show."""
    browser = page("net/conv1/index.html")
    one(browser, "#search").send_keys("zebra")
    assert one(browser, "#count").text == "3 of 12 units"
    assert one(browser, ".tile-label").text == "zebra stripes"
    one(browser, "#search").clear()
    one(browser, "#search").send_keys("sea snake")
    assert one(browser, "#count").text == "6 of 12 units"
    browser = page("net/index.html?q=tench")
    assert one(browser, "#count").text == "6 of 17 units"
    options = [
        option.get_attribute("value") for option in browser.find_elements("css selector", "#sort option")
    ]
    assert options[-2:] == ["selectivity", "sparsity"]
    browser = page("net/conv1/index.html")
    browser.execute_script(
        "const s = document.getElementById('sort'); s.value = 'selectivity'; s.dispatchEvent(new Event('change'))"
    )
    scores = [float(e.text) for e in browser.find_elements("css selector", "#grid .tile-score")]
    assert scores == sorted(scores, reverse=True)
    browser.execute_script(
        "const s = document.getElementById('sort'); s.value = 'strong'; s.dispatchEvent(new Event('change'))"
    )
    assert one(browser, "#grid .tile-score").text.startswith("\N{MULTIPLICATION SIGN}")
    browser = page("net/plain/index.html")
    assert count(browser, "#sort option") == 4
