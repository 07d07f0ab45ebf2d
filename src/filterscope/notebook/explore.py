"""explore: a widget for Jupyter, JupyterLab, VS Code and Colab, by anywidget (extra `notebook`)."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Unpack

from filterscope.api import DrawingOptions, read_run
from filterscope.errors import ArgumentError
from filterscope.files import check_writable
from filterscope.networks import open_network
from filterscope.notebook.session import Session


def explore(
    network: Any, *, out: str | os.PathLike[str] | None = None, **options: Unpack[DrawingOptions]
) -> Any:
    """A widget to choose a layer and a unit, watch its picture emerge, stop it, and keep it.

    It draws in a thread of its own, so that other cells run meanwhile, and needs nothing from the internet.

    network: as for `visualize`. out: a folder where kept pictures are saved. options: those of `visualize`, for all
    drawings; recipe and seed can be chosen in the widget too.
    The widget's `kept` are the Pictures that were kept, its `sheet` a Sheet of them, its `picture` the last one.

    Raises ArgumentError where anywidget is not installed, and the errors of `visualize`.

    >>> widget = explore("tiny-vgg16")
    >>> widget.choices["layers"][0]["name"], widget.kept
    ('block1_conv1', [])
    """
    kind = _widget_class()
    read_run(options)
    net = open_network(network)
    return kind(net, options, None if out is None else check_writable(out))


@functools.cache
def _widget_class() -> type:
    """The widget's class, made once anywidget is there; ArgumentError where it is not."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        raise ArgumentError(
            "explore needs anywidget: pip install 'filterscope[notebook]' (visualize shows pictures without it)"
        ) from None

    class Explorer(anywidget.AnyWidget):
        """A network's units to choose from; see `explore`."""

        _esm = _text("explore.js")
        _css = _text("explore.css")
        choices = traitlets.Dict().tag(sync=True)
        chosen = traitlets.Dict().tag(sync=True)
        state = traitlets.Unicode("idle").tag(sync=True)
        progress = traitlets.Float(0.0).tag(sync=True)
        message = traitlets.Unicode("").tag(sync=True)
        image = traitlets.Unicode("").tag(sync=True)
        kept_rows: Any = traitlets.List().tag(sync=True)

        def __init__(self, net: Any, options: DrawingOptions, out: Path | None):
            self.session = Session(net, self._take, options, out)
            chosen = {"recipe": str(options.get("recipe", "auto")), "seed": options.get("seed", 0)}
            super().__init__(choices=self.session.choices(), chosen=chosen)
            self.on_msg(lambda _, told, __: self._answer(told))

        def _take(self, values: Mapping[str, Any]) -> None:
            with self.hold_sync():
                for name, value in values.items():
                    setattr(self, "kept_rows" if name == "kept" else name, value)

        def _answer(self, told: Any) -> None:
            what = told.get("do") if isinstance(told, Mapping) else None
            if what == "draw":
                self.session.draw(told)
            elif what == "stop":
                self.session.stop()
            elif what == "keep":
                self.session.keep()

        picture = property(lambda self: self.session.picture)
        kept = property(lambda self: self.session.kept)
        sheet = property(lambda self: self.session.sheet)

    return Explorer


def _text(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")
