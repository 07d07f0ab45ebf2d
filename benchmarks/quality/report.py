"""The tables and the sheet of benchmarks/quality.py."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import result_files
from benchmarks.machine import described
from benchmarks.quality.jobs import best_photographs
from benchmarks.quality.scores import SURE, Score, Scorer, dead_units, summary
from benchmarks.quality.spectrum import own_distance
from benchmarks.quality.store import Store
from benchmarks.quality.table import markdown
from PIL import Image

from filterscope import __version__
from filterscope.files import write_text
from filterscope.pictures.sheet import Tile, compose, save_image

Row = tuple[list[str], dict[str, Any]]

SIDE = 128  # of a tile on the sheet


@dataclass(frozen=True)
class Result:
    """One program's scores on one network; `whole`: on every unit. `side`: the units that every program draws."""

    scorer: Scorer
    program: str
    scores: Sequence[Score]
    whole: bool
    side: dict[str, list[int]]

    @property
    def network(self) -> str:
        return self.scorer.network.name

    def among(self, units: dict[str, list[int]]) -> list[Score]:
        """The scores of these units alone."""
        return [s for s in self.scores if s.unit in units.get(s.layer, [])]


def write_report(
    results: Sequence[Result], store: Store, args: argparse.Namespace, notes: Sequence[str]
) -> None:
    """quality.md, quality.json and sheet.png."""
    tables = {
        "side by side": side_rows(results),
        "sample": sample_rows(results, args.few),
        "whole": whole_rows(results),
    }
    text = [
        "# Quality",
        "",
        f"filterscope {__version__}, {described()}, precision {args.precision}, seed {args.seed}. "
        f"Natural photographs' own mean spectrum distance: {own_distance():.3f}. Measures: benchmarks/quality.py.",
        "",
        *_section(
            "Side by side: the units that every program drew", tables["side by side"], ["network", "program"]
        ),
        *_section(
            f"A sample: {args.units} units or more of each layer", tables["sample"], ["network", "program"]
        ),
        *_section("Every unit", tables["whole"], ["network", "program", "layer"]),
        *figures(results),
        *[f"- {note}" for note in notes],
    ]
    write_text(store.out / "quality.md", "\n".join(text).rstrip() + "\n")
    data = {
        "machine": described(),
        "version": __version__,
        "settings": {k: str(v) for k, v in vars(args).items()},
        "tables": {k: [{"row": cells, **row} for cells, row in rows] for k, rows in tables.items()},
        "pictures": [
            {"network": r.network, "program": r.program, **asdict(s)} for r in results for s in r.scores
        ],
        "notes": list(notes),
    }
    write_text(store.out / "quality.json", json.dumps(data, indent=1))
    save_image(side_sheet(results, store, args), store.out / "sheet.png")


def keep(results: Sequence[Result], args: argparse.Namespace, versions: Mapping[str, str]) -> Path:
    """The tables of a finished run in benchmarks/results/, for benchmarks/page.py."""
    names = ["network", "program"]
    tables = {
        "side by side": (names, side_rows(results)),
        "sample": (names, sample_rows(results, args.few)),
        "whole": ([*names, "layer"], whole_rows(results)),
    }
    parts = {
        part: {"names": names, "rows": [{"row": cells, **row} for cells, row in rows]}
        for part, (names, rows) in tables.items()
        if rows
    }
    where = {"machine": described(), "versions": versions, "folder": args.results}
    return result_files.keep(args.name, parts, beside=False, **where)


