"""Draws with torch-lucent's defaults (128 px, 512 steps, Adam 0.05, its transforms); run by quality.py in lucent's own
interpreter, with a plan (quality_plan). The network's layers are modules of the same names, whose activations lucent
listens to; the first module turns lucent's input (0 to 1, minus ImageNet's mean, over its std) into the network's.
"""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from quality_plan import check, draw_all, read
from torchvision_cpu import torchvision_operators

torchvision_operators()

from lucent.optvis import render  # noqa: E402


class Input(nn.Module):
    """What lucent feeds to what the network takes."""

    def __init__(self, plan):
        super().__init__()
        self.plan = plan

    def forward(self, x):
        def row(values):
            return x.new_tensor(values).view(1, -1, 1, 1)

        plan = self.plan
        pixels = x * row([0.229, 0.224, 0.225]) + row([0.485, 0.456, 0.406])  # 0 to 1, RGB
        y = pixels * (plan["high"] - plan["low"]) + plan["low"]
        y = y.flip(1) if plan["bgr"] else y
        return (y - row(plan["mean"])) / row(plan["std"])


class GlobalMean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class Program(nn.Module):
    """A network up to a layer, whose output is that of the module `out`; lucent does not look into the rest."""

    def __init__(self, plan, file):
        super().__init__()
        self.input = Input(plan)
        self.kept = [torch.export.load(file).module()]  # in a list: no submodule
        self.out = nn.Identity()

    def forward(self, x):
        (found,) = self.kept[0](self.input(x))
        return self.out(found)


def build(plan, tensors):
    modules = OrderedDict(input=Input(plan))
    for name, kind, _ in plan["layers"]:
        if kind == "Conv2D":
            kernel = torch.from_numpy(tensors[f"{name}/kernel"]).permute(3, 2, 0, 1).contiguous()
            module = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2:], padding="same")
            _fill(module, kernel, tensors[f"{name}/bias"])
            modules[name] = nn.Sequential(module, nn.ReLU(inplace=True))
        elif kind == "Dense":
            kernel = torch.from_numpy(tensors[f"{name}/kernel"]).T.contiguous()
            modules[name] = nn.Linear(kernel.shape[1], kernel.shape[0])
            _fill(modules[name], kernel, tensors[f"{name}/bias"])
        elif kind == "MaxPooling2D":
            modules[name] = nn.MaxPool2d(2)
        elif kind == "GlobalAveragePooling2D":
            modules[name] = GlobalMean()
        elif kind not in ("InputLayer", "Rescaling", "Softmax"):
            raise SystemExit(f"{name}: no {kind} here")
    return nn.Sequential(modules).eval()


def _fill(module, kernel, bias):
    module.weight.data, module.bias.data = kernel, torch.from_numpy(bias)


def means(model, picture, layer):
    """(units,): means over space of a layer's output for a uint8 picture, fed as lucent feeds it."""
    kept = {}
    handle = getattr(model, layer).register_forward_hook(lambda _m, _i, out: kept.update(out=out))
    normal = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        model((pixels - normal[0]) / normal[1])
    handle.remove()
    out = kept["out"]
    return (out.mean((2, 3)) if out.ndim == 4 else out)[0].numpy()


def main():
    plan, tensors = read()
    if "programs" in plan:
        models = {layer: (Program(plan, file).eval(), "out") for layer, file in plan["programs"].items()}
    else:
        whole = build(plan, tensors)
        models = {layer: (whole, layer) for layer in plan["check"]}
    check(plan, lambda picture, layer: means(models[layer][0], picture, models[layer][1]))
    if (
        "programs" in plan
    ):  # measured by what the pictures show, not by time: each takes minutes in float32 alone
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        torch.backends.mkldnn.conv.fp32_precision = "bf16"

    def draw(layer, unit):
        torch.manual_seed(plan["seed"] + unit)
        np.random.seed(plan["seed"] + unit)
        model, name = models[layer]
        (images,) = render.render_vis(model, f"{name}:{unit}", show_image=False, progress=False)
        return images[0] * 255

    draw_all(plan, draw)


if __name__ == "__main__":
    main()
