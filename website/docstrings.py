"""How docstrings become Markdown: parameters as a list, examples as code, signs of Markdown as they stand.

A docstring here is prose; a paragraph whose lines begin `name: ` or `name, other: ` says what parameters are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

NAMES = r"[a-z_]\w*(?:, [a-z_]\w*)*"
BEGINS = re.compile(rf"^({NAMES}): ")
FOLLOWS = re.compile(rf"(?<=[.?)] )(?={NAMES}: )")
SIGNS = re.compile(r"([\\*_<\[\]#|])")


class PlainDocstrings(griffe.Extension):
    """Rewrites every docstring of the package as Markdown while griffe reads it."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """A module, class, function or attribute has been read."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """A docstring as Markdown.

    >>> print(to_markdown("Draw *all*.\\n\\nsize: the side.\\n    Pixels. seed: of noise."))
    Draw \\*all\\*.
    <BLANKLINE>
    - **size**: the side. Pixels.
    - **seed**: of noise.
    """
    blocks = re.split(r"\n[ \t]*\n", text.strip("\n"))
    return "\n\n".join(_joined(blocks))


def _joined(blocks: list[str]) -> Iterator[str]:
    """Each block as Markdown; examples that follow one another, and indented blocks, stay one piece of code."""
    code: list[str] = []
    kind = ""
    for block in [*blocks, ""]:
        now = "pycon" if block.lstrip().startswith(">>> ") else "text" if _is_indented(block) else ""
        if code and now != kind:
            yield f"```{kind}\n" + "\n\n".join(code) + "\n```"
            code = []
        kind = now
        if now:
            code.append(_dedented(block))
        elif block.strip():
            yield _paragraph(block)


def _is_indented(block: str) -> bool:
    return bool(block.strip()) and all(line.startswith("    ") for line in block.splitlines() if line.strip())


def _dedented(block: str) -> str:
    lines = block.splitlines()
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[margin:] for line in lines)


def _paragraph(block: str) -> str:
    """Prose as prose, a paragraph of parameters as a list."""
    items: list[str] = []
    for line in block.splitlines():
        if BEGINS.match(line) or not items:
            items.append(line.strip())
        else:
            items[-1] += f" {line.strip()}"
    parts = [part.strip() for item in items for part in FOLLOWS.split(item)]
    if not any(BEGINS.match(part) for part in parts):
        return "\n".join(_plain(line) for line in block.splitlines())
    return "\n".join(_item(part) for part in parts)


def _item(part: str) -> str:
    match = BEGINS.match(part)
    return f"- **{_plain(match[1])}**: {_plain(part[match.end() :])}" if match else f"{_plain(part)}\n"


def _plain(text: str) -> str:
    """Markdown that shows these very characters; what stands between backticks is code already."""
    parts = text.split("`")
    return "`".join(part if i % 2 else SIGNS.sub(r"\\\1", part) for i, part in enumerate(parts))
