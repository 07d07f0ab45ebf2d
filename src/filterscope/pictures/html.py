"""Pictures as HTML for notebooks: figures in a grid, on whatever ground the notebook has, light or dark.

No colours are set but by what is around (`currentColor`), no scripts, nothing from elsewhere; every text is escaped.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

FIGURE = "margin:0;display:grid;gap:2px;align-content:start;min-width:0"
SMALL = "font-size:12px;line-height:1.35;opacity:.8;overflow-wrap:anywhere"
GRID = "display:grid;gap:12px;grid-template-columns:repeat(auto-fill,minmax({side}px,1fr));max-width:{most}px"
SIDE = 144  # of a picture in a grid in pixels
MOST = 64  # pictures that a grid shows: a notebook keeps them all in its file


def data_url(image: Image.Image, kind: str = "PNG", **options: int) -> str:
    """An image as a URL that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure(image: Image.Image, title: str, *words: str, side: int = 256) -> str:
    """A picture, its title in bold and what is said of it, each on a line of its own; enlarged where it is smaller than
    `side` pixels."""
    shown = f"width:{max(side, image.width)}px;max-width:100%;border-radius:4px"
    lines = "".join(f'<span style="{SMALL}">{html.escape(text)}</span>' for text in words if text)
    return (
        f'<figure style="{FIGURE}"><img src="{data_url(image)}" alt="{html.escape(title)}" style="{shown}">'
        f'<figcaption style="display:grid"><strong style="font-size:13px;overflow-wrap:anywhere">{html.escape(title)}'
        f"</strong>{lines}</figcaption></figure>"
    )


def grid(figures: Sequence[str], count: int, *, columns: int | None = None, side: int = SIDE) -> str:
    """Figures beside one another, as many as fit or `columns`; says how many of `count` are not shown."""
    across = columns or max(1, min(8, len(figures)))
    style = GRID.format(side=side, most=across * (side + 12))
    left = count - len(figures)
    rest = f'<p style="{SMALL}">and {left} more</p>' if left > 0 else ""
    return f'<div style="{style}">{"".join(figures)}</div>{rest}'
