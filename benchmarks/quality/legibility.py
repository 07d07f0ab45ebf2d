"""How well a unit's picture says which photographs excite the unit: the two-alternative test (measure/legibility.py).

    python benchmarks/quality.py legibility                              # hours; goes on where it was stopped
    python benchmarks/quality.py legibility --only efficientnet-lite0/default,efficientnet-lite0/lucent
    python benchmarks/quality.py legibility --only dinov2/default --units 2 --name legibility-trial

16 units of each of four layers, by chance among those that photographs excite, of EfficientNet-Lite0 and DINOv2 ViT-S/14,
against the photographs of --images (1,000 of ImageNet). Writes benchmarks/results/legibility.json, a part for each network
and program. The ceiling is of the same units: their own best photographs in the picture's stead.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import result_files
from benchmarks.machine import described
from benchmarks.quality.imagenet import PEERS, PROGRAMS, SUBJECTS, choose_units, pictures
from benchmarks.quality.peers import version
from benchmarks.quality.run import BESIDE, IMAGES, exit_status
from benchmarks.quality.store import Kept, Store
from benchmarks.quality.table import markdown

from filterscope.files import check_writable, writing
from filterscope.measure.examples import find_examples
from filterscope.measure.legibility import Features, legibility, pair_files
from filterscope.measure.natural import NaturalActivations, images_digest
from filterscope.networks import open_network
from filterscope.pictures.reading import list_images
from filterscope.target import Target

USUAL = [
    f"{name}/{program}" for name in ("efficientnet-lite0", "dinov2") for program in ("default", "lucent")
]


def common_arguments(description: str | None) -> argparse.ArgumentParser:
    """What this and classes.py take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("out/quality"), metavar="DIR")
    add("--precision", default="auto")
    add("--seed", type=int, default=0)
    add("--fresh", action="store_true", help="draw our pictures anew")
    add("--venvs", type=Path, metavar="DIR", help="where the peers' environments lie")
    add("--results", type=Path, default=result_files.FOLDER, metavar="DIR", help="where results are kept")
    return parser


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = common_arguments(__doc__)
    add = parser.add_argument
    add("--only", default=",".join(USUAL), metavar="NETWORK/PROGRAM,...", help=f"default: {','.join(USUAL)}")
    add("--units", type=int, default=16, help="of each layer (default 16)")
    add("--images", type=Path, default=IMAGES, metavar="DIR", help="photographs")
    add("--models", type=Path, default=BESIDE / "models", metavar="DIR", help="weights files")
    add("--name", default="legibility", help="of the result in benchmarks/results")
    args = parser.parse_args(argv)
    args.only = [tuple(text.partition("/")[::2]) for text in args.only.split(",") if text]
    for name, program in args.only:
        if name not in SUBJECTS or program not in PROGRAMS:
            parser.error(
                f"--only: {name}/{program} is not one of {', '.join(SUBJECTS)} / one of {', '.join(PROGRAMS)}"
            )
    if not args.images.is_dir():
        parser.error(f"there is no folder {str(args.images)!r}")
    return args


def photograph_features(name: str, images: Path, out: Path) -> Features:
    """The features of all photographs of a folder in a network, computed once and kept in `out`."""
    features, paths = Features(open_network(name)), [path.absolute() for path in list_images(images)]
    kept = out / f"features-{name}-{images_digest(paths)[:12]}.npy"
    if kept.is_file():
        values = np.load(kept)
    else:
        print(f"features of {len(paths)} photographs in {name}", file=sys.stderr, flush=True)
        values = features.of_files(paths)
        with writing(kept) as spare, spare.open("wb") as file:
            np.save(file, values)
    features.known |= dict(zip(paths, values, strict=True))
    return features


def unit_rows(
    found: Mapping[Target, Kept], natural: Mapping[str, NaturalActivations], features: Features
) -> list[dict[str, Any]]:
    """For each picture its layer, unit, legibility, ceiling and seconds."""
    rows = []
    for target, kept in found.items():
        test = legibility(features, kept.image, pair_files(natural[target.layer], target.unit))
        if test is not None:
            rows.append(
                {
                    "layer": target.layer, "unit": target.unit, "legibility": test.legibility,
                    "ceiling": test.ceiling, "seconds": kept.seconds,
                }
            )  # fmt: skip
    return rows


def table_rows(name: str, program: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Over all units and by layer: means, and the standard error of the legibility over the units."""
    table = []
    for layer in ("all", *dict.fromkeys(row["layer"] for row in rows)):
        some = [row for row in rows if layer in ("all", row["layer"])]
        values = [row["legibility"] for row in some]
        ceilings = [row["ceiling"] for row in some if row["ceiling"] is not None]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        table.append(
            {
                "row": [name, program, layer], "pictures": len(some), "legibility": statistics.fmean(values),
                "legibility_error": error, "ceiling": statistics.fmean(ceilings) if ceilings else None,
                "seconds": statistics.fmean(row["seconds"] for row in some),
            }
        )  # fmt: skip
    return table


def run(args: argparse.Namespace) -> None:
    store = Store(check_writable(args.out))
    for name in dict.fromkeys(name for name, _ in args.only):
        subject = SUBJECTS[name]
        net = subject.open(args.models)
        natural = find_examples(net, subject.layers, args.images)
        features = photograph_features(subject.features, args.images, args.out)
        targets = choose_units(natural, args.units)
        for program in (program for own, program in args.only if own == name):
            print(f"{name}: {program}", file=sys.stderr, flush=True)
            found = pictures(name, net, program, targets, store, args)
            rows = table_rows(name, program, unit_rows(found, natural, features))
            part = {
                "names": ["network", "program", "layer"],
                "rows": rows,
                "notes": [f"features of {subject.features}"],
            }
            keep_part(f"{name}, {program}", part, program, args)


def keep_part(title: str, part: dict[str, Any], program: str, args: argparse.Namespace) -> None:
    """Print a program's table and keep it, beside those of other programs and networks."""
    print(markdown([(row["row"], row) for row in part["rows"]], part["names"]), flush=True)
    versions = dict([version(program)]) if program in PEERS else {}
    result_files.keep(args.name, {title: part}, machine=described(), versions=versions, folder=args.results)


def main(argv: Sequence[str]) -> int:
    args = arguments(argv)
    return exit_status(lambda: run(args))
