"""The speed benchmark's jobs: each runs programs on the same work and gives rows of the table."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.bench import Bench
from benchmarks.speed.busy import busy
from benchmarks.speed.modern import modern, package, share
from benchmarks.speed.opening import opening
from benchmarks.speed.roofline import roofline
from benchmarks.speed.rows import Row
from benchmarks.speed.rows import plain as _plain
from benchmarks.speed.rows import ratio as _ratio
from benchmarks.speed.rows import seconds as _seconds

BLOG = (
    34,
    22,
    240,
    86,
    210,
    123,
    37,
    0,
    236,
    243,
    32,
    88,
    31,
    92,
    148,
    221,
)  # the blog's filters of block3_conv1
MODELS = {  # torchvision's name: the layer of classes
    "resnet50": "fc", "efficientnet_b0": "classifier.1", "convnext_tiny": "classifier.2", "vit_b_16": "heads.head",
}  # fmt: skip


def deep(bench: Bench) -> list[Row]:
    """VGG16, random weights, filters of block5_conv3: all programs, and the share of the matrix rate."""
    few, many = range(4), range(4 if bench.options.quick else 16)
    rates: list[dict[str, float]] = []
    answers: dict[str, list[dict[str, Any]]] = {}
    runs = {
        "blog on TensorFlow": ("tensorflow", bench.plan("block5_conv3", few[:2])),
        "tf-keras-vis": ("tf-keras-vis", bench.plan("block5_conv3", few)),
        "lucent, with its padding": ("lucent", bench.plan("block5_conv3", few[:1])),
    }
    units = {"float32": many[:4], "bfloat16": many}
    for kind in bench.kinds:
        runs[f"ours, {kind}"] = ("ours", bench.plan("block5_conv3", units[kind], precision=kind))
    for _ in range(bench.repeats):
        rates.append(bench.limits())
        for label, (program, plan) in runs.items():
            answers.setdefault(label, []).append(bench.run(program, plan))
    steps = {label: [a["step"] for a in found] for label, found in answers.items()}
    rows = [_seconds("block5_conv3, 224 px: a step of one picture", label, s) for label, s in steps.items()]
    aims = {
        ("blog on TensorFlow", "bfloat16"): 6,
        ("tf-keras-vis", "bfloat16"): 8,
        ("lucent, with its padding", "bfloat16"): 8,
        ("blog on TensorFlow", "float32"): 1.5,
    }
    rows += [
        _ratio(f"block5_conv3: {label} / ours in {kind}", steps[label], steps[f"ours, {kind}"], aim)
        for (label, kind), aim in aims.items()
        if kind in bench.kinds
    ]
    for kind in bench.kinds:
        limit = [r[f"matrix_{kind}"] for r in rates]
        rows.append(
            {
                "what": f"matrix rate, {kind}",
                "value": statistics.median(limit),
                "unit": "TFLOP/s",
                "all": limit,
            }
        )
        for part, name in (("step", "a whole step"), ("network", "the network alone")):
            shares = [
                a["gflop"] / a[part] / 1e3 / r for a, r in zip(answers[f"ours, {kind}"], limit, strict=True)
            ]
            least = ">= 0.8" if kind == "bfloat16" else ""
            rows.append(_plain(f"block5_conv3, {kind}: share of the matrix rate, {name}", shares, least))
    copies = [r["copy"] for r in rates]
    return [
        *rows,
        {
            "what": "copy rate, read and written",
            "value": statistics.median(copies),
            "unit": "GB/s",
            "all": copies,
        },
    ]


def own(bench: Bench) -> list[Row]:
    """One filter of block1_conv2 against all channels of that layer computed."""
    plan = bench.plan("block1_conv2", range(4), steps=10 if bench.options.quick else 30, recipe="linear")
    runs = {"own": ("ours", plan), "all": ("ours", {**plan, "narrow": False})}
    rows = []
    for key, name in (("network", "the network alone"), ("step", "a whole step")):
        found = bench.in_turn(runs, key)
        rows.append(
            _ratio(
                f"block1_conv2: own channel / all channels computed, {name}",
                found["own"],
                found["all"],
                "<= 0.2",
            )
        )
    return rows


def many(bench: Bench) -> list[Row]:
    """All 512 filters of block5_conv3 against 16 of them: seconds a picture and peak memory; each drawn once, so that
    random weights' sleeping filters, which would be begun anew, do not decide."""
    steps = 2 if bench.options.quick else 12
    plan = bench.plan("block5_conv3", range(16), what="memory", steps=steps, attempt=0)
    whole = {**plan, "units": list(range(64 if bench.options.quick else 512))}
    few, all_of_them = bench.run("ours", plan), bench.run("ours", whole)  # once: minutes
    count = len(whole["units"])
    return [
        _plain(
            f"{count} filters / 16, {steps} steps: seconds a picture",
            [all_of_them["whole"] / few["whole"]],
            "0.95 to 1.05",
        ),
        _plain(f"{count} filters / 16: peak memory", [all_of_them["peak"] / few["peak"]], "<= 1.2"),
        {
            "what": f"peak memory, {count} filters",
            "value": all_of_them["peak"],
            "unit": "MB",
            "all": [all_of_them["peak"]],
        },
    ]


