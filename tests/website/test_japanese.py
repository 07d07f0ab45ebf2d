"""The Japanese pages keep step with the English ones: the same headings, the same commands, the same code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from website import HOME, notebooks, snippets

DOCS = HOME / "docs"
START = [(DOCS / "start" / page.name, page) for page in sorted((DOCS / "ja" / "start").glob("*.md"))]
PAIRS = [(HOME / "README.md", HOME / "README.ja.md"), *START]


def lines(text: str) -> list[str]:
    """A block's lines without comments, which are in the page's language."""
    return [re.sub(r"\s*#.*$", "", line) for line in text.splitlines() if not line.startswith("#")]


def test_every_start_page_is_there():
    """And the README, and the post's notebook."""
    assert {page.name for page in (DOCS / "start").glob("*.md")} == {page.name for _, page in START}
    assert (DOCS / "ja" / "notebooks" / "the-post.ipynb").is_file()


@pytest.mark.parametrize(("english", "japanese"), PAIRS, ids=[page.name for _, page in PAIRS])
def test_pages_keep_step(english: Path, japanese: Path):
    """Headings of the same levels in the same order, the same blocks, as many rows in each table and as many pictures."""
    assert snippets.headings(english) == snippets.headings(japanese)
    ours, theirs = list(snippets.blocks(english)), list(snippets.blocks(japanese))
    assert [(one.kind, lines(one.text)) for one in ours] == [(one.kind, lines(one.text)) for one in theirs]
    texts = [page.read_text(encoding="utf-8") for page in (english, japanese)]
    for sign in (r"^\|", r"!\[", r"^!!!"):
        first, second = (len(re.findall(sign, text, re.M)) for text in texts)
        assert first == second, sign


@pytest.mark.parametrize(("english", "japanese"), PAIRS, ids=[page.name for _, page in PAIRS])
def test_pages_are_japanese(english: Path, japanese: Path):
    """Each paragraph that is none of code has been translated."""
    text = snippets.BLOCK.sub("", japanese.read_text(encoding="utf-8"))
    for paragraph in re.split(r"\n\s*\n", text):
        prose = re.sub(r"`[^`]*`|!\[.*?\]\(.*?\)|<!--.*?-->", "", paragraph)
        if re.search(r"[A-Za-z]{3,} [a-z]{2,} [a-z]{2,}", prose):
            assert re.search(r"[ぁ-んァ-ン]", prose), paragraph


def test_the_notebook_keeps_step():
    """The same cells of code, headings of the same levels."""
    ours = notebooks.Notebook.read(DOCS / "notebooks" / "the-post.ipynb")
    theirs = notebooks.Notebook.read(DOCS / "ja" / "notebooks" / "the-post.ipynb")
    assert ours.code == theirs.code
    levels = [
        [
            len(marks)
            for kind, text in one.cells
            if kind == "markdown"
            for marks in re.findall(r"^(#+) ", text, re.M)
        ]
        for one in (ours, theirs)
    ]
    assert levels[0] == levels[1]
