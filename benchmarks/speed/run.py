"""How fast filterscope is, beside other programs doing the same work in the same run, and beside what the machine can do.

usage: python benchmarks/speed.py [--only NAME,...] [--weights FILE] [--venvs DIR] [--repeats N] [--quick]
                                  [--threads N] [--clock wall|cpu] [--avx2] [--results DIR]

Every program runs in a process of its own, all of them in turn, several times over; a step's time is the median over the
steps of a run, and the table gives the median over the runs, ratios being taken run by run. The peers' virtual
environments are made at first use (benchmarks/peers.py). --weights names VGG16's real weights, at least up to
block3_conv1, for the jobs `blog` and `lucent`, which are left out without them. Each job's rows go into
benchmarks/results/speed.json, those of `package`, `modern`, `share` and `opening` into speed-networks.json, those of
`roofline` into speed-roofline.json (of a quick run speed-quick.json and so on), where those of other jobs stay;
`python -m benchmarks.page` makes the documents' tables from them. With --avx2 all programs compute as on a processor
without AVX-512, and the job's rows stand beside its others, as `deep, AVX2`. Prints the tables of all that is in them.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import result_files
from benchmarks.speed import report
from benchmarks.speed.bench import Bench
from benchmarks.speed.jobs import JOBS

# what torch's own code and oneDNN, TensorFlow's too, may use of the processor
NO_AVX512 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def main() -> None:
    """Run the jobs and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        "--jobs",
        dest="jobs",
        metavar="NAME,...",
        default=",".join(JOBS),
        help=f"of {', '.join(JOBS)}",
    )
    parser.add_argument("--weights", help="VGG16's real weights, at least up to block3_conv1")
    parser.add_argument("--venvs", help="folder of the peers' virtual environments")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of every program; 0 leaves it to each")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: the processor time of each program, for a machine that others use too; with --threads 1",
    )
    parser.add_argument(
        "--avx2", action="store_true", help="as on a processor without AVX-512, bfloat16 and AMX"
    )
    parser.add_argument("--quick", action="store_true", help="fewer filters, steps and repeats")
    parser.add_argument("--results", type=Path, default=result_files.FOLDER, help="where results are kept")
    options = parser.parse_args()
    if options.avx2 and not os.environ.items() >= NO_AVX512.items():  # read when the libraries are loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | NO_AVX512)
    unknown = [name for name in options.jobs.split(",") if name not in JOBS]
    if unknown:
        parser.error(f"unknown job {unknown[0]!r}; known are {', '.join(JOBS)}")
    jobs = [name for name in options.jobs.split(",") if options.weights or name not in ("blog", "lucent")]
    for name in options.jobs.split(","):
        if name not in jobs:
            print(f"{name} is left out: it needs --weights FILE", file=sys.stderr)
    paths: dict[Path, None] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        for name in jobs:
            print(f"{name}: {(JOBS[name].__doc__ or '').strip()}", file=sys.stderr, flush=True)
            path = report.keep(name, JOBS[name](bench), options)
            paths[path] = None
    for path in paths:
        print(report.table(path))
