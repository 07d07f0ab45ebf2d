"""explore: the session draws, stops and keeps; the widget passes it on; its script in a browser, without a kernel."""

from __future__ import annotations

import json
import re
import sys
from importlib import resources

import pytest
from PIL import Image

import filterscope as fs
from filterscope.errors import ArgumentError
from filterscope.notebook import explore as module
from filterscope.notebook.session import Session
from filterscope.pictures.html import data_url

QUICK = {"steps": 3, "size": 32}
REQUEST = {"layer": "block1_conv1", "unit": "3", "recipe": "sharp", "seed": 1}


@pytest.fixture
def said() -> list[dict]:
    return []


def test_a_picture_emerges_and_is_kept(tiny, said, tmp_path):
    """Previews with their step, then the picture; kept in the session and as a file, once."""
    session = Session(tiny, said.append, QUICK, tmp_path)
    session.draw(REQUEST)
    session.wait()
    assert said[0]["state"] == "drawing"
    assert said[1]["message"].startswith("step 1 of 3, activation")
    assert said[1]["image"].startswith("data:image/jpeg;base64,")
    assert said[-1]["state"] == "idle"
    assert said[-1]["image"].startswith("data:image/png;base64,")
    assert (session.picture.seed, str(session.picture.target)) == (1, "block1_conv1:3")
    session.keep()
    session.keep()
    assert session.kept == [session.picture]
    assert len(session.sheet) == 1
    assert [row["name"] for row in said[-1]["kept"]] == ["block1_conv1:3"]
    assert (tmp_path / "block1_conv1-0003.png").is_file()


def test_stopped(tiny, said):
    """At the next step; the widget is idle again, and the picture before it stays."""
    session = Session(tiny, lambda told: (said.append(told), session.stop()), QUICK)
    session.draw(REQUEST)
    session.wait()
    assert said[-1] == {"state": "idle", "message": "stopped"}
    assert session.picture is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "99"}, "has units 0 to 31"),
        ({"unit": "3,4"}, "draws one picture"),
        ({"layer": "nowhere"}, "has no layer 'nowhere'"),
        ({"recipe": "dull"}, "dull"),
        ({"seed": -1}, "a seed is a whole number"),
        ({"seed": None}, "a seed is a whole number"),
    ],
)
def test_what_cannot_be_drawn_is_said(tiny, said, change, message):
    """As the library's errors say it."""
    session = Session(tiny, said.append, QUICK)
    session.draw({**REQUEST, **change})
    session.wait()
    assert said[-1]["state"] == "idle"
    assert message in said[-1]["message"]


def test_choices(tiny):
    """Layers with weights, classes by name, recipes with auto first."""
    found = Session(tiny, print).choices()
    names = [row["name"] for row in found["layers"]]
    assert "block5_conv3" in names
    assert "input_layer" not in names
    assert next(row for row in found["layers"] if row["name"] == "predictions")["classes"][0] == "goldfish"
    assert found["recipes"][0] == "auto"


def test_the_widget(tiny):
    """What comes from the browser reaches the session, what it shows becomes the widget's state."""
    pytest.importorskip("anywidget")
    widget = fs.explore(tiny, **QUICK)
    widget._answer({"do": "draw", **REQUEST})
    widget.session.wait()
    assert widget.state == "idle"
    assert "block1_conv1:3" in widget.message
    widget._answer({"do": "keep"})
    assert widget.kept == [widget.picture]
    assert len(widget.kept_rows) == 1
    for nothing in ("draw", {}, {"do": "dance"}, None):
        widget._answer(nothing)
    assert "http" not in re.sub(r"http://www.w3.org", "", widget._esm + widget._css)


def test_without_anywidget(monkeypatch, tiny):
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.setattr(module, "_widget_class", module._widget_class.__wrapped__)
    with pytest.raises(ArgumentError, match=r"pip install 'filterscope\[notebook\]'"):
        fs.explore(tiny)


PAGE = """<!doctype html><meta charset="utf-8"><style>:root {{ color-scheme: light dark }} {css}</style><div id="here"></div>
<script>
{script}
const values = {values}, on = {{}};
window.sent = [];
window.model = {{
  get: (name) => values[name], send: (told) => window.sent.push(told),
  on: (name, call) => {{ on[name] = call; }}, off: (name) => {{ delete on[name]; }},
  put(name, value) {{ values[name] = value; on["change:" + name](); }},
}};
window.end = widget.render({{ model: window.model, el: document.getElementById("here") }});
</script>"""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_script(chromium, tiny, tmp_path):
    """Layer, unit and seed are sent; a picture and what is kept are shown, names as text."""
    templates = resources.files("filterscope.notebook") / "templates"
    script = (templates / "explore.js").read_text().replace("export default", "const widget =")
    values = {
        "choices": Session(tiny, print).choices(), "chosen": {"recipe": "auto", "seed": 2}, "state": "idle",
        "progress": 0, "message": "", "image": "", "kept_rows": [],
    }  # fmt: skip
    page = tmp_path / "explore.html"
    css = (templates / "explore.css").read_text()
    page.write_text(PAGE.format(css=css, script=script, values=json.dumps(values)), encoding="utf-8")

    def one(selector):
        return chromium.find_element("css selector", selector)

    chromium.get_log("browser")
    chromium.get(page.as_uri())
    one("select option[value=predictions]").click()
    assert one("datalist option").get_attribute("value") == "goldfish"
    unit = one("input[list]")
    unit.clear()
    unit.send_keys("7")
    one(".first").click()
    one("[aria-label='Next unit']").click()
    sent = chromium.execute_script("return window.sent")
    assert sent == [
        {"do": "draw", "layer": "predictions", "unit": unit, "recipe": "auto", "seed": 2}
        for unit in ("7", "8")
    ]
    url = data_url(Image.new("L", (1, 1)))
    chromium.execute_script(
        """const m = window.model; m.put("state", "drawing"); m.put("progress", 0.5); m.put("image", arguments[0]);
        m.put("message", "<b>")""",
        url,
    )
    assert one(".said").text == "<b>"
    assert not one(".bar").value_of_css_property("width").startswith("0")
    one("form button:nth-last-of-type(2)").click()
    assert chromium.execute_script("return window.sent.pop()") == {"do": "stop"}
    chromium.execute_script(
        """const m = window.model; m.put("state", "idle");
        m.put("kept_rows", [{name: "<i>", said: "x", image: arguments[0]}])""",
        url,
    )
    assert one(".kept figcaption").text == "<i>\nx"
    assert one(".stage img").is_displayed()
    one("form button:nth-last-of-type(1)").click()
    assert chromium.execute_script("return window.sent.pop()") == {"do": "keep"}
    assert [line["message"] for line in chromium.get_log("browser")] == []
