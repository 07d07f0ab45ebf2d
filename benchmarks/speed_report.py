"""The speed benchmark's results as JSON and as a Markdown table."""

import json
import time
from pathlib import Path
from typing import Any

import speed_machine


def keep(folder: Path, job: str, rows: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """Add a job's rows to DIR/speed.json, in place of those of an earlier run, and write the table anew."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = _read(folder)
    kept[job] = {
        "rows": rows,
        "machine": speed_machine.described(),
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "options": {
            name: str(value) for name, value in options.items() if name not in ("out", "venvs", "weights")
        },
    }
    spare = folder / "speed.json.part"
    spare.write_text(json.dumps(kept, indent=1))
    spare.replace(folder / "speed.json")
    (folder / "speed.md").write_text(table(folder))


def table(folder: Path) -> str:
    """All that is kept, as Markdown."""
    lines = ["| job | what | found | all runs | aim |", "|---|---|---|---|---|"]
    kept = _read(folder)
    for job, found in kept.items():
        for row in found["rows"]:
            runs = " ".join(_number(v) for v in row.get("all", [])) if len(row.get("all", [])) > 1 else ""
            value = "-" if row["value"] is None else f"{_number(row['value'])} {row['unit']}".strip()
            cells = (f"`{job}`", row["what"].rstrip(", "), value, row.get("note") or runs, row.get("aim", ""))
            lines.append("| " + " | ".join(cells) + " |")
    said = [
        f"- `{job}`: {found['when']}, {_options(found['options'])}; {found['machine']}"
        for job, found in kept.items()
    ]
    return "\n".join([*lines, "", *said, ""])


def _options(told: dict[str, str]) -> str:
    """How a job was run, in words: its repeats, its clock, and what is not as usual."""
    words = ["quick" if told["quick"] == "True" else f"{told['repeats']} repeats", f"{told['clock']} clock"]
    return ", ".join(words + [f"{told['threads']} threads"] * (told["threads"] != "0"))


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _read(folder: Path) -> dict[str, Any]:
    file = folder / "speed.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found
