"""How large VGG16's gradients are at the blog's starting noise: the constant that scales its penalties elsewhere.

usage: python benchmarks/gradient.py WEIGHTS      (VGG16's real weights, at least up to block3_conv3)

Prints for each convolution the root mean square of the gradient of a channel's mean activation with respect to the
224 x 224 picture, fed raw, per pixel value: median, smallest and largest of sixteen channels.
"""

import sys
from collections.abc import Sequence

import torch

from filterscope.ascent.canvas.parametrizations import start_canvas
from filterscope.ascent.engine.prepare import prepare
from filterscope.ascent.objectives import activation
from filterscope.networks import Network, open_network
from filterscope.recipe import get_recipe

BLOG = "34,22,240,86,210,123,37,0,236,243,32,88,31,92,148,221"  # the blog's filters of block3_conv1


def gradients(network: Network, text: str) -> torch.Tensor:
    """(units,) root mean squares."""
    found = []
    for target in network.targets(text):
        prepared = prepare(network, [target])
        generator = torch.Generator().manual_seed(target.seed(0))
        canvas = start_canvas(get_recipe("blog").image, [generator], 3, (224, 224), torch.device("cpu"))
        score = activation(prepared(canvas.pixels(), raw=True), [target], prepared.units)
        (gradient,) = torch.autograd.grad(score.sum(), canvas.parameters)
        found.append(gradient.square().mean().sqrt())
    return torch.stack(found)


def main(argv: Sequence[str]) -> None:
    """Print the table."""
    if len(argv) != 1:
        sys.exit(__doc__)
    network = open_network("vgg16", weights=argv[0])
    convolutions = [name for name, row in network.layers.items() if row.kind == "Conv2D" and row.trained]
    for layer in convolutions:
        values = gradients(network, f"{layer}:{BLOG}" if layer == "block3_conv1" else layer)
        print(f"{layer}: median {values.median():.2e}, {values.min():.2e} to {values.max():.2e}")


if __name__ == "__main__":
    main(sys.argv[1:])
