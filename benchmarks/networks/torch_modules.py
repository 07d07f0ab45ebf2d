"""The torch part: torchvision's and timm's networks beside the original modules."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from benchmarks.networks.table import Row, drawn
from tests.helpers.torchvision_cpu import torchvision_operators
from torch import Tensor, nn

from filterscope.networks import Network, open_network
from filterscope.networks.pytorch.capturing import capture_activations
from filterscope.networks.pytorch.layout import View
from filterscope.networks.pytorch.untraced import UntracedNetwork
from filterscope.networks.subgraph import cut
from filterscope.sides import Size, sides_of

NAMES = {
    "torchvision": [
        "alexnet", "vgg11_bn", "vgg16", "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121",
        "squeezenet1_1", "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5",
        "shufflenet_v2_x1_0", "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "convnext_tiny", "vit_b_32",
        "swin_t", "swin_v2_t", "maxvit_t",
    ],
    "timm": [
        "resnet26d", "resnetv2_50", "seresnet50", "resnest14d", "res2net50_26w_4s", "densenet121", "dla34",
        "hrnet_w18_small", "vovnet39a", "regnety_002", "nf_regnet_b0", "nfnet_l0", "repvgg_a0", "efficientnet_b0",
        "tf_efficientnetv2_b0", "mobilenetv3_small_050", "ghostnet_050", "mobileone_s0", "inception_v4", "xception41",
        "convnext_atto", "convnextv2_atto", "convmixer_768_32", "poolformerv2_s12", "caformer_s18", "fastvit_t8",
        "edgenext_xx_small", "mobilevit_xxs", "coat_lite_tiny", "vit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "beit_base_patch16_224", "cait_xxs24_224",
        "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "maxvit_rmlp_pico_rw_256", "mvitv2_tiny",
        "mixer_s32_224", "xcit_nano_12_p16_224", "levit_128s", "pit_ti_224", "twins_pcpvt_small", "pvt_v2_b0",
        "crossvit_tiny_240",
    ],
}  # fmt: skip
SIZE = 128  # pixels, where a network takes other sizes than the one it was trained on
_CONTRASTS = torch.logspace(-1.1, 0, 4)[:, None, None, None]  # the first as pale as an ascent's start


def names(section: str) -> list[str]:
    """The section's architectures, from every family."""
    return NAMES[section]


def made(section: str, name: str) -> nn.Module:
    """The architecture with seeded random weights, as well conditioned as trained ones."""
    torchvision_operators()  # timm imports torchvision too
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if section == "torchvision":
            from torchvision import models

            module: nn.Module = models.get_model(name, weights=None)
        else:
            import timm

            module = timm.create_model(name)
    return module.eval()


@torch.no_grad()
def fill(module: nn.Module, size: Size) -> None:
    """What begins at 0 or close to it (biases, layer scales, heads) drawn too; batch norms as after training.

    Their statistics are those of random pictures from pale to full contrast, moved by a tenth or so.
    """
    generator = torch.Generator().manual_seed(1)
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d)]
    for parameter in module.parameters():
        if parameter.abs().max() < 1e-3:
            parameter.normal_(0, 0.1, generator=generator)
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5, generator=generator)
        norm.bias.normal_(0, 0.4, generator=generator)
        norm.momentum = 1.0
        norm.train()
    module(_CONTRASTS * 4 * (torch.rand(4, 3, *sides_of(size), generator=generator) - 0.5))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.eval()
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        variance += variance.mean() + 1e-3
        mean += torch.randn(mean.shape, generator=generator) * 0.1 * variance.sqrt()
        variance *= torch.rand(mean.shape, generator=generator) * 0.4 + 0.8


def wanted_outputs(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What every call of every module of the original gives, named as the layer table names calls, and "output"."""
    original = copy.deepcopy(module)
    found: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def listen(path: str) -> Any:
        def hook(_: nn.Module, __: Any, out: Any) -> None:
            counts[path] = counts.get(path, 0) + 1
            if isinstance(out, Tensor):
                found[path if counts[path] == 1 else f"{path}#{counts[path]}"] = out.clone()

        return hook

    for path, part in original.named_modules():
        if path:
            part.register_forward_hook(listen(path))
    with torch.no_grad():
        whole = original(x)
    found["output"] = whole if isinstance(whole, Tensor) else whole[0]
    return found


def found_outputs(net: Network, layers: list[str], x: Tensor) -> dict[str, Tensor]:
    """What the opened network gives at layers, its axes in the order of the original's."""
    if isinstance(net, UntracedNetwork):
        heard = {name: net.captures[net.layers[name].output] for name in layers}
        raw = capture_activations(net.net, x, [(h.path, h.count, h.way) for h in heard.values()])
        return {name: raw[h.path, h.count, h.way] for name, h in heard.items()}
    nodes = {node.name: node for node in net.graph.graph.nodes}
    ends = [nodes[net.layers[name].output] for name in layers]
    whole = [n.all_input_nodes[0].name if isinstance(_module(net, n), View) else n.name for n in ends]
    with torch.no_grad():
        return dict(zip(layers, cut(net.graph, whole)(x), strict=True))


def _module(net: Network, node: torch.fx.Node) -> nn.Module | None:
    return net.graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, float]:
    """Of each layer, the largest difference over the largest value; shapes must agree."""
    errors = {}
    for name, ours in found.items():
        theirs = wanted[name]
        if ours.shape != theirs.shape:
            raise ValueError(f"{name}: {tuple(ours.shape)} instead of {tuple(theirs.shape)}")
        errors[name] = float((ours - theirs).abs().max() / (theirs.abs().max() + 1e-6))
    return errors


def compared(module: nn.Module, net: Network, size: Size) -> dict[str, float]:
    """The differences at every layer that is a module of the original, and at the end, for two random pictures."""
    pixels = torch.rand(2, 3, *sides_of(size), generator=torch.Generator().manual_seed(0)) * 255
    x = net.input.preprocess(pixels)
    wanted = wanted_outputs(module, x)
    errors = differences(found_outputs(net, [n for n in net.layers if n in wanted], x), wanted)
    if "output" not in errors:
        end = [n for n, row in net.layers.items() if row.softmax] or list(net.layers)[-1:]
        ours = net.part(end[-1])(x).output
        errors |= differences({"output": ours}, {"output": wanted["output"].reshape(ours.shape)})
    return errors


def examine(section: str, name: str) -> Row:
    """One architecture: opened from the live module, compared at every layer, one channel drawn."""
    module = made(section, name)
    fresh = open_network(module)
    size: Size = min(SIZE, *sides_of(fresh.input.size))
    size = size if fresh.runs(list(fresh.layers)[-1], size) else fresh.input.size
    fill(module, size)
    net = open_network(module)
    errors = compared(module, net, size)
    worst = max(errors, key=errors.__getitem__)
    remark = "untraced" if isinstance(net, UntracedNetwork) else ""
    return Row(
        name,
        True,
        len(net.layers) - 1,
        errors[worst],
        worst,
        size=size,
        remark=remark,
        **drawn(net, size=size),
    )
