"""How good the pictures are: every preset and the peer programs on the same units of the same networks, measured alike.

    python benchmarks/quality.py                # about an hour and more; goes on where it was stopped
    python benchmarks/quality.py --quick        # ten minutes on a sample of units
    python benchmarks/quality.py --presets sharp,natural --peers none --units 8 --whole sharp

Of the real VGG16 (weights of its first three blocks and a folder of photographs are needed) seven layers, of tiny-vgg16
all. Writes into --out: quality.md and quality.json (the tables), sheet.png (all programs side by side), pictures/; and,
when it has finished, benchmarks/results/NAME.json, from which `python -m benchmarks.page` makes the documents' tables.

Every picture is measured by the same code from its 8-bit file, through the network's own preprocessing. Success: the
unit's activation is at least that of the best natural image, as a share of the live units; top unit: it is the layer's
most excited; spectrum distance: see spectrum.py. lucent enlarges its 128 px pictures to 224 px before its
network sees them: they are measured at both sizes, and the better one counts. Peers run with their default settings
in environments of their own, which the first run makes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import result_files
from benchmarks.quality import peers
from benchmarks.quality.jobs import open_job, sample, side_by_side, texts
from benchmarks.quality.judge import Judge
from benchmarks.quality.report import Result, keep, write_report
from benchmarks.quality.scores import Score, Scorer
from benchmarks.quality.store import Kept, Store, digest

from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import FilterscopeError
from filterscope.files import check_writable
from filterscope.networks import open_network
from filterscope.progress import progress_bar
from filterscope.recipe import PRESETS

BESIDE = Path(os.environ.get("FILTERSCOPE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
WEIGHTS = BESIDE / "models" / "vgg16-imagenet-blocks1-3.safetensors"
IMAGES = BESIDE / "data" / "imagenet-sample"
NETWORKS = ["vgg16", "tiny-vgg16"]
QUICK_SIDE = 2  # of the side-by-side units of each network, in a quick run
FEW = 3  # of them for presets that take minutes a picture


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="ten minutes: few units")
    add("--out", type=Path, default=Path("out/quality"), metavar="DIR")
    add("--vgg16-weights", type=Path, default=WEIGHTS if WEIGHTS.is_file() else None, metavar="FILE")
    add("--images", type=Path, default=IMAGES if IMAGES.is_dir() else None, metavar="DIR", help="photographs")
    add("--networks", default=",".join(NETWORKS))
    add("--layers", help="only these, by commas (default: all)")
    add("--presets", default=",".join(PRESETS), help="by commas (default: all)")
    add(
        "--whole",
        help="presets drawn on every unit, by commas (default: sharp and natural; of a quick run none)",
    )
    add(
        "--few",
        default="maco",
        help=f"presets that take minutes a picture: drawn on {FEW} units a network, not in a quick run (default: maco)",
    )
    add("--peers", default="lucent,tf-keras-vis", help="by commas, or none")
    add("--units", type=int, help="units a layer that the other presets draw (default 3; of a quick run 1)")
    add(
        "--side",
        type=int,
        help="side-by-side units a network, which the peers draw too (default 8; quick: 2)",
    )
    add("--judge", metavar="NET", help="another network, asked what it sees in class pictures")
    add("--judge-weights", type=Path, metavar="FILE")
    add("--precision", default="auto")
    add("--seed", type=int, default=0)
    add(
        "--name",
        help="of the result in benchmarks/results (default: quality; of a quick run quality-quick; of a run that leaves "
        "networks, layers, presets or peers out quality-part)",
    )
    add("--results", type=Path, default=result_files.FOLDER, metavar="DIR", help="where results are kept")
    add("--fresh", action="store_true", help="draw anew what is there from an earlier run")
    add("--venvs", type=Path, metavar="DIR", help="where the peers' environments lie")
    args = parser.parse_args(argv)
    for name in ("networks", "layers", "presets", "peers", "few", "whole"):
        text = getattr(args, name)
        setattr(args, name, None if text is None else [t for t in text.split(",") if t and t != "none"])
    _check(parser, args)
    args.name = args.name or _name(args)
    if args.whole is None:
        args.whole = [] if args.quick else [n for n in ("sharp", "natural") if n in args.presets]
    if args.quick:
        args.presets = [n for n in args.presets if n not in args.few]
    args.units = args.units or (1 if args.quick else 3)
    args.side = args.side or (QUICK_SIDE if args.quick else 8)
    return args


def _name(args: argparse.Namespace) -> str:
    """Of the result: only a run of everything takes the place of the figures that the documents show."""
    every = {
        "networks": NETWORKS,
        "layers": None,
        "presets": list(PRESETS),
        "peers": list(peers.RUNNERS),
    }
    whole = all(getattr(args, name) == value for name, value in every.items())
    return "quality-quick" if args.quick else "quality" if whole else "quality-part"


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    known = {
        "presets": list(PRESETS),
        "few": ["maco", *PRESETS],
        "whole": list(PRESETS),
        "peers": list(peers.RUNNERS),
        "networks": NETWORKS,
    }
    for name, allowed in known.items():
        for value in getattr(args, name) or []:
            if value not in allowed:
                parser.error(f"--{name}: {value!r} is not one of {', '.join(allowed)}")
    if "vgg16" in args.networks and (args.vgg16_weights is None or args.images is None):
        print("vgg16 is left out: it needs --vgg16-weights FILE and --images DIR", file=sys.stderr)
        args.networks = [n for n in args.networks if n != "vgg16"]
    for path in (args.vgg16_weights, args.images):
        if path is not None and not path.exists():
            parser.error(f"there is no {str(path)!r}")


def preset_units(scorer: Scorer, preset: str, args: argparse.Namespace) -> dict[str, list[int]]:
    """Which units of the network a preset draws, by layer."""
    side = side_by_side(scorer, args.side)
    if preset in args.whole:
        return sample(scorer, None)
    if preset in args.few:
        return side_by_side(scorer, min(FEW, args.side))
    return sample(scorer, args.units, first=side)


def draw_preset(scorer: Scorer, preset: str, store: Store, args: argparse.Namespace) -> list[Score]:
    """Draw what is missing, score all."""
    net, recipe = scorer.network, PRESETS[preset]
    mark = digest(recipe.model_dump(mode="json"), net.weights.sha256, args.seed, args.precision)
    units = preset_units(scorer, preset, args)
    missing = {
        layer: [u for u in some if args.fresh or store.read(net.name, preset, layer, u, mark) is None]
        for layer, some in units.items()
    }
    with progress_bar() as on_step:
        for text in texts(missing):
            for picture in draw(
                net,
                net.targets(text),
                recipe,
                run=Run(seed=args.seed, precision=args.precision),
                on_step=on_step,
            ):
                store.write(preset, picture, mark)
    return score_all(scorer, preset, mark, units, store)


def score_all(
    scorer: Scorer, program: str, mark: str, units: dict[str, list[int]], store: Store
) -> list[Score]:
    """The scores of the program's pictures that are there."""
    measured_by = digest(
        program, scorer.network.weights.sha256, {n: best.tolist() for n, best in scorer.best.items()}
    )
    fed, found = peers.FED.get(program), []
    for layer, unit in ((layer, unit) for layer, some in units.items() for unit in some):
        kept = store.read(scorer.network.name, program, layer, unit, mark)
        if kept is not None:

            def measure(kept: Kept = kept, layer: str = layer, unit: int = unit) -> Score:
                return scorer.score(layer, unit, kept.image, kept.seconds, fed=fed)

            found.append(store.score(kept, measured_by, measure))
    store.save()
    return found


