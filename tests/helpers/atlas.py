"""make_atlas with a request's fields as keywords."""

from __future__ import annotations

from typing import Any

from filterscope.atlas.run.request import AtlasRequest, OnMessage
from filterscope.atlas.run.run import make_atlas
from filterscope.drawing.run import Run


def draw_atlas(
    source: Any,
    out: Any,
    *,
    progress: bool | None = None,
    on_message: OnMessage = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    """Draw an atlas as a request of those options has it."""
    run = Run(**{key: options.pop(key) for key in ("seed", "precision", "device") if key in options})
    return make_atlas(source, out, AtlasRequest(**options, run=run), progress=progress, on_message=on_message)
