"""The measured tables of docs/benchmarks.md, docs/recipes.md and README.md, made from benchmarks/results/.

usage: python -m benchmarks.page [--check]

A table stands between two marks, of which the first names a result's file and part: `<!-- table: quality / side by side -->`
and `<!-- end of table -->`. A third name is a way of showing it (VIEWS). Without --check the pages are written; with it
they are compared, and exit status 1 says that one is not what its results make.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import result_files
from benchmarks.quality.table import markdown

HOME = Path(__file__).resolve().parents[1]
PAGES = (HOME / "docs" / "benchmarks.md", HOME / "docs" / "recipes.md", HOME / "README.md")
TABLE = re.compile(r"(<!-- table: (.*?) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
SHOWN = {  # programs of the README's table: what they are called, and the package whose version is theirs
    "sharp": ("filterscope, `sharp`", None),
    "natural": ("filterscope, `natural`", None),
    "lucent": ("torch-lucent", "torch-lucent"),
    "tf-keras-vis": ("tf-keras-vis", "tf-keras-vis"),
    "tv": ("the blog's last stage (`tv`), run here", None),
}
Part = Mapping[str, Any]


def plain(part: Part) -> str:
    """The part's rows, all columns that have a number, and how they were come by."""
    rows = part["rows"]
    if "names" in part:
        found = markdown([(row["row"], row) for row in rows], part["names"])
    elif "columns" in part:
        found = lines([part["columns"], *rows])
    else:
        found = figures(rows)
    return f"{found}\n\n*{origin(part)}*"


def bare(part: Part) -> str:
    """The same without how they were come by, for what several parts share."""
    return plain(part).rpartition("\n\n")[0]


def compared(part: Part) -> str:
    """Programs on the real VGG16, in few columns; the best of each in bold."""
    rows = {row["row"][1]: row for row in part["rows"] if row["row"][0] == "vgg16"}
    names = [program for program in SHOWN if program in rows]
    columns = [
        [_percent(rows[n]["success"]) for n in names],
        _best([f"{float(rows[n]['excitation']):.2f}" for n in names], max),
        _best([f"{float(rows[n]['spectrum']):.2f}" for n in names], min),
        _best([_seconds(float(rows[n]["seconds"])) for n in names], min),
    ]
    header = ["program", "success", "median excitation", "spectrum distance", "seconds a picture"]
    return lines([header, *zip([_called(n, part) for n in names], *columns, strict=True)])


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


VIEWS: dict[str, Callable[[Part], str]] = {"": plain, "bare": bare, "compared": compared}


def figures(rows: Sequence[Mapping[str, Any]]) -> str:
    """One figure a row: what was measured, what was found, what was aimed at."""
    aimed = any(row.get("aim") for row in rows)
    header = ["what", "found", *["aim"] * aimed]
    return lines(
        [header, *([row["what"].rstrip(", "), _found(row), *[row.get("aim", "")] * aimed] for row in rows)]
    )


def lines(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in Markdown, the first of them the header."""
    text = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([text[0], "|" + "---|" * len(rows[0]), *text[1:]])


def origin(part: Part) -> str:
    """When, where and by which command; of what was copied by hand, from where."""
    version = part.get("versions", {}).get("filterscope")
    said = [part.get("when"), part.get("machine"), version and f"filterscope {version}"]
    command = [f"`{part['command']}`"] if part.get("command") else []
    source = [f"copied by hand: {part['source']}"] if part.get("source") else []
    return "; ".join([", ".join(filter(None, said)), *command, *source, *part.get("notes", [])])


def together(parts: Mapping[str, Part]) -> str:
    """The rows of all parts as one table, and how they were come by: once, where that is the same for all."""
    said = {name: origin(part) for name, part in parts.items()}
    same = len(set(said.values())) == 1
    notes = (
        [f"*{origin(part)}*" for part in parts.values()][:1]
        if same
        else [f"- `{n}`: {s}" for n, s in said.items()]
    )
    rows, names = (
        [row for part in parts.values() for row in part["rows"]],
        next(iter(parts.values())).get("names"),
    )
    found = figures(rows) if names is None else markdown([(row["row"], row) for row in rows], names)
    return "\n".join([found, "", *notes])


def _found(row: Mapping[str, Any]) -> str:
    value = row.get("value")
    if value is None:
        return f"- ({row.get('note', 'not measured')})"
    number = value if isinstance(value, str) else f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
    return f"{number} {row.get('unit', '')}".strip() + (f" ({row['note']})" if row.get("note") else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _best(cells: Sequence[str], choose: Callable[..., str]) -> list[str]:
    best = choose(cells, key=float)
    return [f"**{cell}**" if cell == best else cell for cell in cells]


def _called(program: str, part: Part) -> str:
    name, package = SHOWN[program]
    return f"{name} {part['versions'][package]}" if package else name


def table(name: str, folder: Path = result_files.FOLDER) -> str:
    """The table that a mark asks for; ValueError where there is no such result, or nothing in it."""
    file, part, view = [word.strip() for word in f"{name} / ".split("/")][:3]
    path = folder / f"{file}.json"
    if not path.is_file():
        raise ValueError(f"table {name!r}: benchmarks/results has no {file}.json")
    parts = result_files.read(path)
    if part == "*":
        return together(parts)
    if part not in parts or view not in VIEWS:
        raise ValueError(
            f"table {name!r}: {file}.json has the parts {', '.join(parts)}; views are {', '.join(VIEWS)}"
        )
    if not parts[part]["rows"]:
        raise ValueError(f"table {name!r}: {file}.json has no rows for it")
    return VIEWS[view](parts[part])


def made(text: str, folder: Path = result_files.FOLDER) -> str:
    """A page with the tables that its marks ask for."""
    return TABLE.sub(lambda found: f"{found[1]}\n{table(found[2], folder)}\n\n{found[4]}", text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check, stale = parser.parse_args(argv).check, False
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        wanted = made(text)
        if check:
            stale = stale or text != wanted
            sys.stdout.writelines(
                difflib.unified_diff(
                    text.splitlines(True), wanted.splitlines(True), page.name, "benchmarks/results"
                )
            )
        else:
            page.write_text(wanted, encoding="utf-8")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
