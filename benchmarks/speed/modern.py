"""The speed benchmark's jobs on networks that are not plain convolutions in a row: `package`, `modern`, `share`."""

from __future__ import annotations

from typing import Any

from benchmarks import peers
from benchmarks.speed.bench import Bench
from benchmarks.speed.rows import Row, plain, ratio, seconds

LITE0 = "timm:tf_efficientnet_lite0"
VIT = "timm:vit_small_patch14_dinov2"
LAYERS = {  # what is drawn: classes, or a layer of the last block
    LITE0: "classifier", "resnet50": "fc", "convnext_tiny": "classifier.2", VIT: "blocks.11.mlp.fc2",
}  # fmt: skip
SHARES = {None: ("block5_conv3", 85), "resnet50": ("fc", 70), VIT: (LAYERS[VIT], 70)}


def package(bench: Bench) -> list[Row]:
    """EfficientNet-Lite0 by its own package's class, whose convolutions call F.conv2d themselves, and by timm's."""
    lying = str(peers.package("efficientnet-lite", bench.options.venvs))
    rows: list[Row] = []
    for precision in bench.kinds:
        plan = _plan(bench, LITE0, precision)
        own = {**plan, "model": "package:efficientnet-lite0", "layer": "_fc", "packages": lying}
        steps = bench.in_turn({"its own package": ("ours", own), "timm": ("ours", plan)})
        what = f"EfficientNet-Lite0, {precision}"
        rows += [seconds(f"{what}: a step of one picture", who, s) for who, s in steps.items()]
        rows.append(
            ratio(f"{what}: its own package / timm", steps["its own package"], steps["timm"], "<= 1.15")
        )
    return rows


def modern(bench: Bench) -> list[Row]:
    """lucent and ours in float32 on EfficientNet-Lite0, ResNet50, ConvNeXt-Tiny and DINOv2's ViT-S/14."""
    rows: list[Row] = []
    for model in LAYERS:
        plan = _plan(bench, model, "float32")
        try:
            steps = bench.in_turn({"lucent": ("lucent", {**plan, "units": [0]}), "ours": ("ours", plan)})
        except RuntimeError as error:
            note = str(error).splitlines()[-1]
            rows.append({"what": f"{_name(model)}: lucent / ours", "value": None, "unit": "", "note": note})
            continue
        what = f"{_name(model)}, float32: a step of one picture"
        rows += [seconds(what, who, s) for who, s in steps.items()]
        rows.append(ratio(f"{_name(model)}: lucent / ours in float32", steps["lucent"], steps["ours"], 4))
    return rows


def share(bench: Bench) -> list[Row]:
    """VGG16, ResNet50 and ViT-S in float32: arithmetic a second over the measured rate of matrix products."""
    found: dict[str | None, list[tuple[dict[str, Any], float]]] = {}
    for _ in range(bench.repeats):
        limit = bench.limits()["matrix_float32"]
        for model, (layer, _) in SHARES.items():
            answer = bench.run("ours", _plan(bench, model, "float32", layer))
            found.setdefault(model, []).append((answer, limit))
    rows: list[Row] = [plain("matrix rate, float32", [limit for _, limit in found[None]], "")]
    rows[0]["unit"] = "TFLOP/s"
    for model, runs in found.items():
        for part, name in (("step", "a whole step"), ("network", "the network alone")):
            shares = [answer["gflop"] / answer[part] / 1e3 / limit for answer, limit in runs]
            aim = f">= {SHARES[model][1] / 100:g}" if part == "network" else ""
            rows.append(plain(f"{_name(model)}, float32: share of the matrix rate, {name}", shares, aim))
    return rows


def _plan(bench: Bench, model: str | None, precision: str, layer: str | None = None) -> dict[str, Any]:
    steps = 2 if bench.options.quick else 5
    return bench.plan(
        layer or LAYERS[str(model)], range(4), model=model, recipe="sharp", precision=precision, steps=steps, warm=1
    )  # fmt: skip


def _name(model: str | None) -> str:
    return "vgg16" if model is None else model.rpartition(":")[2]
