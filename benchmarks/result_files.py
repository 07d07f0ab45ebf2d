"""What the benchmarks found, as JSON in benchmarks/results/; benchmarks/page.py makes the documents' tables from it.

benchmarks/results/NAME.json is {"form": 1, "parts": {PART: what one run measured}}; a later run of a part replaces it. A
part holds "rows" and how they were come by: "when", "machine", "versions", "command", "notes"; figures that were copied by
hand from where a run left them say so under "source". Rows are of one of three kinds:

    {"row": ["vgg16", "sharp"], "success": 1.0, ...}   numbers by quality.table.COLUMNS, under the part's "names"
    {"what": ..., "value": 0.15, "unit": "s", "aim": ...}   one figure each
    ["cell", ...]                                      text, under the part's "columns"
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filterscope.files import write_text

FOLDER = Path(__file__).parent / "results"
FORM = 1
PACKAGES = ("filterscope", "torch", "keras", "numpy", "torchvision", "timm", "ray")


def keep(
    name: str,
    parts: Mapping[str, Mapping[str, Any]],
    *,
    machine: str,
    versions: Mapping[str, str] | None = None,
    beside: bool = True,
    folder: Path = FOLDER,
) -> Path:
    """Write parts, each with its "rows", into benchmarks/results/NAME.json; where it lies.

    beside: other parts of earlier runs stay. versions: of programs that ran in environments of their own.
    """
    path = folder / f"{name}.json"
    known = read(path) if beside and path.is_file() else {}
    how = {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "machine": machine,
        "versions": {**installed(), **(versions or {})},
        "command": command_line(sys.argv),
    }
    known |= {part: {**how, **found} for part, found in parts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"form": FORM, "parts": known}, indent=1, ensure_ascii=False) + "\n")
    return path


def read(path: Path) -> dict[str, Any]:
    """A result's parts by name; ValueError for a file of another form."""
    told = json.loads(path.read_text(encoding="utf-8"))
    if told.get("form") != FORM:
        raise ValueError(f"{path.name} has form {told.get('form')!r}; known is {FORM}")
    parts: dict[str, Any] = told["parts"]
    return parts


def installed() -> dict[str, str]:
    """Python and the packages that results rest on, by version."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def command_line(argv: Sequence[str]) -> str:
    """The command as a person would type it elsewhere: of files and folders the last part of their names alone.

    >>> command_line(["/home/me/benchmarks/speed.py", "--weights", "/data/vgg16.safetensors", "--jobs=deep"])
    'python benchmarks/speed.py --weights vgg16.safetensors --jobs=deep'
    """
    words = [_nameless(word) if _names_a_place(word) else word for word in argv[1:]]
    return " ".join(["python", f"benchmarks/{Path(argv[0]).name}", *words])


def _names_a_place(word: str) -> bool:
    """Whether a word has a path in it; NETWORK/PROGRAM is none."""
    value = word.rpartition("=")[2]
    return "/" in value and (" " in value or value[0] in "/~." or Path(value).exists())


def _nameless(word: str) -> str:
    option, equals, value = word.rpartition("=")
    return option + equals + Path(value).name
