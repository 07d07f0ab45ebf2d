"""Paths inside an atlas: checked, since an index may come from anyone, and written as links."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import quote

from filterscope.errors import DamagedError
from filterscope.files import safe_name


def check_inside(path: str) -> str:
    """The path itself where it stays inside its folder; DamagedError where it leads out of it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise DamagedError(f"{path!r} leads out of the atlas")
    return path


def is_inside(path: object) -> bool:
    """Whether something read from an index is a path that stays inside the atlas."""
    try:
        return isinstance(path, str) and bool(check_inside(path))
    except DamagedError:
        return False


def folder_name(name: str) -> str:
    """A network's or layer's name as a folder's: separators become dots.

    >>> folder_name("features/0")
    'features.0'
    """
    safe = safe_name(name)
    return safe if safe.strip(".") else f"_{safe}"


def quote_path(path: str) -> str:
    """A path as a relative link: every character that a URL, an attribute or CSS could read as its own is escaped.

    >>> quote_path("a b/c'd.png")
    'a%20b/c%27d.png'
    """
    return quote(path, safe="/")
