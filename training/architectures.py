"""The networks as plain lists of layers, from which torch modules and Keras models are both built.

Names are those of Keras' own VGG16 and ResNets.  A list starts after `preprocessing` and ends with
`predictions`, the linear output.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from training.errors import TrainingError

INPUT = "preprocessing"
MEAN = (123.0, 117.0, 104.0)  # RGB of 0..255, over Tiny ImageNet's training pictures, rounded
STD = (64.0, 62.0, 63.0)

VGG_WIDTHS, VGG_REPEATS = (32, 64, 128, 256, 256), (2, 2, 3, 3, 3)  # VGG16 at half width
RESNET_WIDTHS, RESNET_REPEATS = (32, 64, 128, 256), (2, 2, 2, 2)  # ResNet-18 at half width


@dataclass(frozen=True)
class Layer:
    """One layer.  `channels`, `kernel`, `stride`, `relu` count for a conv, `channels` for a dense too."""

    name: str
    kind: Literal["conv", "max_pool", "add", "relu", "global_pool", "dense"]
    inputs: tuple[str, ...]
    channels: int = 0
    kernel: int = 3
    stride: int = 1
    relu: bool = True


def tiny_vgg16(classes: int) -> list[Layer]:
    """VGG16 (Simonyan and Zisserman 2014) at half width, global average pooling before `predictions`."""
    layers, last = [], INPUT
    for block, (width, repeats) in enumerate(zip(VGG_WIDTHS, VGG_REPEATS, strict=True), 1):
        for conv in range(1, repeats + 1):
            layers.append(Layer(f"block{block}_conv{conv}", "conv", (last,), width))
            last = layers[-1].name
        if block < len(VGG_WIDTHS):
            layers.append(Layer(f"block{block}_pool", "max_pool", (last,)))
            last = layers[-1].name
    return layers + _head(last, classes)


def tiny_resnet(classes: int) -> list[Layer]:
    """ResNet-18 (He et al. 2015, basic blocks) at half width, its stem one 3 x 3 convolution of stride 2."""
    layers, last, before = [Layer("conv1_conv", "conv", (INPUT,), RESNET_WIDTHS[0], 3, 2)], "conv1_conv", 32
    for stage, (width, repeats) in enumerate(zip(RESNET_WIDTHS, RESNET_REPEATS, strict=True), 2):
        for block in range(1, repeats + 1):
            name, stride = f"conv{stage}_block{block}", 2 if block == 1 and stage > 2 else 1
            shortcut = last
            if before != width:
                shortcut = f"{name}_0_conv"
                layers.append(Layer(shortcut, "conv", (last,), width, 1, stride, relu=False))
            layers += [
                Layer(f"{name}_1_conv", "conv", (last,), width, 3, stride),
                Layer(f"{name}_2_conv", "conv", (f"{name}_1_conv",), width, relu=False),
                Layer(f"{name}_add", "add", (shortcut, f"{name}_2_conv")),
                Layer(f"{name}_out", "relu", (f"{name}_add",)),
            ]
            last, before = f"{name}_out", width
    return layers + _head(last, classes)


def _head(last: str, classes: int) -> list[Layer]:
    return [
        Layer("global_average_pooling", "global_pool", (last,)),
        Layer("predictions", "dense", ("global_average_pooling",), classes),
    ]


ARCHITECTURES: dict[str, Callable[[int], list[Layer]]] = {
    "tiny-vgg16": tiny_vgg16,
    "tiny-resnet": tiny_resnet,
}


def architecture(arch: str, classes: int) -> list[Layer]:
    """The layers of the architecture called `arch`; TrainingError for an unknown name."""
    if arch not in ARCHITECTURES:
        raise TrainingError(f"no architecture '{arch}'; allowed: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch](classes)


def tensor_names(layers: list[Layer]) -> set[str]:
    """The names that the weights of folded `layers` have in a file: LAYER/kernel and LAYER/bias."""
    return {
        f"{layer.name}/{part}"
        for layer in layers
        if layer.kind in ("conv", "dense")
        for part in ("kernel", "bias")
    }


def find_architecture(names: set[str]) -> str | None:
    """The architecture whose folded weights have exactly these tensor names."""
    return next((arch for arch in ARCHITECTURES if tensor_names(architecture(arch, 1)) == names), None)
