"""Whether other networks name the classes of EfficientNet-Lite0's pictures.

    python benchmarks/quality.py classes                                        # our recipes and lucent; about an hour
    python benchmarks/quality.py classes --programs default --judge-command "python judge.py"

Classes 5, 47, 89, ..., 971 (--first, --step). Judges are networks that open by name, each at its own size; --judge-command
is any program that is given the folder of pictures, whose names end in -CLASS.png, four digits, and prints a line with
"first N%", "five N%" and "median rank N". Writes benchmarks/results/classes.json, a part for each program.
"""

from __future__ import annotations

import argparse
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.imagenet import PROGRAMS, SUBJECTS, pictures
from benchmarks.quality.judge import Judge
from benchmarks.quality.legibility import common_arguments, keep_part
from benchmarks.quality.run import exit_status
from benchmarks.quality.store import Kept, Store

from filterscope.files import check_writable
from filterscope.measure.classify import class_layer
from filterscope.networks import Network, open_network
from filterscope.target import Target

NETWORK = "efficientnet-lite0"
JUDGES = ("efficientnet-lite1", "efficientnet-lite2")
USUAL = ("default", "sharp", "natural", "distill", "lucent")
SAID = {
    "judge_top1": r"\bfirst ([\d.]+) ?%",
    "judge_top5": r"\bfive ([\d.]+) ?%",
    "judge_rank": r"\bmedian rank ([\d.]+)",
}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = common_arguments(__doc__)
    add = parser.add_argument
    add("--programs", default=",".join(USUAL), help=f"by commas (default: {','.join(USUAL)})")
    add(
        "--judges",
        default=",".join(JUDGES),
        help=f"networks, by commas, or none (default: {','.join(JUDGES)})",
    )
    add("--judge-command", metavar="COMMAND", help="another judge: a command, which is given a folder")
    add("--first", type=int, default=5, help="the first class (default 5)")
    add("--step", type=int, default=42, help="from one class to the next (default 42)")
    add("--name", default="classes", help="of the result in benchmarks/results")
    args = parser.parse_args(argv)
    args.programs = args.programs.split(",")
    args.judges = [name for name in args.judges.split(",") if name and name != "none"]
    for program in args.programs:
        if program not in PROGRAMS:
            parser.error(f"--programs: {program!r} is not one of {', '.join(PROGRAMS)}")
    return args


def ranked(name: str, judge: Judge, found: Mapping[Target, Kept]) -> dict[str, Any]:
    """What a network says: the shares of classes that it names first and among five, and their median rank."""
    ranks = [judge.rank(kept.image, target.unit) for target, kept in found.items()]
    known = [rank for rank in ranks if rank is not None]
    return {
        "judge": name,
        "judge_top1": statistics.fmean(rank == 1 for rank in known),
        "judge_top5": statistics.fmean(rank <= 5 for rank in known),
        "judge_rank": statistics.median(known),
    }


def asked(command: str, folder: Path) -> dict[str, Any]:
    """What an outside judge says of a folder; SystemExit where that is not understood."""
    words = [*shlex.split(command), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = {key: re.search(pattern, done.stdout) for key, pattern in SAID.items()}
    if done.returncode or not all(found.values()):
        raise SystemExit(f"{command} did not answer as a judge: {(done.stdout + done.stderr).strip()[-500:]}")
    numbers = {key: float(match[1]) for key, match in found.items() if match}
    said = {"judge_top1": numbers["judge_top1"] / 100, "judge_top5": numbers["judge_top5"] / 100}
    return {"judge": Path(shlex.split(command)[-1]).name, **said, "judge_rank": numbers["judge_rank"]}


def table_rows(
    program: str, found: Mapping[Target, Kept], said: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row for each judge."""
    seconds = statistics.fmean(kept.seconds for kept in found.values())
    return [
        {
            "row": [program, one["judge"]], "pictures": len(found),
            **{key: one[key] for key in SAID}, "seconds": seconds,
        }
        for one in said
    ]  # fmt: skip


def opened_judges(names: Sequence[str], net: Network) -> dict[str, Judge]:
    return {name: Judge.of(open_network(name), net) for name in names}


def run(args: argparse.Namespace) -> None:
    store, net = Store(check_writable(args.out)), SUBJECTS[NETWORK].open(None)
    layer = class_layer(net)
    targets = [Target(layer, unit) for unit in range(args.first, net.layer(layer).units, args.step)]
    judges = opened_judges(args.judges, net)
    for program in args.programs:
        print(program, file=sys.stderr, flush=True)
        found = pictures(NETWORK, net, program, targets, store, args)
        said = [ranked(name, judge, found) for name, judge in judges.items()]
        if args.judge_command:
            said.append(asked(args.judge_command, _own_folder(found, store, program, args.out)))
        rows = table_rows(program, found, said)
        part = {
            "names": ["program", "judge"],
            "rows": rows,
            "notes": [f"classes {args.first}, {args.first + args.step}, ..."],
        }
        keep_part(program, part, program, args)


def _own_folder(found: Mapping[Target, Kept], store: Store, program: str, out: Path) -> Path:
    """A folder of these pictures and no others, as links."""
    folder = out / "asked" / program
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for target in found:
        place = store.place(NETWORK, program, target.layer, target.unit)
        (folder / place.name).symlink_to(place.resolve())
    return folder


def main(argv: Sequence[str]) -> int:
    args = arguments(argv)
    return exit_status(lambda: run(args))
