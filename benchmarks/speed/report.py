"""The speed benchmark's results, kept in benchmarks/results/, as a Markdown table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, result_files

# jobs whose rows are tables of their own on the page
FILES = {
    "package": "speed-networks", "modern": "speed-networks", "share": "speed-networks", "opening": "speed-networks",
    "roofline": "speed-roofline",
}  # fmt: skip


def keep(job: str, rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> Path:
    """Put a job's rows into benchmarks/results/speed.json (or as FILES has it), in place of those of an earlier run; where
    it lies."""
    name = FILES.get(job, "speed") + "-quick" * options.quick
    if options.avx2:
        rows = [row | {"what": f"AVX2: {row['what']}"} for row in rows]
    part = {"rows": list(rows), "notes": [told(options)]}
    title = f"{job}, AVX2" if options.avx2 else job
    return result_files.keep(name, {title: part}, machine=machine.described(), folder=options.results)


def table(path: Path) -> str:
    """All that is kept, as Markdown."""
    lines = ["| job | what | found | all runs | aim |", "|---|---|---|---|---|"]
    parts = result_files.read(path)
    for job, found in parts.items():
        for row in found["rows"]:
            runs = " ".join(_number(v) for v in row.get("all", [])) if len(row.get("all", [])) > 1 else ""
            value = "-" if row["value"] is None else f"{_number(row['value'])} {row.get('unit', '')}".strip()
            cells = (f"`{job}`", row["what"].rstrip(", "), value, row.get("note") or runs, row.get("aim", ""))
            lines.append("| " + " | ".join(cells) + " |")
    said = [
        f"- `{job}`: {', '.join([found['when'], *found.get('notes', []), found['machine']])}"
        for job, found in parts.items()
    ]
    return "\n".join([*lines, "", *said, ""])


def told(options: argparse.Namespace) -> str:
    """How a job was run, in words: its repeats, its clock, and what is not as usual."""
    words = ["quick" if options.quick else f"{options.repeats} repeats", f"{options.clock} clock"]
    words += [f"{options.threads} threads"] * bool(options.threads)
    return ", ".join(words + ["limited to AVX2"] * options.avx2)


def _number(value: float | str) -> str:
    if isinstance(value, str):  # as it stood in a page that it was copied from
        return value
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
