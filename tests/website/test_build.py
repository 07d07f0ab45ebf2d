"""The documentation site: it builds without a warning, its links hold, it has every name and command."""

from __future__ import annotations

import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest
from website.__main__ import build

import filterscope as fs
from filterscope.cli import cli
from website import HOME, links, pages


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, with its notebooks as they are kept; what mkdocs warns of fails here."""
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the builder's own libraries; its warnings about pages are logged
        assert build(out, execute=False) == []
    return out


class Text(HTMLParser):
    """What a page shows."""

    def __init__(self, path: Path):
        super().__init__()
        self.found: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def text_of(path: Path) -> str:
    return "".join(Text(path).found)


def test_every_page_is_built(site):
    """Those that are written, and one for each command."""
    written = {path.relative_to(HOME / "docs").with_suffix(".html") for path in (HOME / "docs").rglob("*.md")}
    notebooks = {
        path.relative_to(HOME / "docs").with_suffix(".html") for path in (HOME / "docs").rglob("*.ipynb")
    }
    commands = {Path("reference/cli") / f"{name}.html" for name in cli.commands}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert written | notebooks | commands <= built


def test_no_page_asks_another_address(site):
    """Nor is anything loaded from one (links.find_faults); the theme asks GitHub where repo_url is set."""
    assert 'data-md-component="source"' not in (site / "index.html").read_text(encoding="utf-8")
    assert (site / "search" / "search_index.js").read_text(encoding="utf-8").startswith("var __index = {")


def test_every_public_name_is_explained(site):
    """With its signature and its docstring, at a place that a link can name."""
    places = set()
    for path in (site / "reference").glob("*.html"):
        places |= links._read(path).places
    assert {f"filterscope.{name}" for name in fs.__all__} <= places
    shown = text_of(site / "reference" / "pictures.html")
    assert "Draw the picture that excites a unit most" in shown
    assert "on_step: OnStep | None = None" in shown


def test_commands_pages_are_their_own_help(site):
    """Letter by letter."""
    for name in ("show", "atlas"):
        assert pages.help_text(name) in text_of(site / "reference" / "cli" / f"{name}.html")


def test_faults_are_found(tmp_path):
    """Files and places that are not there, and what a page would load from another address."""
    (tmp_path / "a.html").write_text(
        '<a href="b.html">b</a><a href="c.html#there">c</a><a href="c.html#nowhere">c</a><a href="#top">top</a>'
        '<a href="https://example.org/x">out</a><script src="https://example.org/x.js"></script><img src="p.png">'
        '<link rel="stylesheet" href="//fonts.example.org/f.css"><a href="/base/c.html">c</a>'
    )
    (tmp_path / "c.html").write_text('<h1 id="there">c</h1>')
    assert links.find_faults(tmp_path, "https://example.org/base/") == [
        "a.html: loads https://example.org/x.js",
        "a.html: loads //fonts.example.org/f.css",
        "a.html: b.html leads to no file",
        "a.html: c.html#nowhere leads to no place on that page",
        "a.html: #top leads to no place on that page",
        "a.html: p.png leads to no file",
    ]
