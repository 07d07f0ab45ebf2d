"""Keras, imported when first needed."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType


def import_keras() -> ModuleType:
    """Keras on the backend that the person has; on torch, which is always here, where theirs is not installed."""
    untold = "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ
    if untold and importlib.util.find_spec(_configured_backend()) is None:
        os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return keras  # type: ignore[no-any-return]


def _configured_backend() -> str:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        backend = json.loads((home / "keras.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "tensorflow"
    return backend if isinstance(backend, str) else "tensorflow"
