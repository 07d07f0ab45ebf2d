"""docs/words.md: what a result file names is explained there, and every word it explains is in use."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from filterscope.pictures.picture import Scores, Status

HOME = Path(__file__).resolve().parents[1]
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|\n").split(" | ")]
    for line in (HOME / "docs" / "words.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| word |")
]
WORDS = [row[0] for row in ROWS]
PLACES = ["README.md", "docs/design.md", "docs/atlas-format.md", "docs/benchmarks.md"]
TEXT = "\n".join((HOME / place).read_text(encoding="utf-8") for place in PLACES).lower()


def test_scores_and_statuses_are_explained():
    """Everything that a report says of a picture."""
    names = {one.name.replace("_", " ") for one in fields(Scores)} | set(get_args(Status))
    assert names <= set(WORDS)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_is_in_use(word):
    """A word that the other pages no longer have leaves this page too."""
    assert re.search(rf"\b{word}", TEXT), word


def test_rows_are_whole():
    """Each word once, with the literature's word and one sentence."""
    assert len(set(WORDS)) == len(WORDS)
    for row in ROWS:
        assert len(row) == 3, row
        assert row[1], row
        assert row[2].endswith("."), row
