"""torch.export programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filterscope.errors import NetworkError
from filterscope.networks.input_spec import InputOptions


def open_exported(path: Path, weights: Any, options: InputOptions) -> Any:
    """Open a program."""
    raise NetworkError("not yet")