def blog(bench: Bench) -> list[Row]:
    """Real VGG16, block3_conv1: the blog's 1,000 steps on TensorFlow against our default recipe reaching as much."""
    units = BLOG[:4] if bench.options.quick else BLOG
    plan = _real(bench, units)
    wanted = bench.run("ours", {**plan, "what": "excitation", "steps": 1000})["activations"]
    theirs = bench.in_turn({"tensorflow": ("tensorflow", {**plan, "units": units[:2]})})["tensorflow"]
    whole = [step * 1000 * len(units) for step in theirs]
    rows, seconds = _reached(bench, plan, wanted, "the blog's at 1,000 steps")
    rows.append(
        _seconds(
            f"block3_conv1: 1,000 steps of {len(units)} pictures, from the time of a step",
            "blog on TensorFlow",
            whole,
        )
    )
    if seconds:
        what = "block3_conv1: blog on TensorFlow, 1,000 steps at 224 px / ours at 128 px as exciting"
        rows.append(_ratio(what, whole, seconds, 100))
    return rows


def lucent(bench: Bench) -> list[Row]:
    """Real VGG16, block3_conv1: lucent's default to its end against ours reaching what lucent ends with."""
    units = BLOG[:1] if bench.options.quick else BLOG[:4]
    images = str(bench.folder / "lucent.npy")
    plan = _real(bench, units)
    theirs = bench.run("lucent", {**plan, "finish": images})
    wanted = bench.run("ours", {**plan, "what": "measure", "images": images, "fed": 224})["activations"]
    rows, seconds = _reached(bench, plan, wanted, "lucent's at its end")
    whole = sum(theirs["whole"])  # minutes: run once
    rows.append(_seconds(f"block3_conv1: lucent's default, {len(units)} pictures", "lucent", [whole]))
    if seconds:
        what = "block3_conv1: lucent to its end (one run) / ours as exciting"
        rows.append(_ratio(what, [whole], [statistics.median(seconds)], 40))
    return rows


def _real(bench: Bench, units: Sequence[int]) -> dict[str, Any]:
    tries = [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 256, 512]
    return bench.plan("block3_conv1", units, weights=str(Path(bench.options.weights).resolve()), tries=tries)


def _reached(
    bench: Bench, plan: dict[str, Any], wanted: Sequence[float], whose: str
) -> tuple[list[Row], list[float]]:
    """How many steps of our default recipe it takes until every picture is as exciting, and the seconds of that, which
    are none where not every picture gets there."""
    found = [
        bench.run("ours", {**plan, "what": "reach", "wanted": wanted})["tried"][-1]
        for _ in range(bench.repeats)
    ]
    what = f"block3_conv1: our default recipe until {found[0]['reached']} of {found[0]['of']} pictures reach {whose}"
    seconds = [f["seconds"] for f in found]
    all_there = all(f["reached"] == f["of"] for f in found)
    steps = {
        "what": f"{what}: steps",
        "value": found[0]["steps"],
        "unit": "steps",
        "all": [f["steps"] for f in found],
    }
    return [steps, _seconds(what, "ours", seconds)], seconds if all_there else []


