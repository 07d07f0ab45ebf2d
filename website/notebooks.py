"""Notebooks of the documentation: run when the site is built, and shown as pages of it.

They are kept without outputs. Pages that share every cell of code, as one in another language does, share one run.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOG = logging.getLogger("mkdocs.website")
EXECUTE = "FILTERSCOPE_SITE_EXECUTES"  # "0": notebooks are shown without their outputs
IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}


@dataclass
class Notebook:
    """A notebook's cells, (kind, source), and after a run the outputs of each cell."""

    cells: list[tuple[str, str]]
    outputs: list[list[dict[str, Any]]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Notebook:
        """From its file."""
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return cls([(cell["cell_type"], "".join(cell["source"])) for cell in cells])

    @property
    def code(self) -> tuple[str, ...]:
        """The cells of code, in order."""
        return tuple(source for kind, source in self.cells if kind == "code")


def run_all(notebooks: Iterable[Notebook]) -> None:
    """Run notebooks, two at a time, and keep their outputs; those of the same code are run once."""
    by_code: dict[tuple[str, ...], list[Notebook]] = {}
    for one in notebooks:
        by_code.setdefault(one.code, []).append(one)
    with ThreadPoolExecutor(2) as pool:
        for same, outputs in zip(by_code.values(), pool.map(run, by_code), strict=True):
            for one in same:
                one.outputs = outputs


def run(code: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The outputs of cells that are run one after the other in a kernel of their own, in an empty folder.

    Raises nbclient's CellExecutionError where a cell does.
    """
    import nbformat
    from nbclient import NotebookClient

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in code])
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "XDG_CACHE_HOME": place, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        client = NotebookClient(
            made, timeout=300, kernel_name="python3", resources={"metadata": {"path": place}},
            extra_arguments=["--IPKernelApp.log_level=40"],  # no word about how it is reached
        )  # fmt: skip
        client.execute(env=environment)
    seconds = time.perf_counter() - began
    LOG.info("a notebook of %d cells ran in %.0f s", len(code), seconds)
    return [list(cell["outputs"]) for cell in made.cells]


def to_markdown(notebook: Notebook, name: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and the pictures it shows by their file name.

    name: of the notebook's file without its ending; its pictures lie in a folder of that name.
    """
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    outputs = iter(notebook.outputs)
    for kind, source in notebook.cells:
        if kind != "code":
            parts.append(re.sub(r"\]\(([^)\s]+)\.ipynb\)", r"](\1.md)", source))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in next(outputs, []):
            shown, found = _shown(output, f"{name}/{len(pictures) + 1}")
            parts.append(shown)
            pictures |= found
    return "\n\n".join(part for part in parts if part) + "\n", pictures


def _shown(output: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    """An output as Markdown, with the picture that it shows."""
    if output["output_type"] == "stream":
        text = re.sub(r"[^\n]*\r", "", output["text"]).rstrip()  # a bar that was drawn over
        return (_text(text) if text and output["name"] == "stdout" else ""), {}
    data = output.get("data", {})
    if "text/html" in data:
        return f'<div class="output">{_one_block(data["text/html"])}</div>', {}
    for kind, ending in IMAGES.items():
        if kind in data:
            file = f"{stem}.{ending}"
            alt = html.escape("".join(data.get("text/plain", "a picture")), quote=True)[:120]
            return f'<p class="output"><img src="{file}" alt="{alt}"></p>', {
                file: base64.b64decode(data[kind])
            }
    return _text("".join(data.get("text/plain", ""))), {}


def _text(text: str) -> str:
    return f'<pre class="output">{html.escape(text)}</pre>' if text else ""


def _one_block(text: str) -> str:
    """HTML without empty lines, which would end it in Markdown."""
    return re.sub(r"\n\s*\n", "\n", "".join(text)).strip()
