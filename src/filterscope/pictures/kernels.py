"""A convolution's weights as pictures: colours for the first layer, grey slices for deeper ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import nn

from filterscope.errors import TargetError
from filterscope.networks.network import Network
from filterscope.pictures.sheet import Tile, compose

SLICES = 16  # input channels shown of a deeper layer
# of a weight below 0, of 0 and above it: Voss et al. 2021, "Visualizing Weights", have blue inhibit and red excite
SIGNED = np.array(
    [(5, 113, 176), (146, 197, 222), (247, 247, 247), (244, 165, 130), (202, 0, 32)], np.float32
)


def kernel_weights(network: Network, layer: str) -> np.ndarray:
    """The layer's kernels, float32 (units, inputs, kh, kw), as trained; TargetError where it has none."""
    own = network.kernel_module(layer)
    for module in own.modules() if own is not None else ():
        if isinstance(module, nn.Conv2d):
            return module.weight.detach().float().numpy()
    convolutions = [n for n, row in network.layers.items() if "Conv" in row.kind and row.trained]
    raise TargetError(f"{layer} has no kernels; convolutions are: {', '.join(convolutions)}")


def kernel_units(network: Network, text: str) -> tuple[str, list[int]]:
    """The layer and the units that "LAYER" or "LAYER:0-7" means: of a layer all, 16 of one that is not the first."""
    selection = network.selection(text)
    units = [target.unit for target in network.targets(selection)]
    if selection.units is None and kernel_weights(network, selection.layer).shape[1] == 3:
        units = list(range(network.layer(selection.layer).units))
    return selection.layer, units


def kernel_sheet(network: Network, layer: str, units: Sequence[int]) -> Image.Image:
    """Kernels as tiles, on one scale for the layer: mid-grey is 0, black and white the largest magnitude.

    Where the input has three channels each kernel is one colour picture; elsewhere a row of grey slices, one
    for each of the first 16 input channels.
    """
    weights = kernel_weights(network, layer)
    values = weights / (2 * max(float(np.abs(weights).max()), 1e-12)) + 0.5
    if weights.shape[1] == 3:
        if network.input.bgr:
            values = values[:, ::-1]
        tiles = [Tile(_enlarged(values[u].transpose(1, 2, 0)), f"{u}") for u in units]
        return compose(tiles)
    if weights.shape[1] == 1:
        return compose([Tile(_enlarged(np.repeat(values[u, 0][..., None], 3, 2)), f"{u}") for u in units])
    shown = min(SLICES, weights.shape[1])
    grey = [
        Tile(_enlarged(np.repeat(values[u, c][..., None], 3, 2), 64), f"{u}" if c == 0 else "")
        for u in units
        for c in range(shown)
    ]
    return compose(grey, columns=shown, side=64)


def _enlarged(values: np.ndarray, side: int = 160) -> Image.Image:
    image = Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))
    return image.resize((side, side), Image.Resampling.NEAREST)


def signed_kernel(kernel: np.ndarray, scale: float, side: int = 96) -> Image.Image:
    """A kernel (rows, columns) in colours: red above 0, blue below, near white at 0; `scale` is the weight of full colour.
    Its longer side is `side` pixels."""
    shares = (kernel / (scale or 1.0)).clip(-1, 1)
    places = np.linspace(-1, 1, len(SIGNED))
    colours = np.stack([np.interp(shares, places, SIGNED[:, c]) for c in range(3)], 2)
    image = Image.fromarray(colours.round().astype(np.uint8))
    longer = max(image.size)
    size = (max(1, round(image.width * side / longer)), max(1, round(image.height * side / longer)))
    return image.resize(size, Image.Resampling.NEAREST)