def networks(bench: Bench) -> list[Row]:
    """ResNet50, EfficientNetB0, ConvNeXt-Tiny, ViT-B/16 with random weights: lucent on the same torch model."""
    rows = []
    for model, layer in MODELS.items():
        plan = bench.plan(layer, range(4), model=model, recipe="sharp")
        try:
            steps = bench.in_turn({"lucent": ("lucent", {**plan, "units": [0]}), "ours": ("ours", plan)})
        except RuntimeError as error:
            rows.append(
                {
                    "what": f"{model}: lucent / ours",
                    "value": None,
                    "unit": "",
                    "note": str(error).splitlines()[-1],
                }
            )
            continue
        rows += [
            _seconds(f"{model}, {layer}, 224 px: a step of one picture", who, s) for who, s in steps.items()
        ]
        rows.append(_ratio(f"{model}: lucent / ours in bfloat16", steps["lucent"], steps["ours"], 3))
    return rows


def precision(bench: Bench) -> list[Row]:
    """bfloat16 against float32 pictures of the same units: mean activation."""
    count = 16 if bench.options.quick else 128
    base = {"weights": None, "net": "tiny-vgg16", "what": "excitation", "recipe": "sharp"}
    cases = {
        "tiny-vgg16, block3_conv1": bench.plan("block3_conv1", range(count), **base, size=None, steps=None)
    }
    if bench.options.weights:
        real = {
            **base,
            "net": None,
            "weights": str(Path(bench.options.weights).resolve()),
            "size": None,
            "steps": None,
        }
        cases["vgg16, block3_conv1"] = bench.plan("block3_conv1", range(count), **real)
    rows = []
    for name, plan in cases.items():
        half, single = (
            bench.run("ours", {**plan, "precision": p})["activations"] for p in ("bfloat16", "float32")
        )
        quotients = [a / b for a, b in zip(half, single, strict=True) if b > 0]
        what = f"{name}: activation in bfloat16 / float32, mean of {len(quotients)} units"
        rows.append(_plain(what, [statistics.mean(quotients)], "0.98 to 1.02"))
    return rows


def start(bench: Bench) -> list[Row]:
    """`import filterscope`, `filterscope --help`, and the first sheet from cold."""
    sheet = [
        "-m",
        "filterscope",
        "show",
        "tiny-vgg16",
        "block3_conv1",
        "--quiet",
        "--out",
        str(bench.folder / "sheet"),
    ]
    cases = {
        "import filterscope": (["-c", "import filterscope"], 0.1),
        "filterscope --help": (["-m", "filterscope", "--help"], 0.3),
        "first sheet of tiny-vgg16 from cold": (sheet, 10),
    }  # fmt: skip
    spans: dict[str, list[float]] = {"nothing": []}
    for _ in range(1 if bench.options.quick else 5):
        spans["nothing"].append(_process(["-c", "pass"]))
        for name, (arguments, _) in cases.items():
            spans.setdefault(name, []).append(_process(arguments))
    rows = [
        {
            "what": "python -c pass",
            "value": statistics.median(spans["nothing"]),
            "unit": "s",
            "all": spans["nothing"],
        }
    ]
    for name, (_, aim) in cases.items():
        rows.append({**_seconds(name, "", spans[name]), "what": name, "aim": f"< {aim} s"})
    return rows


def _process(arguments: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


JOBS: dict[str, Callable[[Bench], list[Row]]] = {
    job.__name__: job
    for job in (
        deep,
        own,
        many,
        blog,
        lucent,
        networks,
        precision,
        start,
        busy,
        package,
        modern,
        share,
        opening,
        roofline,
    )
}
