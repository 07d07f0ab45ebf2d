"""The torch networks of the speed benchmark by name, with random weights, the same in every program. Free of filterscope.

`resnet50` is torchvision's, `timm:NAME` is timm's at 224 px, `package:efficientnet-lite0` is the class of the PyPI package
efficientnet_lite_pytorch, whose convolutions are a subclass with padding of its own.
"""

import importlib
import sys

import torch

from torchvision_cpu import torchvision_operators


def made(name, packages=None):
    """The network, ready for drawing. packages: the folder that efficientnet_lite_pytorch lies in."""
    torchvision_operators()
    torch.manual_seed(0)
    source, _, inner = name.rpartition(":")
    if source == "timm":
        import timm

        if inner.startswith("vit_"):
            return timm.create_model(inner, pretrained=False, img_size=224, num_classes=0).eval()
        return timm.create_model(inner, pretrained=False).eval()
    if source == "package":
        sys.path.insert(0, packages)
        return importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(inner).eval()
    import torchvision

    return torchvision.models.get_model(name, weights=None).eval()
