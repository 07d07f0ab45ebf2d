"""The links of built pages: each leads to a file and a place that is there, and nothing is loaded from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src", "audio": "src"}


class _Page(HTMLParser):
    """A page's links, what it loads, and the places in it that a link may name."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("href") and found.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(found["href"])
        elif tag in LOADED and found.get(LOADED[tag]):
            self.loaded.append(found[LOADED[tag]])


def find_faults(site: Path, address: str = "") -> list[str]:
    """What is wrong with the pages in a folder, one line each: links to a file or a place that is not there, and what a
    page would load from another address.

    address: where the site will stand; links below it are links of the site.
    """
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    base = urlsplit(address).path.rstrip("/")
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site)
        faults += [f"{name}: loads {one}" for one in page.loaded if _is_foreign(one)]
        for link in [*page.links, *page.loaded]:
            if link.startswith(("data:", "mailto:", "javascript:")) or _is_foreign(link):
                continue
            fault = _fault(link, path, site, pages, base)
            if fault:
                faults.append(f"{name}: {link} {fault}")
    return faults


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def _is_foreign(link: str) -> bool:
    return bool(urlsplit(link).netloc)


def _fault(link: str, page: Path, site: Path, pages: dict[Path, _Page], base: str) -> str:
    parts = urlsplit(link)
    path = unquote(parts.path)
    if path.startswith("/"):  # of 404.html, which is shown at any address
        inside = path.removeprefix(base).lstrip("/")
        target = site / inside
    else:
        target = (page.parent / path).resolve() if path else page
    if target.is_dir():
        target = target / "index.html"
    if not target.is_file():
        return "leads to no file"
    place = unquote(parts.fragment)
    found = pages.get(target) or pages.get(site.resolve() / target.name)
    if place and not place.startswith("__") and found is not None and place not in found.places:
        return "leads to no place on that page"
    return ""
