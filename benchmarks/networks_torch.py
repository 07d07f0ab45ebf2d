"""Open torchvision and timm architectures, compare every layer with the original's, draw a channel of each.

    python benchmarks/networks_torch.py OUT.json [NAME...]     # torchvision:resnet18, timm:resnet18...
    python benchmarks/networks_torch.py --table OUT.json       # the rows of docs/networks.md

Weights are random but for batch-norm statistics that are not 0 and 1, so that nothing is downloaded.
"""

from __future__ import annotations

import copy
import json
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch
from torch import nn

TORCHVISION = [
    "alexnet", "vgg11_bn", "vgg16", "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121",
    "squeezenet1_1", "googlenet", "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5",
    "shufflenet_v2_x1_0", "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf", "convnext_tiny", "vit_b_32",
    "swin_t", "swin_v2_t", "maxvit_t",
]  # fmt: skip
TIMM = [
    "resnet26d", "resnetv2_50", "seresnet50", "resnest14d", "res2net50_26w_4s", "densenet121", "dla34", "hrnet_w18_small",
    "vovnet39a", "regnety_002", "nf_regnet_b0", "nfnet_l0", "repvgg_a0", "efficientnet_b0", "tf_efficientnetv2_b0",
    "mobilenetv3_small_050", "ghostnet_050", "mobileone_s0", "inception_v4", "xception41", "convnext_atto",
    "convnextv2_atto", "convmixer_768_32", "poolformerv2_s12", "caformer_s18", "fastvit_t8", "edgenext_xx_small",
    "mobilevit_xxs", "coat_lite_tiny", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224",
    "vit_small_patch14_reg4_dinov2", "beit_base_patch16_224", "cait_xxs24_224", "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256", "maxvit_rmlp_pico_rw_256", "mvitv2_tiny", "mixer_s32_224", "xcit_nano_12_p16_224",
    "levit_128s", "pit_ti_224", "twins_pcpvt_small", "pvt_v2_b0", "crossvit_tiny_240",
]  # fmt: skip


def torchvision_operators() -> None:
    """torchvision has no build for a CPU-only torch; it imports once two operators of its binary are known."""
    if not torch.cuda.is_available():
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_operators"] = operators  # they live as long as this does


def made(name: str) -> nn.Module:
    source, _, bare = name.partition(":")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if source == "torchvision":
            from torchvision import models

            module = models.get_model(bare, weights=None)
        else:
            import timm

            module = timm.create_model(bare)
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
            part.running_mean.normal_(0, 0.2, generator=generator)
            part.running_var.uniform_(0.7, 1.4, generator=generator)
        if isinstance(part, nn.Linear) and not part.weight.any():  # heads that begin at 0
            part.weight.data.normal_(0, 0.02, generator=generator)
    return module.eval()


def difference(module: nn.Module, net, x: torch.Tensor) -> tuple[float, float]:
    """The largest relative difference of the network's output, and of any leaf layer's, from the original's."""
    original = copy.deepcopy(module)
    truth: dict[str, torch.Tensor] = {}

    def listen(path: str):
        def hook(_, __, out):
            if isinstance(out, torch.Tensor):
                truth.setdefault(path, out.clone())

        return hook

    for path, part in original.named_modules():
        if not list(part.children()):
            part.register_forward_hook(listen(path))
    with torch.no_grad():
        whole = original(x)
    end = [n for n, row in net.layers.items() if row.softmax] or [list(net.layers)[-1]]
    names = [n for n in truth if n in net.layers]
    worst = 0.0
    with torch.no_grad():
        for name, ours in zip(names, net.probe(names)(x), strict=True):
            theirs = truth[name]
            if ours.shape != theirs.shape:  # tokens and channels last: the same numbers, otherwise laid out
                theirs, ours = theirs.flatten().sort().values, ours.flatten().sort().values
                if len(theirs) != len(ours):
                    continue  # without the tokens that stand for no patch
            worst = max(worst, float((ours - theirs).abs().max() / (theirs.abs().max() + 1e-12)))
        out = net.part(end[0])(x).output
    out = out.flatten(1)
    whole = whole if isinstance(whole, torch.Tensor) else whole[0]
    return float((out - whole.flatten(1)).abs().max() / (whole.abs().max() + 1e-12)), worst


def measured(name: str) -> dict[str, object]:
    from filterscope.api import draw
    from filterscope.networks import open_network
    from filterscope.networks.pytorch_untraced import UntracedNetwork
    from filterscope.recipe import get_recipe

    module = made(name)
    began = time.perf_counter()
    net = open_network(module)
    opened = time.perf_counter() - began
    size = net.input.size if net.input.fixed else min(net.input.size, 128)
    x = net.input.preprocess(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255)
    output, layers = difference(module, net, x)
    spatial = [
        n for n, row in net.layers.items() if row.spatial and row.parameters and row.output_shape[1] > 2
    ]
    target = net.targets(f"{spatial[len(spatial) // 2]}:1")
    began = time.perf_counter()
    (picture,) = draw(net, target, get_recipe(steps=32, size=size if net.input.fixed else 64))
    scores = picture.scores
    return {
        "name": name, "opened": True, "seconds": round(opened, 2), "traced": not isinstance(net, UntracedNetwork),
        "size": f"{net.input.size}" + (" only" if net.input.fixed else ""), "layers": len(net.layers) - 1,
        "tokens": sorted({n.rpartition("@")[2] for n in net.tokens}), "output": output, "layer": layers,
        "target": str(picture.target), "start": scores.start, "activation": scores.activation,
        "gain": scores.activation > scores.start, "status": picture.status,
        "draw_seconds": round(time.perf_counter() - began, 2),
    }  # fmt: skip


def main() -> None:
    if sys.argv[1] == "--table":
        print(table(json.loads(Path(sys.argv[2]).read_text())))
        return
    torchvision_operators()
    out, *names = sys.argv[1:]
    names = names or [f"torchvision:{n}" for n in TORCHVISION] + [f"timm:{n}" for n in TIMM]
    known = json.loads(Path(out).read_text()) if Path(out).exists() else []
    rows = {row["name"]: row for row in known}
    for name in names:
        try:
            rows[name] = measured(name)
        except Exception as error:
            traceback.print_exc()
            rows[name] = {"name": name, "opened": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(rows[name]), flush=True)
        Path(out).write_text(json.dumps(list(rows.values()), indent=1))


def table(rows: list[dict]) -> str:
    head = [
        "architecture",
        "opened",
        "size px",
        "layers",
        "difference of the output",
        "of any layer",
        "drawn",
        "gain",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        if not row["opened"]:
            lines.append(f"| `{row['name']}` | no: {row['error']} |" + " |" * 6)
            continue
        traced = "yes" if row["traced"] else "yes, untraced"
        gain = f"{row['start']:.3g} to {row['activation']:.3g}" if row["gain"] else "no"
        lines.append(
            f"| `{row['name']}` | {traced} | {row['size']} | {row['layers']} | {row['output']:.1e} | {row['layer']:.1e} | "
            f"`{row['target']}` | {gain} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
