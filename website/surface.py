"""The public surface as a file, `api.json`: each name with its signature, and the names of the last release.

scripts/api          # writes api.json anew; the difference belongs into the change that made it
scripts/api --release  # also keeps the names as those of the release that is being made
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from website import HOME

os.environ.setdefault("KERAS_BACKEND", "torch")
FILE = HOME / "api.json"
MODULES = ("filterscope", "filterscope.keras", "filterscope.lightning")  # those whose __all__ is public
# classes that are made from another library's when first asked for: what of them is filterscope's own
OWN_PART = {"lightning.VisualizeUnits": "lightning._Visualizing"}


def surface() -> dict[str, str]:
    """Every public name with how it is called: functions, classes, and the public methods and attributes of these."""
    found: dict[str, str] = {}
    for module in MODULES:
        for name in import_module(module).__all__:
            path = f"{module}.{name}".removeprefix("filterscope.")
            found |= _of(path, value_of(path))
    return dict(sorted(found.items()))


def value_of(path: str) -> Any:
    """What a public name stands for: `visualize`, `keras.VisualizeUnits`."""
    module, _, name = OWN_PART.get(path, path).rpartition(".")
    return getattr(import_module(f"filterscope.{module}".rstrip(".")), name)


def _of(path: str, value: Any) -> dict[str, str]:
    if inspect.isclass(value):
        members = {n: v for n, v in _members(value).items() if not n.startswith("_")}
        kind = "error" if issubclass(value, Exception) else "class"
        found = {path: kind if kind == "error" else f"class{_called(value)}"}
        for name, member in members.items():
            found[f"{path}.{name}"] = _described(member)
        return found
    return {path: _described(value) if inspect.isroutine(value) else "value"}


def _members(kind: type) -> dict[str, Any]:
    """What the class itself and its bases of this package define; fields of data classes and models too."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("filterscope"):
            annotated = dict.fromkeys(inspect.get_annotations(base))
            found |= {**annotated, **vars(base)}
    return found


def _described(member: Any) -> str:
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    return f"function{_called(member)}" if inspect.isroutine(member) else "attribute"


def _called(value: Any) -> str:
    """Names and defaults of the parameters; types may become wider without anybody's code breaking."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:
        return "(...)"
    bare = [p.replace(annotation=p.empty) for p in parameters if p.name not in ("self", "cls")]
    text = str(inspect.Signature(bare))
    return re.sub(r" at 0x[0-9a-f]+", "", text.replace("<factory>", "..."))


def read() -> dict[str, Any]:
    """api.json."""
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def main(argv: Sequence[str] | None = None) -> int:
    """Write api.json."""
    from filterscope import __version__

    parser = argparse.ArgumentParser(
        prog="scripts/api", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--release", action="store_true", help="keep the names as those of this version's release"
    )
    args = parser.parse_args(argv)
    kept = read() if FILE.is_file() else {"released": {"version": "", "names": []}}
    now = surface()
    if args.release:
        kept["released"] = {"version": __version__, "names": list(now)}
    text = json.dumps({"released": kept["released"], "surface": now}, indent=1, ensure_ascii=False)
    Path(FILE).write_text(text + "\n", encoding="utf-8")
    print(f"{FILE.name}: {len(now)} names")
    return 0


if __name__ == "__main__":
    sys.exit(main())
