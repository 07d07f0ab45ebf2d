"""The documentation site and the public surface: built by scripts/docs and scripts/api; not installed."""

from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
