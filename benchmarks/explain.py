"""Whether the channels of the largest contributions are what a class rests on: deletion curves over photographs.

    python benchmarks/explain.py                                     # 100 photographs, two layers of EfficientNet-Lite0
    python benchmarks/explain.py --photographs 10 --name explain-quick
    python benchmarks/explain.py --net tiny-vgg16 --layers block4_conv3,block5_conv3

For each photograph and layer the channels are set to 0 in the order of four rankings, for the class that the network names:
activation times gradient (what `filterscope explain` shows), the same path-integrated, plain activation, and the gradient
alone (each summed over space). The area is between a ranking's curve and the mean of five orders by chance, over the share
of removed channels, in logits: larger is better, 0 is chance. Writes benchmarks/results/explain.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from benchmarks import result_files
from benchmarks.machine import described
from benchmarks.page import lines
from benchmarks.quality.run import IMAGES, exit_status

from filterscope.explanation.attribution import Attribution, attribute
from filterscope.explanation.behind import Behind
from filterscope.explanation.goals import read_question, see, value_of
from filterscope.explanation.removal import ORDERS, area_between, counts_of, remove
from filterscope.networks import Network, open_network
from filterscope.pictures.reading import list_images, read_photograph

LAYERS = "blocks.5.0.bn1,bn2"
STEPS = 16  # of the path
INTEGRATED = "path-integrated"
RANKINGS: dict[str, Callable[[Attribution], np.ndarray]] = {
    "activation x gradient": lambda found: found.contributions,
    INTEGRATED: lambda found: found.contributions,
    "plain activation": lambda found: found.activations.sum((1, 2)),
    "gradient alone": lambda found: found.gradient.sum((1, 2)),
}
BESIDE = (
    "plain activation",
    "gradient alone",
)  # that each ranking is compared with, photograph by photograph


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--net", default="efficientnet-lite0")
    add("--layers", default=LAYERS, metavar="LAYER,...", help=f"default: {LAYERS}")
    add(
        "--photographs",
        type=int,
        default=100,
        metavar="N",
        help="evenly spread over the folder (default 100)",
    )
    add("--images", type=Path, default=IMAGES, metavar="DIR", help="photographs")
    add("--seed", type=int, default=0)
    add("--name", default="explain", help="of the result in benchmarks/results")
    add("--results", type=Path, default=result_files.FOLDER, metavar="DIR", help="where results are kept")
    args = parser.parse_args(argv)
    args.layers = args.layers.split(",")
    if not args.images.is_dir():
        parser.error(f"there is no folder {str(args.images)!r}")
    return args


def spread(images: Sequence[Path], count: int) -> list[Path]:
    """So many of the images, evenly spread over them."""
    count = min(count, len(images))
    return [images[i * len(images) // count] for i in range(count)]


def areas(net: Network, path: Path, layer: str, seed: int) -> dict[str, float]:
    """Of one photograph at one layer each ranking's area over random."""
    seen = see(net, read_photograph(path), torch.device("cpu"))
    goal = read_question(net, seen, None, None).goal
    behind, value = Behind(net, layer, goal.layers, seen.pixels), value_of(goal)
    plain, path_integrated = attribute(behind, value), attribute(behind, value, steps=STEPS)
    scores = {name: rank(path_integrated if name == INTEGRATED else plain) for name, rank in RANKINGS.items()}
    chance = np.random.default_rng(seed)
    channels = behind.activations.shape[1]
    orders = [np.argsort(-score, kind="stable") for score in scores.values()]
    orders += [chance.permutation(channels) for _ in range(ORDERS)]
    counts = counts_of(channels)
    curves = remove(behind, value, orders, counts)
    random = curves[len(scores) :].mean(0)
    return {name: area_between(random, curve, counts) for name, curve in zip(scores, curves, strict=False)}


def table_rows(layer: str, found: Sequence[dict[str, float]]) -> list[list[str]]:
    """A row for each ranking: the mean area with its standard error, how often it is above 0 and above those of `BESIDE`."""
    rows = []
    for name in RANKINGS:
        values = [one[name] for one in found]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
        above = statistics.fmean(value > 0 for value in values)
        more = []
        for other in BESIDE:
            better = statistics.fmean(one[name] > one[other] for one in found)
            more.append("-" if name == other else f"{100 * better:.0f} %")
        rows.append(
            [layer, name, f"{statistics.fmean(values):.2f} ± {error:.2f}", f"{100 * above:.0f} %", *more]
        )
    return rows


def run(args: argparse.Namespace) -> None:
    net = open_network(args.net)
    images = spread(list_images(args.images), args.photographs)
    rows, began = [], time.monotonic()
    for layer in args.layers:
        found = []
        for i, path in enumerate(images):
            found.append(areas(net, path, layer, args.seed + i))
            if (i + 1) % 10 == 0:
                print(f"{layer}: {i + 1} of {len(images)}", file=sys.stderr, flush=True)
        rows += table_rows(layer, found)
    columns = [
        "layer",
        "channels removed in the order of",
        "area over random, logits",
        "above random",
        *(f"above {other}" for other in BESIDE),
    ]
    part = {
        "columns": columns,
        "rows": rows,
        "notes": [
            f"{len(images)} photographs, the class that the network names; mean and standard error",
            f"{time.monotonic() - began:.0f} s",
        ],
    }
    print(lines([columns, *rows]))
    result_files.keep(args.name, {args.net: part}, machine=described(), folder=args.results)


def main(argv: Sequence[str]) -> int:
    args = arguments(argv)
    return exit_status(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
