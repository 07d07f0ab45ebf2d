"""The page of a recording in a real browser, from the file system: slider, play, panels, names that are no markup."""

from __future__ import annotations

import pytest
from PIL import Image
from tests.helpers.made_up_atlas import HOSTILE

from filterscope.epochs.folder import Recording
from filterscope.epochs.pages import write_page

TIMES, NOTHING = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # selenium's pipes


def turn(folder, epoch: int, status: str) -> dict:
    """Two units, the second of which dies; a picture of one colour each."""
    rows = []
    for unit, name in ((0, ""), (1, HOSTILE)):
        file = f"epoch-{epoch:05d}/conv-000{unit}.png"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (40 * epoch % 256, 90, 90 * unit)).save(folder / file)
        rows.append(
            {
                "name": f"conv-000{unit}", "target": f"conv:{unit}", "class_name": name, "file": file,
                "status": status if unit else "ok", "activation": 1.0 * epoch, "excitation": 0.5 * epoch or None,
                "probability": None, "start": 0.1, "change": 0.25 if epoch else None,
            }
        )  # fmt: skip
    return {
        "epoch": epoch, "weights_sha256": str(epoch), "steps": 16, "images": 8, "seconds": 0.5, "units": rows,
        "dead": {"relu": [epoch, 4]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    turns = [turn(folder, epoch, "dead" if epoch == 4 else "ok") for epoch in (0, 2, 4)]
    return write_page(Recording(folder, {"network": "small?size=8"}, turns), ["A note <b>", "Another."])


def test_the_page(chromium, page):
    """Rows and columns, time by slider, keys and play; the panel with its animation and curves; nothing complained of."""

    def one(selector):
        return chromium.find_element("css selector", selector)

    def all_of(selector):
        return chromium.find_elements("css selector", selector)

    def status():
        return [node.text for node in all_of(".unit-status")]

    chromium.get_log("browser")
    chromium.get(page.as_uri())
    assert one("h1").text == "small while it is trained"
    assert [node.text for node in all_of("#notes li")] == ["A note <b>", "Another."]
    assert [node.text for node in all_of(".unit-words h2")] == ["conv:0", HOSTILE]
    assert len(all_of(".moment")) == 6
    assert status() == [f"excitation {TIMES}2.00, changed by 25 %", "dead"]
    assert "dead at epoch 4: conv:1" in one("#count").text
    assert one("#relu-charts figcaption").text == "relu 4 of 4 dead"
    chromium.execute_script(
        "const t = document.getElementById('time'); t.value = 0; t.dispatchEvent(new Event('input'))"
    )
    assert one("#now").text == "epoch 0 of 4"
    assert one(".big-button img").get_attribute("src").endswith("epoch-00000/conv-0000.png")
    assert status()[1] == f"excitation {NOTHING}"
    all_of(".moment")[1].click()
    assert one("#now").text == "epoch 2 of 4"
    loaded = "return [...document.images].every((i) => i.complete && i.naturalWidth > 0)"
    assert chromium.execute_script(loaded)
    all_of(".big-button")[1].click()
    assert HOSTILE in one("#panel-title").text
    assert "animations/conv-0001.webp" in one("#panel-body .picture").get_attribute("src")
    assert len(all_of("#panel-body .chart")) == 2
    assert [row.text for row in all_of(".numbers tbody tr")][2] == f"4 {TIMES}2.00 25 % dead"
    one("#close").click()
    dark = "document.documentElement.dataset.theme = arguments[0]; return getComputedStyle(document.body).backgroundColor"
    assert chromium.execute_script(dark, "dark") != chromium.execute_script(dark, "light")
    assert [line["message"] for line in chromium.get_log("browser")] == []
