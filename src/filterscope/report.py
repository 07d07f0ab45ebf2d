"""report.json: what each picture of a folder is, whichever command drew it.

    check_folder("out")                                # before any work: writable, and its report is ours or none
    add_to_report("out", [picture.report("conv-0003.png")])

A list with a row for each picture that is there; a comparison's rows hold two, `a` and `b`. A picture that is drawn
again has its new row alone, one whose file is gone has none. A report.json that is none of these is never replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from filterscope.errors import ArgumentError
from filterscope.files import check_writable, held, write_text
from filterscope.formats import REPORT_ROW

REPORT = "report.json"
Row = dict[str, Any]


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder; OutputError where it cannot be written, ArgumentError where it holds a report.json
    that a command could not add to."""
    place = check_writable(folder)
    read_report(place)
    return place


def read_report(folder: str | Path) -> list[Row]:
    """The rows of a folder's report whose pictures are there, in today's form; none where there is no report."""
    place = Path(folder) / REPORT
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(place, f"cannot be read ({error})") from None
    if not isinstance(found, list) or not all(isinstance(row, dict) and pictures_of(row) for row in found):
        raise _refused(place, "is no list of filterscope's pictures (an atlas' report, or another program's)")
    rows = [REPORT_ROW.newest(row, str(place)) for row in found]
    return [row for row in rows if any(_is_there(place.parent, one["file"]) for one in pictures_of(row))]


def add_to_report(folder: str | Path, rows: Sequence[Row]) -> None:
    """Write a folder's report: the rows that still hold of those that are there, then these."""
    place = Path(folder)
    new = [REPORT_ROW.stamped(row) for row in rows]
    with held(place):  # another command may add to it at the same time
        drawn = {one["file"] for row in rows for one in pictures_of(row)}
        kept = [part for row in read_report(place) for part in _without(row, drawn, place)]
        write_text(place / REPORT, json.dumps([*kept, *new], indent=1) + "\n")


def update_report(folder: str | Path, rows: Sequence[Row]) -> None:
    """The same where the folder has a report of ours; nothing where it has none, or another program's."""
    with contextlib.suppress(ArgumentError):
        if (Path(folder) / REPORT).exists():
            add_to_report(folder, rows)


def stamped(rows: Iterable[Row]) -> list[Row]:
    """Rows as they stand in a report."""
    return [REPORT_ROW.stamped(row) for row in rows]


def pictures_of(row: Row) -> list[Row]:
    """The entries of pictures in a row: itself, or both of a pair; none where it is no row of a report."""
    if isinstance(row.get("file"), str):
        return [row]
    both = [row.get(side) for side in ("a", "b")]
    return [one for one in both if isinstance(one, dict) and isinstance(one.get("file"), str)]


def _without(row: Row, drawn: set[str], folder: Path) -> list[Row]:
    """What of a row still holds once these files were drawn again: of a pair it may be one picture alone."""
    old = pictures_of(row)
    left = [one for one in old if one["file"] not in drawn and _is_there(folder, one["file"])]
    return [row] if len(left) == len(old) else stamped(left)


def _is_there(folder: Path, file: str) -> bool:
    path = PurePosixPath(file)
    return not path.is_absolute() and ".." not in path.parts and (folder / path).is_file()


def _refused(place: Path, why: str) -> ArgumentError:
    return ArgumentError(f"{place} {why}; nothing was written. Move it away, or choose another folder")
