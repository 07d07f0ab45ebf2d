"""The documentation's notebooks: kept without outputs, their code runs, and how they become pages."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from website import HOME, notebooks

FILES = sorted((HOME / "docs").rglob("*.ipynb"))
IDS = [str(path.relative_to(HOME / "docs")) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_kept_without_outputs(path: Path):
    """No outputs, no counts, no editor's notes; each cell with an id of its own."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in kept["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert all(cell["metadata"] == {} for cell in kept["cells"])
    assert len({cell["id"] for cell in kept["cells"]}) == len(kept["cells"])


@pytest.mark.parametrize("path", [path for path in FILES if "ja" not in path.parts], ids=lambda p: p.stem)
def test_the_code_runs(path: Path, there: Path, few_steps, capsys):
    """Its cells one after the other, in few steps; scripts/docs runs them in full, in a kernel."""
    names: dict[str, object] = {"__name__": "__main__"}
    for i, source in enumerate(notebooks.Notebook.read(path).code):
        exec(compile(source, f"{path.name}, cell {i}", "exec"), names)


def test_as_a_page():
    """Text as it is, code fenced, pictures as files, tables as HTML without empty lines, bars left out."""
    pixel = base64.b64encode(b"png").decode()
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "half\rdone <1>\n"},
        {"output_type": "stream", "name": "stderr", "text": "a bar"},
        {"output_type": "display_data", "data": {"image/png": pixel, "text/plain": "<Sheet>"}},
        {"output_type": "execute_result", "data": {"text/html": "<b>a</b>\n\n<i>b</i>", "text/plain": "x"}},
    ]
    notebook = notebooks.Notebook([("markdown", "# A\n[next](b.ipynb)"), ("code", "f()")], [outputs])
    text, pictures = notebooks.to_markdown(notebook, "name")
    assert pictures == {"name/1.png": b"png"}
    assert text.startswith("# A\n[next](b.md)\n\n```python\nf()\n```\n\n")
    assert '<pre class="output">done &lt;1&gt;</pre>' in text
    assert '<img src="name/1.png" alt="&lt;Sheet&gt;">' in text
    assert '<div class="output"><b>a</b>\n<i>b</i></div>' in text
    assert "a bar" not in text


def test_same_code_is_run_once(monkeypatch):
    """A page in another language has the outputs of the first."""
    run = []
    monkeypatch.setattr(notebooks, "run", lambda code: run.append(code) or [[{"output": 1}]])
    pair = [notebooks.Notebook([("markdown", text), ("code", "f()")]) for text in ("a", "い")]
    notebooks.run_all(pair)
    assert run == [("f()",)]
    assert pair[0].outputs == pair[1].outputs == [[{"output": 1}]]
