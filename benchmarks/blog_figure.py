"""The blog's published figure of VGG16's block3_conv1 drawn again: match, time and peak memory.

usage: python benchmarks/blog_figure.py WEIGHTS FIGURE SEED_MATCH [OUT]

WEIGHTS     VGG16's real weights, at least up to block3_conv1
FIGURE      the published 4 x 4 figure
SEED_MATCH  the script that compares pictures with it, filter for filter

Runs `filterscope show` as a person would, in bfloat16 and in float32, 300 steps; then the memory of 16 filters against
that of all 256, with 2 steps.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FILTERS = "34,22,240,86,210,123,37,0,236,243,32,88,31,92,148,221"


def run(weights: str, units: str, out: Path, *options: str) -> tuple[float, float]:
    """Seconds and peak memory in MB of one `filterscope show`, measured in a process of its own."""
    command = [
        sys.executable, "-m", "filterscope", "show", "vgg16", f"block3_conv1:{units}", "--weights", weights,
        "--recipe", "blog", "--out", str(out), "--quiet", *options,
    ]  # fmt: skip
    code = f"""
import resource, subprocess, sys
subprocess.run({command!r}, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - began, int(done.stdout) * kilobyte / 1e6


def main(argv: Sequence[str]) -> None:
    """Print one line a run."""
    if len(argv) not in (3, 4):
        sys.exit(__doc__)
    weights, figure, seed_match = argv[:3]
    out = Path(argv[3] if len(argv) == 4 else "out/blog-figure")
    for precision in ("bfloat16", "float32"):
        folder = out / precision
        seconds, memory = run(weights, FILTERS, folder, "--steps", "300", "--precision", precision)
        pictures = [str(folder / f"block3_conv1-{int(f):04d}.png") for f in FILTERS.split(",")]
        said = subprocess.run(
            [sys.executable, seed_match, figure, FILTERS, *pictures], capture_output=True, text=True
        ).stdout.splitlines()[-1]
        print(f"{precision}: {said}; {seconds:.0f} s, {memory:.0f} MB", flush=True)
    _, few = run(weights, FILTERS, out / "few", "--steps", "2")
    _, all_of_them = run(weights, "*", out / "all", "--steps", "2")
    print(
        f"peak memory: 16 filters {few:.0f} MB, all 256 {all_of_them:.0f} MB ({all_of_them / few:.2f} times)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