def _section(title: str, rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    return [f"## {title}", "", markdown(rows, names), ""] if rows else []


def side_rows(results: Sequence[Result]) -> list[Row]:
    """A row for each network and program over the side-by-side units, pictures of dead units left out of rates."""
    dead = _dead(results)
    return [([r.network, r.program], summary(r.among(r.side), dead[r.network])) for r in results]


def sample_rows(results: Sequence[Result], few: Sequence[str]) -> list[Row]:
    """Over the units that all presets but the slow ones drew."""
    dead, rows = _dead(results), []
    for network in dict.fromkeys(r.network for r in results):
        some = [r for r in results if r.network == network and _count(r) > _side_count(r)]
        some = [r for r in some if r.program not in few]
        if not some:
            continue
        common = set.intersection(*({(s.layer, s.unit) for s in r.scores} for r in some))
        for r in some:
            shared = [s for s in r.scores if (s.layer, s.unit) in common]
            rows.append(([network, r.program], summary(shared, dead[network])))
    return rows


def whole_rows(results: Sequence[Result]) -> list[Row]:
    """By layer, and over all, for the presets that were drawn on every unit."""
    dead, rows = _dead(results), []
    for r in results:
        if r.whole:
            rows.append(([r.network, r.program, "all"], summary(r.scores, dead[r.network])))
            for layer in r.scorer.best:
                some = [s for s in r.scores if s.layer == layer]
                rows.append(([r.network, r.program, layer], summary(some, dead[r.network])))
    return [row for row in rows if row[1]["pictures"]]


def figures(results: Sequence[Result]) -> list[str]:
    """The units that failed, by name, and the dead ones, of the presets drawn on every unit."""
    lines: list[str] = []
    dead = _dead(results)
    for r in (r for r in results if r.whole):
        failed = [s for s in r.scores if not s.success and (s.layer, s.unit) not in dead[r.network]]
        unsure = [s for s in r.scores if s.probability is not None and s.probability < SURE]
        lines += [
            f"- {r.network}, {r.program}: {_named('no gain', failed)}; {_named('classes below 99 %', unsure)}",
        ]
    for network, units in dead.items():
        if any(r.whole and r.network == network for r in results):
            lines.append(
                f"- {network}: dead units: {', '.join(f'{n}:{u}' for n, u in sorted(units)) or 'none'}"
            )
    return ["## Units that fail", "", *lines, ""] if lines else []


def _named(what: str, scores: Sequence[Score]) -> str:
    words = [f"{s.layer}:{s.unit} ({s.excitation or 0:.2f})" for s in scores]
    return f"{what}: {len(words)}" + (
        f", {', '.join(words[:20])}{' ...' * (len(words) > 20)}" if words else ""
    )


def _dead(results: Iterable[Result]) -> dict[str, set[tuple[str, int]]]:
    scores: dict[str, list[Score]] = {}
    for r in results:
        scores.setdefault(r.network, []).extend(r.scores)
    return {network: dead_units(some) for network, some in scores.items()}


def _count(result: Result) -> int:
    return len(result.scores)


def _side_count(result: Result) -> int:
    return sum(map(len, result.side.values()))


def side_sheet(results: Sequence[Result], store: Store, args: argparse.Namespace) -> Image.Image:
    """Rows units, columns the best photograph and the programs, with excitations."""
    programs = list(dict.fromkeys(r.program for r in results))
    blank = Image.new("RGB", (SIDE, SIDE), "white")
    tiles: list[Tile] = []
    for network in dict.fromkeys(r.network for r in results):
        here = {r.program: r for r in results if r.network == network}
        first = next(iter(here.values()))
        photographs = best_photographs(first.scorer, first.side, args.images, store.out)
        for layer, some in first.side.items():
            for unit in some:
                photograph = photographs.get((layer, unit))
                name = first.scorer.network.class_name(first.scorer.network.targets(f"{layer}:{unit}")[0])
                caption = name or f"{layer}:{unit}"
                tiles.append(Tile(blank if photograph is None else photograph, network, caption))
                for program in programs:
                    tiles.append(_tile(here.get(program), store, layer, unit) or Tile(blank))
    return compose(tiles, columns=len(programs) + 1, titles=["best photograph", *programs], side=SIDE)


def _tile(result: Result | None, store: Store, layer: str, unit: int) -> Tile | None:
    found = [s for s in result.scores if (s.layer, s.unit) == (layer, unit)] if result else []
    if not result or not found:
        return None
    image = Image.fromarray(np.asarray(store.image(result.network, result.program, layer, unit)))
    score = found[0]
    words = "no natural" if score.excitation is None else f"{score.excitation:.2f}"
    if score.probability is not None:
        words += f", {score.probability:.1%}"
    return Tile(image, "", words + ("" if score.success else " fails"))
