"""What the README and the documentation show: their blocks of commands and of Python, for the tests that run them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from website import HOME

BLOCK = re.compile(
    r"^(?P<mark><!-- (?P<word>not run|theirs): (?P<reason>[^\n]+?) -->\n+)?```(?P<kind>\w+)[^\n]*\n(?P<text>.*?)^```",
    re.M | re.S,
)
COMMENT = re.compile(r"\s{2,}#.*$")


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    reason: why a test cannot run it, as the comment above it says, else "". theirs: it is code of another library.
    """

    page: str
    kind: str
    text: str
    reason: str = ""
    theirs: bool = False

    @property
    def commands(self) -> list[str]:
        """The lines that call filterscope, those that end in a backslash joined."""
        if self.kind not in ("bash", "console"):
            return []
        lines = re.sub(r"\s*\\\n\s*", " ", self.text).splitlines()
        return [
            COMMENT.sub("", line).removeprefix("$ ").strip()
            for line in lines
            if re.match(r"(\$ )?filterscope ", line)
        ]


def pages() -> list[Path]:
    """The README, in each language, and every page that is written by hand."""
    return [*sorted(HOME.glob("README*.md")), *sorted((HOME / "docs").rglob("*.md"))]


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    name = str(path.relative_to(HOME))
    for match in BLOCK.finditer(path.read_text(encoding="utf-8")):
        yield Block(name, match["kind"], match["text"], match["reason"] or "", match["word"] == "theirs")


def headings(path: Path) -> list[int]:
    """The levels of a page's headings, in order; what stands in code is none."""
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    return [len(marks) for marks in re.findall(r"^(#+) ", text, re.M)]
