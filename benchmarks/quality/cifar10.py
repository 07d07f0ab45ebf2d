"""Whether classifiers of ImageNet recognise what a ResNet-20 for CIFAR-10 has learned its ten classes to be.

    python benchmarks/quality.py cifar10                            # ten classes, three seeds; a few minutes
    python benchmarks/quality.py cifar10 --presets default,sharp --seeds 1 --name cifar10-trial

No second network for CIFAR-10 opens by name, so each of its classes stands for a group of ImageNet's classes. A judge names
the group whose classes have the highest mean probability, so that many classes do not make a group likelier (118 are dogs).
`photographs`: up to six photographs of each group, made 32 px small, named in the same way: what such a judge can do.

Writes benchmarks/results/cifar10.json, a part for each preset.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks import result_files
from benchmarks.quality.legibility import keep_part
from benchmarks.quality.run import BESIDE, IMAGES, exit_status
from PIL import Image

import filterscope
from filterscope.measure.judge import Judge
from filterscope.networks import Network, open_network
from filterscope.pictures.reading import list_images

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 1000  # of ImageNet
SIDE, SHOWN = 32, 224  # pixels: of CIFAR-10's pictures, and as judges are shown them
GROUPS: Mapping[str, Sequence[int]] = {  # of ImageNet's thousand classes, in the order of CIFAR-10's ten
    "airplane": [404, 895],  # airliner, warplane
    "automobile": [436, 468, 511, 627, 656, 661, 751, 817],  # wagon, cab, convertible, ... sports car
    "bird": [*range(7, 25), *range(80, 101), *range(127, 147)],
    "cat": [*range(281, 286)],
    "deer": [*range(348, 354)],  # horned animals: ram, bighorn, ibex, hartebeest, impala, gazelle
    "dog": [*range(151, 269)],
    "frog": [30, 31, 32],
    "horse": [339, 340],  # sorrel, zebra
    "ship": [403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 871, 914],
    "truck": [555, 569, 675, 717, 734, 864, 867],  # fire engine, garbage truck, ... trailer truck
}
PHOTOGRAPHS = 6  # of each group, fewer where it has fewer classes: there is one of each class


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--precision", default="auto")
    add("--seed", type=int, default=0, help="the first seed")
    add("--results", type=Path, default=result_files.FOLDER, metavar="DIR", help="where results are kept")
    add("--weights", type=Path, default=BESIDE / "models" / "cifar10-resnet20.th", metavar="FILE")
    add(
        "--images",
        type=Path,
        default=IMAGES,
        metavar="DIR",
        help="a photograph of each ImageNet class, in order",
    )
    add("--judges", default="efficientnet-lite1,efficientnet-lite2", help="networks, by commas")
    add("--presets", default="default,sharp", help="by commas (default: default,sharp)")
    add("--seeds", type=int, default=3, help="pictures of each class (default 3)")
    add("--name", default="cifar10", help="of the result in benchmarks/results")
    args = parser.parse_args(argv)
    for place in (args.weights, args.images):
        if not place.exists():
            parser.error(f"there is no {str(place)!r}")
    return args


def named(judge: Judge, image: Image.Image) -> str:
    """The group whose classes are the most probable to a judge, each by its mean."""
    taps = judge.look([image.convert("RGB").resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)])
    assert taps.softmax is not None  # of a class layer
    means = [taps.softmax[0, list(classes)].mean() for classes in GROUPS.values()]
    return [*GROUPS][int(torch.stack(means).argmax())]


def photographs(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Photographs of each group at CIFAR-10's size."""
    files, chance = list_images(folder), random.Random(0)
    if len(files) != CLASSES:
        raise SystemExit(
            f"{folder} holds {len(files)} pictures, and is to hold one of each of ImageNet's {CLASSES} classes"
        )
    for name, classes in GROUPS.items():
        for one in chance.sample(list(classes), min(PHOTOGRAPHS, len(classes))):
            yield name, Image.open(files[one]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def drawn(net: Network, preset: str, args: argparse.Namespace) -> tuple[list[tuple[str, Image.Image]], float]:
    """The ten classes' pictures from each seed, and the mean of their seconds."""
    recipe = "auto" if preset == "default" else preset
    pictures = [
        picture
        for seed in range(args.seed, args.seed + args.seeds)
        for picture in filterscope.visualize_sheet(
            net, "linear:*", seed=seed, recipe=recipe, precision=args.precision
        )
    ]
    seconds = statistics.fmean(picture.seconds for picture in pictures)
    return [(str(picture.class_name), picture.to_pil()) for picture in pictures], seconds


def rows(
    program: str,
    pictures: Sequence[tuple[str, Image.Image]],
    judges: Mapping[str, Judge],
    seconds: float | None,
) -> list[dict[str, Any]]:
    """A row for each judge: the share that it names rightly."""
    return [
        {
            "row": [program, name], "pictures": len(pictures), "seconds": seconds,
            "judge_top1": statistics.fmean(named(judge, image) == own for own, image in pictures),
        }
        for name, judge in judges.items()
    ]  # fmt: skip


def run(args: argparse.Namespace) -> None:
    net = open_network(f"{ROOT / 'examples' / 'cifar10_resnet20.py'}:resnet20", weights=args.weights)
    judges = {name: Judge(open_network(name)) for name in args.judges.split(",")}
    parts = {"photographs": rows("photographs", list(photographs(args.images)), judges, None)}
    for preset in args.presets.split(","):
        print(preset, file=sys.stderr, flush=True)
        pictures, seconds = drawn(net, preset, args)
        parts[preset] = rows(preset, pictures, judges, seconds)
    for name, found in parts.items():
        keep_part(name, {"names": ["program", "judge"], "rows": found}, name, args)


def main(argv: Sequence[str]) -> int:
    args = arguments(argv)
    return exit_status(lambda: run(args))
