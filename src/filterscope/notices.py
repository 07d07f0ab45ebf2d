"""What is logged once in a process, however often it holds."""

from __future__ import annotations

import logging
from weakref import WeakSet

log = logging.getLogger("filterscope")

_texts: set[str] = set()
_objects: WeakSet[object] = WeakSet()


def log_once(level: int, message: str, *args: object) -> None:
    """Log a message, unless it was logged before in the same words."""
    if is_new(message % args):
        log.log(level, message, *args)


def is_new(text: str, of: object = None) -> bool:
    """Whether this is the first call of a process: about an object (kept weakly), else in these words."""
    try:
        known = of in _objects
        _objects.add(of)
    except TypeError:  # None or a text, or what can be neither hashed nor referred to weakly
        known = text in _texts
        _texts.add(text)
    return not known


def forget() -> None:
    """Log everything anew; for tests."""
    _texts.clear()
    _objects.clear()