def draw_peer(
    scorer: Scorer, peer: str, store: Store, args: argparse.Namespace
) -> tuple[list[Score], str | None]:
    """A peer's pictures of the side-by-side units, scored; and why it did not run, if it did not."""
    units = side_by_side(scorer, args.side)
    flat = [(layer, unit) for layer, some in units.items() for unit in some]
    complaint = peers.draw(peer, scorer.network, flat, store, seed=args.seed, venvs=args.venvs)
    mark = peers.label(peer, scorer.network, args.seed)
    return score_all(scorer, peer, mark, units, store), complaint


def judged(scores: Sequence[Score], judge: Judge, store: Store, scorer: Scorer, program: str) -> list[Score]:
    """The same scores with the judge's rank of the class, where the unit is one."""
    found = []
    for score in scores:
        if scorer.is_class(score.layer):
            image = store.image(scorer.network.name, program, score.layer, score.unit)
            score = replace(score, judge=judge.rank(image, score.unit))
        found.append(score)
    return found


def run(args: argparse.Namespace) -> None:
    store = Store(check_writable(args.out))
    other = open_network(args.judge, weights=args.judge_weights) if args.judge else None
    found: list[Result] = []
    notes: list[str] = []
    for name in args.networks:
        scorer = open_job(name, vgg16_weights=args.vgg16_weights, images=args.images)
        if args.layers:
            scorer = replace(scorer, best={n: best for n, best in scorer.best.items() if n in args.layers})
        if not scorer.best:
            print(f"{name} is left out: it has none of the layers {', '.join(args.layers)}", file=sys.stderr)
            continue
        classes = [layer for layer in scorer.best if scorer.is_class(layer)]
        judge = Judge.of(other, scorer.network) if other is not None and classes else None
        for program in [*args.presets, *args.peers]:
            print(f"{name}: {program}", file=sys.stderr, flush=True)
            if program in PRESETS:
                scores = draw_preset(scorer, program, store, args)
            else:
                scores, complaint = draw_peer(scorer, program, store, args)
                notes += [complaint] if complaint else []
            if judge is not None:
                scores = judged(scores, judge, store, scorer, program)
            found.append(
                Result(scorer, program, scores, program in args.whole, side_by_side(scorer, args.side))
            )
            write_report(found, store, args, notes)  # after each part, so that a stopped run leaves a table
    print((args.out / "quality.md").read_text())
    if notes:
        print("not kept in benchmarks/results, since a program is missing", file=sys.stderr)
    elif found:
        versions = dict(peers.version(peer) for peer in args.peers)
        print(f"kept in {keep(found, args, versions)}", file=sys.stderr)


def exit_status(work: Callable[[], None]) -> int:
    """Do the work of a command that keeps what is finished; its exit status."""
    try:
        work()
    except FilterscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1
    return 0


def main(argv: Sequence[str]) -> int:
    args = arguments(argv)
    return exit_status(lambda: run(args))
