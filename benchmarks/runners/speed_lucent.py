"""torch-lucent at its own settings: Fourier parameters, decorrelated colour, its transforms, Adam 0.05, one picture at a
time; run by speed.py in its own interpreter, with a plan (speed_plan). With "finish" it draws its default pictures
(128 px, 512 steps; it shows the network 224 px) and leaves them as an array of 8-bit values.
"""

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

from speed_models import made
from speed_plan import Clock, convolutions, random_vgg16, read, say
from torchvision_cpu import torchvision_operators

torchvision_operators()

import torchvision  # noqa: E402
from lucent.optvis import param, render  # noqa: E402

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class KerasInput(nn.Module):
    """What lucent feeds (0 to 1, minus ImageNet's mean, over its std) to what Keras' VGG16 takes (BGR, minus its own)."""

    def forward(self, x):
        pixels = 255 * (x * x.new_tensor(STD).view(1, 3, 1, 1) + x.new_tensor(MEAN).view(1, 3, 1, 1))
        return pixels.flip(1) - x.new_tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)


def vgg16(plan):
    """torchvision's VGG16, its convolutions filled from Keras' tensors, and the name of the layer's ReLU in it."""
    model = torchvision.models.vgg16(weights=None)
    tensors = load_file(plan["weights"]) if plan["weights"] else random_vgg16()
    places = [i for i, module in enumerate(model.features) if isinstance(module, nn.Conv2d)]
    names = {}
    for place, (name, _, _) in zip(places, convolutions(), strict=True):
        names[name] = f"features_{place + 1}"
        if f"{name}/kernel" in tensors:
            kernel = torch.from_numpy(tensors[f"{name}/kernel"]).permute(3, 2, 0, 1).contiguous()
            model.features[place].weight.data = kernel
            model.features[place].bias.data = torch.from_numpy(tensors[f"{name}/bias"])
    first = model.features[0]
    model.features[0] = nn.Sequential(KerasInput(), first)
    return model, names[plan["layer"]]


def main():
    plan = read()
    if plan["threads"]:
        torch.set_num_threads(plan["threads"])
    torch.manual_seed(0)
    if plan["model"]:
        model, layer = made(plan["model"]), plan["layer"].replace(".", "_")
    else:
        model, layer = vgg16(plan)
    model.eval()
    clock, pictures, whole = Clock(plan), [], []

    class Ticking(torch.optim.Adam):
        def step(self, closure=None):
            super().step(closure)
            clock.tick()

    for unit in plan["units"]:
        torch.manual_seed(unit)
        np.random.seed(unit)
        began = clock.now()
        clock.begin()
        (images,) = render.render_vis(
            model, f"{layer}:{unit}", show_image=False, progress=False,
            param_f=None if plan.get("finish") else lambda: param.image(plan["size"]),
            optimizer=lambda parameters: Ticking(parameters, lr=5e-2),
            fixed_image_size=plan["size"] if plan["model"] else None,
            thresholds=(512 if plan.get("finish") else plan["steps"] + plan["warm"],),
        )  # fmt: skip
        clock.end()
        whole.append(clock.now() - began)
        pictures.append(np.rint(images[0] * 255).clip(0, 255).astype(np.uint8))
    if plan.get("finish"):
        np.save(plan["finish"], np.stack(pictures))
    say(seconds=clock.spans, whole=whole)


if __name__ == "__main__":
    main()
