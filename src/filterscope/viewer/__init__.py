"""The viewer: an atlas' pages from a server that draws."""

from __future__ import annotations

from types import ModuleType

from filterscope.errors import ArgumentError


def import_viewer() -> ModuleType:
    """`filterscope.viewer.app`; ArgumentError where the web server that it needs is not installed."""
    try:
        from filterscope.viewer import app
    except ImportError as error:
        raise ArgumentError(
            f"the viewer needs a web server: pip install 'filterscope[view]' ({error})"
        ) from None
    return app
