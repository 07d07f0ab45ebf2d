"""The model card: for machines, ARCH.card.json; for people, MODEL_CARD.md."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.architectures import MEAN, STD, architecture
from training.folding import Weights
from training.measure import Accuracy

Card = dict[str, Any]

TITLES = {
    "tiny-vgg16": "tiny-vgg16: VGG16 at half width, trained on Tiny ImageNet",
    "tiny-resnet": "tiny-resnet: ResNet-18 at half width, trained on Tiny ImageNet",
}
DATA = {
    "name": "Tiny ImageNet (Stanford CS231n)",
    "pictures": "100,000 for training, 10,000 for validation, 64 x 64 pixels, from ImageNet (ILSVRC 2012)",
    "terms": "ImageNet's terms of access: non-commercial research and education; the pictures belong to "
    "their photographers. The weights file contains no picture.",
}
USE = (
    "An example network for feature visualization. It is too small and too inaccurate to be used as a "
    "classifier, and was never checked for fairness between people or places."
)


def card(arch: str, weights: Weights, path: Path, result: Accuracy, recipe: Mapping[str, Any]) -> Card:
    """The card of the folded float16 `weights` that lie at `path`, with their measured accuracy."""
    classes = len(weights["predictions/bias"])
    return {
        "name": arch,
        "title": TITLES[arch],
        "use": USE,
        "classes": classes,
        "top1_percent": round(result.top1_percent, 2),
        "top5_percent": round(result.top5_percent, 2),
        "measured": {
            "pictures": result.pictures,
            "split": "validation, at 64 x 64, one view, float32 arithmetic",
            "command": f"python -m training.evaluate {path.as_posix()} --data DATA",
        },
        "input": {
            "size": "any, trained at 64 x 64",
            "channels": "RGB",
            "range": [0, 255],
            "mean": list(MEAN),
            "std": list(STD),
            "preprocessing": "(pixel - mean) / std, in the network as its layer 'preprocessing'",
        },
        "layers": [layer.name for layer in architecture(arch, classes)] + ["softmax"],
        "data": DATA,
        "training": dict(recipe),
        "weights": {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
            "parameters": sum(tensor.numel() for tensor in weights.values()),
            "layout": "Keras, float16: LAYER/kernel (kh, kw, in, out), LAYER/bias; batch norm folded",
        },
    }


def text(card: Card) -> str:
    """The card as Markdown."""
    spec, weights, measured = card["input"], card["weights"], card["measured"]
    recipe = "\n".join(_items(card["training"]))
    return f"""# {card["title"]}

{card["use"]}

| | |
|---|---|
| accuracy | top-1 {card["top1_percent"]} %, top-5 {card["top5_percent"]} % |
| measured on | {measured["pictures"]:,} pictures: {measured["split"]} |
| classes | {card["classes"]}, by WordNet id and name in `tiny-imagenet-classes.json` |
| input | {spec["channels"]}, {spec["range"][0]} to {spec["range"][1]}, size {spec["size"]} |
| preprocessing | {spec["preprocessing"]}; mean {spec["mean"]}, std {spec["std"]} |
| weights | `{weights["file"]}`, {weights["parameters"]:,} parameters, {weights["bytes"]:,} bytes |
| layout | {weights["layout"]} |
| sha256 | `{weights["sha256"]}` |

## Measure it

DATA is a folder that contains Tiny ImageNet, as published or as mosaics (see `training/data.py`).

```
{measured["command"]}
```

## Data

{card["data"]["name"]}: {card["data"]["pictures"]}.

Terms: {card["data"]["terms"]}

## Training

{recipe}

## Layers

{", ".join(f"`{name}`" for name in card["layers"])}. A convolution and its ReLU are one layer, as in
Keras' VGG16. Training used batch norm, which is folded into the convolutions.
"""


def _items(entries: Mapping[str, Any], indent: str = "") -> list[str]:
    """A list in Markdown; a table of tables becomes a list of its own, one level deeper."""
    lines = []
    for name, value in entries.items():
        title = f"{indent}- {name.replace('_', ' ')}:"
        if isinstance(value, Mapping) and any(isinstance(part, Mapping) for part in value.values()):
            lines += [title, *_items(value, indent + "  ")]
        else:
            lines.append(f"{title} {_line(value)}")
    return lines


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {setting}" for name, setting in value.items())
    return str(value)
