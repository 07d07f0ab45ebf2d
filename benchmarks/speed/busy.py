"""The speed benchmark's job `busy`: one program alone, two at once, one beside a busy process of another kind.

Each program is the command line itself, from start to end. `spinning` sets what OpenMP's GNU library does by default, which
is what the command line did before it let waiting threads sleep soon.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORK = {
    "EfficientNet-Lite0": [str(HERE / "lite0.py:make"), "classifier:0-7", "--steps", "60"],
    "VGG (tiny-vgg16)": ["tiny-vgg16", "block5_conv3:0-7", "--size", "128", "--steps", "60"],
}
USUAL = ["--recipe", "sharp", "--quiet"]  # a recipe by name: what is drawn by default changes
SPINNING = {
    "GOMP_SPINCOUNT": "300000"
}  # libgomp's own where nothing is set and no processor is oversubscribed
Row = dict[str, Any]


def busy(bench: Any) -> list[Row]:
    """Two programs at once, and one beside a busy process, against one alone."""
    rows: list[Row] = []
    for name, arguments in WORK.items():
        seconds: dict[str, list[float]] = {
            "alone": [],
            "alone, spinning": [],
            "two": [],
            "two, spinning": [],
            "beside": [],
        }
        for _ in range(bench.repeats):
            seconds["alone"] += _at_once(arguments, 1)
            seconds["alone, spinning"] += _at_once(arguments, 1, **SPINNING)
            seconds["two"].append(max(_at_once(arguments, 2)))
            seconds["beside"] += _beside(arguments)
        seconds["two, spinning"].append(max(_at_once(arguments, 2, **SPINNING)))  # once: minutes
        found = {label: statistics.median(values) for label, values in seconds.items()}
        rows += [
            {"what": f"{name}: {label}", "value": found[label], "unit": "s", "all": values}
            for label, values in seconds.items()
        ]
        for label, to, aim in (
            ("alone", "alone, spinning", "<= 1.04"),
            ("two", "alone", "<= 2.25"),
            ("two, spinning", "alone, spinning", ""),
            ("beside", "alone", "<= 2.25"),
        ):
            rows.append(
                {
                    "what": f"{name}: {label} / {to}",
                    "value": found[label] / found[to],
                    "unit": "",
                    "aim": aim,
                    "all": [found[label] / found[to]],
                }
            )
    return rows


def _at_once(arguments: list[str], count: int, **environment: str) -> list[float]:
    """Seconds that each of `count` programs, begun together, takes."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        running = [_start(arguments, Path(folder) / str(i), environment) for i in range(count)]
        seconds: dict[int, float] = {}
        while len(seconds) < count:
            for i, program in enumerate(running):
                if i not in seconds and program.poll() is not None:
                    seconds[i] = time.perf_counter() - began
                    if program.returncode:
                        raise subprocess.CalledProcessError(program.returncode, program.args)
            time.sleep(0.02)
    return list(seconds.values())


def _beside(arguments: list[str]) -> list[float]:
    """Seconds beside a process that keeps one core busy."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        return _at_once(arguments, 1)
    finally:
        other.kill()
        other.wait()


def _start(arguments: list[str], out: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    usual = {
        k: v
        for k, v in os.environ.items()
        if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
    }
    usual["PYTHONPATH"] = str(HERE.parents[1] / "src")
    command = [sys.executable, "-m", "filterscope", "show", *arguments, *USUAL, "--out", str(out)]
    return subprocess.Popen(command, env=usual | environment)
