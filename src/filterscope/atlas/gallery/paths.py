"""Paths inside an atlas: checked, since an index is only a file that somebody made, and written as links."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import quote

from filterscope.errors import DamagedError


def inside(path: str) -> str:
    """The path itself where it stays inside its folder; DamagedError where it leads out of it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise DamagedError(f"{path!r} leads out of the atlas")
    return path


def is_inside(path: object) -> bool:
    """Whether something read from an index is a path that stays inside the atlas."""
    try:
        return isinstance(path, str) and bool(inside(path))
    except DamagedError:
        return False


def folder_name(name: str) -> str:
    """A network's or layer's name as a folder's: separators become dots.

    >>> folder_name("features/0")
    'features.0'
    """
    safe = re.sub(r"[^\w.+-]", ".", name)
    return safe if safe.strip(".") else f"_{safe}"


def link(path: str) -> str:
    """A path as a relative link: every sign that a URL, an attribute or CSS could read as its own is escaped.

    >>> link("a b/c'd.png")
    'a%20b/c%27d.png'
    """
    return quote(path, safe="/")
