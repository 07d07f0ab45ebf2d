"""Tries recipes on a fixed sample of units of VGG16 and tiny-vgg16; one line of scores for each setting.

    python benchmarks/tune.py sharp natural --vgg16-weights FILE --images DIR
    python benchmarks/tune.py sharp --set steps=96 --grid optimizer.lr 0.05 0.07 0.1 --grid image.sd 0.01 0.1
    python benchmarks/tune.py sharp --networks tiny-vgg16 --layers predictions,block4_conv3 --units 16 --by-layer

All combinations of the grids are tried. Values are JSON where they are JSON, as with `filterscope show --set`.
Without --vgg16-weights and --images only tiny-vgg16 is drawn. --sheets DIR keeps a sheet of each setting's pictures.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.jobs import open_job, sample
from benchmarks.quality.scores import Score, Scorer, dead_units, summary
from benchmarks.quality.table import markdown, plain

from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.files import writing
from filterscope.pictures import Picture, Sheet
from filterscope.recipe import Recipe, get_recipe, parse_settings


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="presets to start from")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all of them")
    parser.add_argument(
        "--grid", action="append", default=[], nargs="+", metavar=("KEY", "VALUE"), help="values to try"
    )
    parser.add_argument(
        "--networks", default="vgg16,tiny-vgg16", help="of vgg16,tiny-vgg16 (default: both that can be had)"
    )
    parser.add_argument("--layers", default="", help="only these, by commas")
    parser.add_argument("--units", type=int, default=6, help="units a layer (default 6; 0 for all)")
    parser.add_argument("--by-layer", action="store_true", help="a line for each layer too")
    parser.add_argument("--vgg16-weights", type=Path, metavar="FILE")
    parser.add_argument("--images", type=Path, metavar="DIR", help="natural images")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheets", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the rows, for machines")
    return parser.parse_args(argv)


def grid(
    recipes: Sequence[str], fixed: Sequence[str], grids: Sequence[Sequence[str]]
) -> Iterator[tuple[str, Recipe]]:
    """Every recipe with every combination of settings, each with a name that says what was set."""
    choices = [[f"{key}={value}" for value in values] for key, *values in grids]
    for name, combination in itertools.product(recipes, itertools.product(*choices)):
        settings = parse_settings([*fixed, *combination])
        yield " ".join([name, *combination]), get_recipe(name, settings=settings)


def try_recipe(
    scorer: Scorer, recipe: Recipe, units: dict[str, list[int]], args: argparse.Namespace
) -> tuple[list[Score], list[Picture]]:
    scores, kept = [], []
    for layer, some in units.items():
        targets = scorer.network.targets(f"{layer}:{','.join(map(str, some))}")
        pictures = list(
            draw(scorer.network, targets, recipe, run=Run(seed=args.seed, precision=args.precision))
        )
        kept += pictures
        drawn = zip(targets, pictures, strict=True)
        scores += [scorer.score(layer, one.unit, p.image, p.seconds) for one, p in drawn]
    return scores, kept


def failed(scores: Sequence[Score]) -> str:
    """The units that no picture excites enough, worst first."""
    fails = sorted((s for s in scores if not s.success), key=lambda s: s.excitation or 0)
    words = [f"{s.layer}:{s.unit} ({s.excitation or 0:.2f})" for s in fails[:8]]
    return f"; failed: {', '.join(words)}{' ...' * (len(fails) > 8)}" if fails else ""


def main(argv: Sequence[str]) -> None:
    args = arguments(argv)
    names = args.networks.split(",")
    if args.vgg16_weights is None or args.images is None:
        names = [n for n in names if n != "vgg16"]
    jobs = [open_job(n, vgg16_weights=args.vgg16_weights, images=args.images) for n in names]
    rows: list[tuple[list[str], dict[str, Any]]] = []
    for name, recipe in grid(args.recipes, args.set, args.grid):
        for scorer in jobs:
            units = sample(scorer, args.units or None)
            if args.layers:
                units = {layer: some for layer, some in units.items() if layer in args.layers.split(",")}
            scores, pictures = try_recipe(scorer, recipe, units, args)
            if not scores:
                continue
            dead, lines = dead_units(scores), [("all", scores)]
            if args.by_layer:
                lines += [(layer, [s for s in scores if s.layer == layer]) for layer in units]
            for layer, some in lines:
                rows.append(([name, scorer.network.name, layer], summary(some, dead)))
                print(
                    f"{name}; {scorer.network.name} {layer}: {plain(rows[-1][1])}{failed(some)}", flush=True
                )
            if args.sheets:
                Sheet(pictures, columns=max(map(len, units.values()))).save(
                    args.sheets / f"{scorer.network.name} {name}.png".replace("/", "_")
                )
    print("\n" + markdown(rows, ["recipe", "network", "layer"]))
    if args.json:
        with writing(args.json) as spare:
            spare.write_text(json.dumps([{"row": cells, **row} for cells, row in rows], indent=1))
