"""A plain page that shows sheets, opened from the file system: no server, no internet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filterscope._version import __version__
from filterscope.files import write_text


@dataclass(frozen=True)
class Section:
    """A sheet on the page: its heading, a sentence, its file beside the page."""

    title: str
    text: str
    file: str


def write_page(path: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write one HTML page with a picture a section; the pictures lie beside it."""
    from jinja2 import Environment, PackageLoader

    pages = Environment(loader=PackageLoader("filterscope.pictures", "templates"), autoescape=True)
    write_text(
        path, pages.get_template("sheets.html").render(title=title, sections=sections, version=__version__)
    )
    return path
