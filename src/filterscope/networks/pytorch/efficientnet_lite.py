"""EfficientNet-Lite 0, 1 and 2 as plain torch modules, with the layer names of timm's `tf_efficientnet_lite0`.

EfficientNet (Tan and Le 2019) without squeeze-and-excitation, with ReLU6, and with a stem and a head that do not grow:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from filterscope.errors import WeightsError
from filterscope.networks.input_spec import InputSpec

# name -> (factor on the channels, factor on the blocks of a stage, side of the training pictures in pixels)
SCALES = {
    "efficientnet-lite0": (1.0, 1.0, 224),
    "efficientnet-lite1": (1.0, 1.1, 240),
    "efficientnet-lite2": (1.1, 1.2, 260),
}
# of each stage: blocks, side of the kernel, stride of its first block, expansion, channels
_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
_STEM, _HEAD, CLASSES = 32, 1280, 1000
_EPS = 1e-3  # of its batch norms, TensorFlow's own


def input_of(name: str) -> InputSpec:
    """How the published weights want their pictures: (x - 127) / 128."""
    return InputSpec(size=SCALES[name][2], mean=(127.0,) * 3, std=(128.0,) * 3)


class EfficientNetLite(nn.Module):
    """Pictures (B, 3, H, W) to the logits of ImageNet's classes (B, 1000)."""

    def __init__(self, name: str):
        super().__init__()
        width, depth, _ = SCALES[name]
        self.conv_stem = nn.Conv2d(3, _STEM, 3, stride=2, bias=False)
        self.bn1 = NormReLU6(_STEM)
        stages, channels = [], _STEM
        for i, (count, kernel, stride, expansion, base) in enumerate(_STAGES):
            inner = i not in (0, len(_STAGES) - 1)
            wanted = _eighths(base * width)
            stage = []
            for n in range(math.ceil(count * depth) if inner else count):
                block = InvertedResidual if expansion > 1 else DepthwiseSeparable
                stage.append(block(channels, wanted, kernel, 1 if n else stride, expansion))
                channels = wanted
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(channels, _HEAD, 1, bias=False)
        self.bn2 = NormReLU6(_HEAD)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(_HEAD, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv_stem(same(x, 3, 2)))
        x = self.bn2(self.conv_head(self.blocks(x)))
        logits: Tensor = self.classifier(self.global_pool(x).flatten(1))
        return logits


class NormReLU6(nn.BatchNorm2d):
    """Batch norm by its own statistics, then ReLU6."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=_EPS)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        x = F.batch_norm(x, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        out: Tensor = self.act(x)
        return out


class DepthwiseSeparable(nn.Module):
    """A kernel for each channel, then a product over channels."""

    def __init__(self, channels: int, wanted: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        self.conv_dw = _depthwise(channels, kernel, stride)
        self.bn1 = NormReLU6(channels)
        self.conv_pw = nn.Conv2d(channels, wanted, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wanted, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))
        return out


class InvertedResidual(nn.Module):
    """More channels, a kernel for each, fewer channels; the input is added where the shape stays."""

    def __init__(self, channels: int, wanted: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = channels * expansion
        self.kernel, self.stride = kernel, stride
        self.adds = stride == 1 and channels == wanted
        self.conv_pw = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = NormReLU6(inner)
        self.conv_dw = _depthwise(inner, kernel, stride)
        self.bn2 = NormReLU6(inner)
        self.conv_pwl = nn.Conv2d(inner, wanted, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wanted, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv_pw(x))
        inner = self.bn2(self.conv_dw(same(inner, self.kernel, self.stride)))
        out: Tensor = self.bn3(self.conv_pwl(inner))
        return x + out if self.adds else out


def same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """What TensorFlow's `same` padding adds before a convolution of stride 2: at an odd side one more, the odd one
    behind. At stride 1 the convolution pads by itself."""
    if stride == 1:
        return x
    rows, columns = kernel - 2 + x.shape[2] % 2, kernel - 2 + x.shape[3] % 2
    return F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])


def _depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(channels, channels, kernel, stride, padding, groups=channels, bias=False)


def _eighths(channels: float) -> int:
    """The nearest multiple of 8, at least nine tenths of what was asked for."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def own_names(tensors: Mapping[str, Tensor], module: nn.Module) -> Mapping[str, Tensor]:
    """Tensors under the names of `EfficientNet-PyTorch` (`_conv_stem`, `_blocks.0._bn1`), by which the published files
    name them, under the module's: both list them in the order of the forward pass. Others stay as they are."""
    if "_conv_stem.weight" not in tensors:
        return tensors
    wanted = module.state_dict()
    if [t.shape for t in tensors.values()] != [t.shape for t in wanted.values()]:
        raise WeightsError(
            f"the file is of another EfficientNet: {len(tensors)} tensors, not these {len(wanted)}"
        )
    return dict(zip(wanted, tensors.values(), strict=True))
