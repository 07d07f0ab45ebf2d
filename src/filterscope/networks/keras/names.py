"""Names that Keras makes of its classes' names: of layers, and of their folders in a file of weights."""

from __future__ import annotations

import re
from collections.abc import Sequence


def snake_case(kind: str) -> str:
    """A class's name as Keras derives names of layers from it.

    >>> snake_case("GlobalAveragePooling2D")
    'global_average_pooling2d'
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def weight_folders(layers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Each layer's folder in a `.weights.h5` file of Keras 3: its class and how many came before it."""
    counts: dict[str, int] = {}
    folders: dict[str, str] = {}
    for name, kind in layers:
        stem = snake_case(kind)
        folders[name] = stem + (f"_{counts[stem]}" if stem in counts else "")
        counts[stem] = counts.get(stem, 0) + 1
    return folders
