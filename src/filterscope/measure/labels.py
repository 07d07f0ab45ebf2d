"""Words for units as they are kept: CSV files of labels, and vocabularies.

    layer,unit,description,similarity
    layer4,0,zebra,0.42

is what CLIP-Dissect writes (`descriptions.csv`); files of any origin with these columns are read.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filterscope.errors import ArgumentError, TargetError, first_line
from filterscope.files import write_text
from filterscope.networks.network import Network


@dataclass(frozen=True)
class Label:
    """A unit's words, and how well they fit: a number that only labels of one origin can be compared by."""

    layer: str
    unit: int
    description: str
    similarity: float | None


COLUMNS = tuple(one.name for one in fields(Label))


def read_vocabulary(source: str | os.PathLike[str] | Iterable[str]) -> list[str]:
    """Words, each once: of a text file one a line, or as they are given; ArgumentError where there are none.

    >>> read_vocabulary(["dog", " cat ", "dog", ""])
    ['dog', 'cat']
    """
    if isinstance(source, str | os.PathLike):
        where = f" {os.fspath(source)!r}"
        lines: Iterable[str] = _read_text(Path(source), "a vocabulary").splitlines()
    else:
        where, lines = "", source
    words = []
    for line in lines:
        if not isinstance(line, str):
            raise ArgumentError(f"a vocabulary is a file with a word on each line, or texts (got {line!r})")
        words += [line.strip()] if line.strip() else []
    if not words:
        raise ArgumentError(f"the vocabulary{where} is empty: it needs a word or phrase on each line")
    return list(dict.fromkeys(words))


def read_labels(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]], network: Network
) -> list[Label]:
    """The labels in a CSV file, or rows of one, checked against a network; of several for a unit the one with the largest
    similarity.

    ArgumentError for a file that cannot be read, lacks a column or has a value that is no number; TargetError with the
    nearest name for a layer or unit that the network does not have.
    """
    if isinstance(source, str | os.PathLike):
        name, text = os.fspath(source), _read_text(Path(source), "a file of labels")
    else:
        name, text = "labels", _as_text(source)
    labels = parse_labels(text, name)
    for line, label in labels:
        try:
            units = network.layer(label.layer).units
        except TargetError as error:
            raise TargetError(f"{name}, line {line}: {error}") from None
        if label.unit >= units:
            raise TargetError(
                f"{name}, line {line}: {label.layer} of {network.name} has units 0 to {units - 1} (got {label.unit}; the "
                f"nearest is {units - 1})"
            )
    best: dict[tuple[str, int], Label] = {}
    for _, label in labels:
        known = best.get((label.layer, label.unit))
        if known is None or _rank(label) > _rank(known):
            best[label.layer, label.unit] = label
    return list(best.values())


def parse_labels(text: str, name: str) -> list[tuple[int, Label]]:
    """The labels in a CSV file's text, each with its line; ArgumentError where it lacks a column or a value is wrong."""
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        there = [column.strip() for column in reader.fieldnames or ()]
        missing = [column for column in COLUMNS if column not in there]
        if missing:
            raise ArgumentError(
                f"{name} has no column {', '.join(map(repr, missing))} (it has: {', '.join(there) or 'none'}); labels are a "
                f"CSV file with the columns {', '.join(COLUMNS)}"
            )
        reader.fieldnames = there
        labels = [(reader.line_num, _label(row, f"{name}, line {reader.line_num}")) for row in reader]
    except csv.Error as error:
        raise ArgumentError(f"{name} is no CSV file: {first_line(error)}") from None
    if not labels:
        raise ArgumentError(f"{name} holds no labels below the columns' names")
    return labels


def format_labels(labels: Iterable[Label]) -> str:
    """Labels as the text of a CSV file."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for label in labels:
        writer.writerow(
            {**asdict(label), "similarity": "" if label.similarity is None else f"{label.similarity:.8g}"}
        )
    return buffer.getvalue()


def write_labels(path: str | os.PathLike[str], labels: Iterable[Label]) -> None:
    """Write labels as a CSV file, whole or not at all."""
    write_text(path, format_labels(labels))


def _as_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as the text of a CSV file, with the columns of the first."""
    there = [dict(row) for row in rows]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(
        buffer, list(there[0]) if there else COLUMNS, extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(there)
    return buffer.getvalue()


def _label(row: dict[str, Any], where: str) -> Label:
    layer, unit, description, similarity = ((row[column] or "").strip() for column in COLUMNS)
    if not unit.isdecimal():
        raise ArgumentError(f"{where}: unit is a whole number from 0 (got {unit!r})")
    try:
        number = float(similarity) if similarity else None
    except ValueError:
        raise ArgumentError(f"{where}: similarity is a number (got {similarity!r})") from None
    if not layer or not description:
        raise ArgumentError(f"{where}: {'description' if layer else 'layer'} is empty")
    return Label(layer, int(unit), description, number if number is None or math.isfinite(number) else None)


def _rank(label: Label) -> float:
    return -math.inf if label.similarity is None else label.similarity


def _read_text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ArgumentError(f"{str(path)!r} is no text in UTF-8, as {what} is") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(f"{str(path)!r} cannot be read as {what}: {reason}") from None
