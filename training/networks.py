"""The networks as torch modules: with batch norm to train, or folded, as they ship."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from training.architectures import INPUT, MEAN, STD, Layer, architecture

DROPOUT = 0.2


class Conv(nn.Module):
    """Convolution, batch norm unless folded, ReLU if the layer has one: (B, C, H, W) to (B, C', H', W')."""

    def __init__(self, layer: Layer, channels: int, folded: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, layer.channels, layer.kernel, layer.stride, layer.kernel // 2, bias=folded
        )
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(layer.channels)
        self.relu = layer.relu
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Add(nn.Module):
    """The sum of two maps of one shape."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, C, H, W) twice to (B, C, H, W)."""
        return a + b


class GlobalPool(nn.Module):
    """The mean over space."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C)."""
        return x.mean((2, 3))


class Network(nn.Module):
    """A classifier built from a list of layers.

    Takes RGB pixel values 0..255 (B, 3, H, W) of any size from 16 up, gives logits (B, classes).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, arch: str, classes: int, *, folded: bool = False) -> None:
        super().__init__()
        self.arch, self.classes, self.folded = arch, classes, folded
        self.layers = architecture(arch, classes)
        self.last_use = {name: layer.name for layer in self.layers for name in layer.inputs}
        self.units = nn.ModuleDict()
        self.frozen: list[str] = []
        channels = {INPUT: 3}
        for layer in self.layers:
            before = channels[layer.inputs[0]]
            self.units[layer.name] = _module(layer, before, folded)
            channels[layer.name] = layer.channels or before
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def channels_last(self) -> "Network":
        """The network itself, its kernels in the memory layout that is fast on CPUs and GPUs alike."""
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def freeze(self, prefixes: list[str]) -> None:
        """Keep the units whose names start so as they are, batch norm in evaluation mode, from now on."""
        self.frozen = [name for name in self.units if name.startswith(tuple(prefixes))]
        for name in self.frozen:
            self.units[name].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """Training or evaluation mode; frozen units stay in the latter."""
        super().train(mode)
        for name in self.frozen:
            self.units[name].eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """RGB pixel values 0..255 (B, 3, H, W) to logits (B, classes)."""
        return self.up_to("predictions", pixels).float()

    def up_to(self, last: str, pixels: Tensor) -> Tensor:
        """RGB pixel values 0..255 (B, 3, H, W) to the output of the layer called `last`."""
        values = {INPUT: (pixels - self.mean) / self.std}
        for layer in self.layers:
            if last in values:
                break
            values[layer.name] = self.units[layer.name](*(values[name] for name in layer.inputs))
            for name in layer.inputs:
                if self.last_use[name] == layer.name:
                    del values[name]
        return values[last]


def _module(layer: Layer, channels: int, folded: bool) -> nn.Module:
    match layer.kind:
        case "conv":
            return Conv(layer, channels, folded)
        case "max_pool":
            return nn.MaxPool2d(2)
        case "add":
            return Add()
        case "relu":
            return nn.ReLU()
        case "global_pool":
            return nn.Sequential(GlobalPool(), nn.Dropout(DROPOUT))
        case "dense":
            return nn.Linear(channels, layer.channels)
