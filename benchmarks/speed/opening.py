"""The speed benchmark's job `opening`: `filterscope layers` from cold, of networks from every source."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.speed.bench import HOME, Bench
from benchmarks.speed.rows import Row

# a torchvision built for another torch imports once two operators are known
RUN = """import runpy, sys
sys.path.insert(0, "benchmarks/runners")
from torchvision_cpu import torchvision_operators
torchvision_operators()
sys.argv[0] = "filterscope"
runpy.run_module("filterscope", run_name="__main__")"""
SOURCES = {
    "tiny-vgg16": ["-m", "filterscope", "layers", "tiny-vgg16"],
    "a file of one's own (ResNet-20)": [
        "-m", "filterscope", "layers", "examples/cifar10_resnet20.py:resnet20", "--weights", "random",
    ],
    "timm (EfficientNet-Lite0)": ["-c", RUN, "layers", "timm:tf_efficientnet_lite0", "--weights", "random"],
    "torchvision (ResNet50)": ["-c", RUN, "layers", "torchvision:resnet50", "--weights", "random"],
    "Keras (MobileNetV2)": ["-m", "filterscope", "layers", "mobilenetv2", "--weights", "random"],
}  # fmt: skip
IMPORTS = {"torch": "torch", "timm": "timm", "torchvision": "torchvision", "Keras": "keras"}


def opening(bench: Bench) -> list[Row]:
    """`filterscope layers` of timm, torchvision, Keras, a file of one's own and tiny-vgg16, and the imports alone."""
    rows: list[Row] = []
    spent: dict[str, float] = {}
    for name, module in IMPORTS.items():
        code = RUN.replace('runpy.run_module("filterscope", run_name="__main__")', f"import {module}")
        code = code if module in ("timm", "torchvision") else f"import {module}"
        spans = [_spent(["-c", code], bench.options.clock) for _ in range(bench.repeats)]
        spent[name] = statistics.median(spans)
        rows.append({"what": f"import {module}", "value": spent[name], "unit": "s", "all": spans})
    for name, arguments in SOURCES.items():
        spans = [_spent(arguments, bench.options.clock) for _ in range(bench.repeats)]
        own = next((part for part in IMPORTS if name.partition(" (")[0] == part), "torch")
        note = f"of it {spent[own]:.2g} to import {IMPORTS[own]}" if spent[own] else ""
        what = f"filterscope layers, cold: {name}"
        rows.append(
            {"what": what, "value": statistics.median(spans), "unit": "s", "all": spans, "aim": "<= 4 s", "note": note}
        )  # fmt: skip
    return rows


def _spent(arguments: list[str], clock: str) -> float:
    """Seconds of a process, on the wall or of processor time."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (HOME / "src", HOME))),
        "KERAS_BACKEND": "torch",
    }
    began, used = time.perf_counter(), _children()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=Path(HOME), env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[-2:])} failed:\n{done.stderr[-2000:]}")
    return _children() - used if clock == "cpu" else time.perf_counter() - began


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
