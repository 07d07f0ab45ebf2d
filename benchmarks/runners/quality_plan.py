"""What a peer's own interpreter needs to know to draw: one JSON file for both runners. Free of filterscope.

{"weights": safetensors file, Keras layout; "layers": [[name, kind, trained], ...] in order; "size": the network's own;
"low", "high", "mean", "std", "bgr": how pixel values become its input; "units": [[layer, unit, PNG file], ...];
"check": {layer: its units' mean activations for `check_picture`, before the softmax, as filterscope measures them};
or, in place of "weights" and "layers", "programs": {layer: file of torch.export, from input to the layer's output};
"seed": of the random numbers; "label": what is written into each PNG}
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from safetensors.numpy import load_file

CHUNK = "benchmark"


def read():
    """The plan, and its weights as float32 arrays of the layers that have any."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    if "programs" in plan:
        return plan, {}
    tensors = {name: array.astype(np.float32) for name, array in load_file(plan["weights"]).items()}
    # layers behind the last one with weights are left off: their values could only be random
    last = max(i for i, (_, _, trained) in enumerate(plan["layers"]) if trained)
    return {**plan, "layers": plan["layers"][: last + 1]}, tensors


def check_picture(size):
    """The same random picture for everybody, uint8 (size, size, 3)."""
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def check(plan, activations):
    """Stop unless `activations(picture, layer)`, (units,) means over space, are those of filterscope's network."""
    for layer, expected in plan["check"].items():
        found = np.asarray(activations(check_picture(plan["size"]), layer), dtype=np.float64)
        worst = np.abs(found - expected).max() / np.abs(expected).max()
        if not worst < 1e-3:
            raise SystemExit(f"{layer}: this is not the same network; its activations differ by {worst:.2g}")


def draw_all(plan, draw):
    """draw(layer, unit) gives pixel values (H, W, 3) in 0 to 255; each picture is kept as soon as it is finished."""
    for layer, unit, file in plan["units"]:
        began = time.perf_counter()
        values = draw(layer, unit)
        seconds = time.perf_counter() - began
        image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
        save(image, Path(file), {"label": plan["label"], "seconds": seconds})
        print(f"{layer}:{unit} in {seconds:.1f} s", file=sys.stderr, flush=True)


def save(image, place, told):
    """A PNG, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    spare = place.with_name(f".{place.name}.part")
    info = PngImagePlugin.PngInfo()
    info.add_text(CHUNK, json.dumps(told))
    image.save(spare, "PNG", pnginfo=info)
    spare.replace(place)
