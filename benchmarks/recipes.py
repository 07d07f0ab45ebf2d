"""The gallery of recipes: the same eight units of three networks under every preset, as docs/recipes.md shows them.

usage: python -m benchmarks.recipes --images DIR --cifar WEIGHTS [--only NETWORK] [--presets NAME,...]

DIR      photographs, by which excitations are measured (those of tiny-vgg16 ship with it); some hundreds are enough
WEIGHTS  a published checkpoint of ResNet-20 for CIFAR-10

Each network's pictures become one image, docs/pictures/recipes-NETWORK.jpg, and its numbers a part of
benchmarks/results/recipes.json, of which `python -m benchmarks.page` makes the tables. Seconds are of one core, of its
processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import result_files
from benchmarks.machine import described

import filterscope as fs
from filterscope.measure.judge import Judge
from filterscope.pictures.sheet import Tile, compose

HOME = Path(__file__).resolve().parents[1]
COLUMNS = ["preset", "ok", "median excitation", "classes that the judge names first", "seconds a picture"]
PRESETS = ("naive", "linear", "lp", "tv", "distill", "maco", "sharp", "natural", "robust")
# maco's published settings draw 512 px from 32 crops a step; here each picture has the others' size, and a quarter of them
SETTINGS: dict[str, dict[str, Any]] = {"maco": {"transforms.crop.count": 8, "steps": 128}}


@dataclass(frozen=True)
class Case:
    """A network and its eight units: four of hidden layers, four classes."""

    title: str
    source: str
    layers: tuple[str, ...]
    classes: str
    side: int
    judge: str | None = None
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def cases(cifar: str | None) -> list[Case]:
    """Those that can be drawn."""
    resnet = f"{HOME}/examples/cifar10_resnet20.py:resnet20"
    found = [
        Case(
            "tiny-vgg16", "tiny-vgg16", ("block2_conv2:7", "block3_conv3:63", "block4_conv3:165", "block5_conv3:178"),
            "predictions:goldfish,monarch,school_bus,lemon", 64, "efficientnet-lite0",
        ),
        Case(
            "efficientnet-lite0", "efficientnet-lite0",
            ("blocks.2.1.bn1:3", "blocks.3.0.bn1:7", "blocks.5.0.bn1:40", "blocks.5.0.bn1:100"),
            "classifier:goldfish,goblet,warplane,lion", 224, "efficientnet-lite1",
        ),
    ]  # fmt: skip
    if cifar is not None:
        units = ("layer1.2.conv1:3", "layer2.2.conv1:7", "layer3.2.conv1:5", "layer3.2.conv1:20")
        found.append(
            Case("cifar10-resnet20", resnet, units, "linear:airplane,cat,ship,horse", 32, weights=cifar)
        )
    return found


def draw(case: Case, presets: Sequence[str], images: Path | None) -> tuple[list[list[str]], list[fs.Sheet]]:
    """A network's rows, one a preset, and its sheets."""
    net = fs.open_network(case.source, weights=case.weights)
    targets = [*case.layers, case.classes]
    if images is not None and case.title != "tiny-vgg16":
        fs.find_examples(net, [*dict.fromkeys(t.partition(":")[0] for t in targets)], images)
    judge = None if case.judge is None else fs.open_network(case.judge)
    rows, sheets = [], []
    for preset in presets:
        settings = dict(SETTINGS.get(preset, {}))
        began = time.process_time()
        sheet = fs.visualize_sheet(
            net, targets, recipe=preset, size=case.side, steps=settings.pop("steps", None), settings=settings
        )
        seconds = (time.process_time() - began) / len(sheet)
        rows.append([f"`{preset}`", *numbers(sheet, net, judge), f"{seconds:.1f}"])
        sheets.append(sheet)
        print(case.title, *rows[-1], flush=True)
    return rows, sheets


def numbers(sheet: fs.Sheet, net: fs.Network, judge: fs.Network | None) -> list[str]:
    """How many succeed, their median excitation, how many classes the judge names first."""
    found = [picture.scores.excitation for picture in sheet if picture.scores.excitation is not None]
    ok = sum(picture.status == "ok" for picture in sheet)
    named = "not asked"
    if judge is not None:
        judged = [one.judge for one in Judge(judge).judged(net, list(sheet)) if one.judge and one.judge.rank]
        named = f"{sum(opinion.rank == 1 for opinion in judged)} of {len(judged)}"
    return [f"{ok} of {len(sheet)}", f"{median(found):.2f}" if found else "not known", named]


def gallery(sheets: Sequence[fs.Sheet], presets: Sequence[str], path: Path, side: int = 112) -> None:
    """One image: a row for each preset, a column for each unit."""
    titles = [picture.class_name or str(picture.target) for picture in sheets[0]]
    tiles = [
        Tile(picture.to_pil(), preset if i == 0 else "", "")
        for preset, sheet in zip(presets, sheets, strict=True)
        for i, picture in enumerate(sheet)
    ]
    image = compose(tiles, columns=len(titles), titles=titles, side=side)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").save(path, quality=88, optimize=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, and keep what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="photographs for excitations")
    parser.add_argument("--cifar", metavar="WEIGHTS", help="checkpoint of ResNet-20 for CIFAR-10")
    parser.add_argument("--only", metavar="NETWORK", help="one of them")
    parser.add_argument("--presets", default=",".join(PRESETS), metavar="NAME,...")
    parser.add_argument("--results", type=Path, default=result_files.FOLDER, metavar="DIR")
    parser.add_argument("--pictures", type=Path, default=HOME / "docs" / "pictures", metavar="DIR")
    args = parser.parse_args(argv)
    presets = args.presets.split(",")
    for case in cases(args.cifar):
        if args.only in (None, case.title):
            rows, sheets = draw(case, presets, args.images)
            gallery(sheets, presets, args.pictures / f"recipes-{case.title}.jpg")
            part = {"columns": COLUMNS, "rows": rows, "notes": [f"{case.side} px"]}
            result_files.keep("recipes", {case.title: part}, machine=described(), folder=args.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
