"""Where in a photograph a unit is excited: its activation map or, of a class, gradient times activation."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from filterscope._version import __version__
from filterscope.ascent.canvas.photograph import resized
from filterscope.ascent.engine.prepare import choose_device
from filterscope.ascent.soundness import require_finite, require_gradient
from filterscope.errors import ArgumentError, TargetError, explain_out_of_memory
from filterscope.files import writing
from filterscope.formats import PICTURE
from filterscope.networks import Network, open_network
from filterscope.networks.torch_state import in_our_torch
from filterscope.objective import Objective
from filterscope.pictures.png import encode_png
from filterscope.pictures.reading import Photograph, read_photograph
from filterscope.pictures.shown import Shown
from filterscope.sides import Sides, Size, sides_of, size_text
from filterscope.target import Target, place_text

# black, violet, red, orange, pale yellow: matplotlib's "inferno" at five places
COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)
SHOWN = 320  # an overlay's shorter side is enlarged to this, so that its mark is visible

MAX_PIXELS = 4_000_000  # that go through the network at once, with their gradient


@dataclass(frozen=True, eq=False)
class Location(Shown):
    """Where a unit is excited: shows itself in a notebook, saves itself as an overlay.

    heat: float32 (H, W) over the photograph, 0 (not at all) to 1 (most). peak: row and column of the largest
    value, in the photograph's pixels. largest: the map's largest value before it was scaled; 0 where nothing in
    the photograph excites the unit. layer: whose map it is: the target's own or, of a class, the last before it.
    """

    heat: np.ndarray = field(repr=False)
    peak: tuple[int, int]
    largest: float
    target: Target
    layer: str
    activation: float
    probability: float | None
    network: str
    photograph: Photograph
    class_name: str | None = None
    weights_sha256: str = ""
    weights_file: str | None = None

    def to_pil(self) -> Image.Image:
        """The photograph, grey where the unit is not excited, glowing where it is, with a ring at the peak."""
        image = self.photograph.image.convert("RGB")
        scale, size = self._shown()
        image = image.resize(size, Image.Resampling.BICUBIC)
        heat = np.asarray(Image.fromarray(self.heat).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
        colours = np.stack([np.interp(heat, np.linspace(0, 1, 5), COLOURS[:, c]) for c in range(3)], 2)
        pixels = np.asarray(image, np.float32)
        grey = pixels.mean(2, keepdims=True).repeat(3, 2)
        share = heat[..., None]
        base = (
            0.4 * grey * (1 - share) + pixels * share
        )  # dark where nothing is excited, however light it is there
        mixed = base * (1 - 0.5 * share) + colours * 0.5 * share
        overlay = Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
        if self.largest > 0:
            _ring(overlay, (self.peak[1] + 0.5) * scale, (self.peak[0] + 0.5) * scale)
        return overlay

    def _shown(self) -> tuple[float, tuple[int, int]]:
        """How many times the photograph the overlay is, and its width and height."""
        image = self.photograph.image
        scale = max(1.0, SHOWN / min(image.size))
        return scale, (round(image.width * scale), round(image.height * scale))

    def report(self, file: str | None = None) -> dict[str, Any]:
        """For machines. `peak` and `size` are in the photograph's pixels, `overlay` has both in the picture's own."""
        path = self.photograph.path
        scale, (width, height) = self._shown()
        row, column = (int((place + 0.5) * scale) for place in self.peak)
        return {
            "file": file,
            "photograph": path.name if path else None,
            "target": str(self.target),
            "class_name": self.class_name,
            "layer": self.layer,
            "peak": {"row": self.peak[0], "column": self.peak[1]},
            "size": {"width": self.photograph.image.width, "height": self.photograph.image.height},
            "overlay": {"row": row, "column": column, "width": width, "height": height},
            "activation": self.activation,
            "probability": self.probability,
            "excited": self.largest > 0,
        }

    def metadata(self) -> dict[str, Any]:
        """What the PNG carries: what was asked, of which network, of which photograph, and what was found."""
        path = self.photograph.path
        record = {
            "version": __version__,
            "kind": "location",
            "network": self.network,
            "weights_sha256": self.weights_sha256,
            "weights_file": self.weights_file,
            **{k: v for k, v in self.report().items() if k not in ("file", "photograph")},
            "photographs": {"image": {"file": path.name if path else None, "sha256": self.photograph.sha256}},
        }
        return PICTURE.stamped(record)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the overlay as a PNG, whole or not at all; a folder gets PHOTOGRAPH-locate-TARGET.png."""
        place = Path(path)
        if place.is_dir() or not place.suffix:
            place = place / f"{self.photograph.name}-locate-{self.target.stem}.png"
        with writing(place) as spare:
            spare.write_bytes(encode_png(self.to_pil(), self.metadata()))
        return place


@in_our_torch
@explain_out_of_memory()
def locate(
    network: Any, image: Any, target: str | Objective, *, size: Size | None = None, device: str = "auto"
) -> Location:
    """Where in a photograph the unit is excited.

    Of a channel its activation map. Of a class, or any unit without a place, the last map before it: the sum over
    channels of gradient times activation, where that is above 0 (Selvaraju et al. 2017 weigh by the gradient's
    mean; here each place has its own, as in lucid's "Building Blocks").

    image: a picture file, a Pillow image or an array (H, W, 3). size: the shorter side as the network takes it;
    its own, 128 where that is smaller, if None. For a network that takes one size alone it is squeezed.

    >>> import numpy as np
    >>> locate("tiny-vgg16", np.zeros((64, 96, 3), np.uint8), "block1_conv1:3").heat.shape
    (64, 96)
    """
    net = open_network(network)
    goals = net.objectives(target)
    if len(goals) != 1 or not isinstance(goals[0], Target):
        raise TargetError(f"locate takes one unit, LAYER:UNIT (got {target})")
    goal = goals[0]
    if goal.at is not None:
        raise TargetError(f"{goal} is one place already: leave out @{place_text(goal.at)}")
    photograph = image if isinstance(image, Photograph) else read_photograph(image)
    sides = _sides(net, goal.layer, photograph, size)
    place = choose_device(device)
    pixels = resized(photograph.pixels(net.input.channels), sides)[None].to(place)
    if net.layer(goal.layer).spatial:
        layer, values, activation, probability = _own_map(net, goal, pixels)
    else:
        layer, values, activation, probability = _class_map(net, goal, pixels)
    require_finite(torch.tensor([activation]), [goal], "for this photograph")
    height, width = photograph.image.height, photograph.image.width
    wide = F.interpolate(values[None, None], (height, width), mode="bicubic", align_corners=False)[0, 0]
    largest = float(values.max())
    heat = (
        (wide / largest).clamp(0, 1).cpu().numpy() if largest > 0 else np.zeros((height, width), np.float32)
    )
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return Location(
        heat=heat,
        peak=(int(row), int(column)),
        largest=largest,
        target=goal,
        layer=layer,
        activation=activation,
        probability=probability,
        network=net.name,
        photograph=photograph,
        class_name=net.class_name(goal),
        weights_sha256=net.weights.sha256,
        weights_file=net.weights_file,
    )


def _sides(net: Network, layer: str, photograph: Photograph, size: Size | None) -> Sides:
    width, height = photograph.image.size
    if net.takes_one_size(layer):
        net.output_shape(layer, size or net.input.size)
        return sides_of(net.input.size)
    if isinstance(size, tuple):
        raise ArgumentError(
            f"the photograph keeps its own proportions: size is a side (got {size_text(size)})"
        )
    shorter = size or min(sides_of(net.picture_size(layer)))
    net.output_shape(layer, size or net.picture_size(layer))
    scale = shorter / min(width, height)
    rows, columns = max(shorter, round(height * scale)), max(shorter, round(width * scale))
    if rows * columns > MAX_PIXELS:
        raise ArgumentError(
            f"a shorter side of {shorter} px makes this photograph of {width} x {height} px {columns} x {rows} px, "
            "too large to go through the network whole; crop it, or give a smaller size="
        )
    return rows, columns


def _own_map(net: Network, goal: Target, pixels: Tensor) -> tuple[str, Tensor, float, None]:
    with torch.no_grad():
        maps = _probe(net, [goal.layer], pixels)(net.input.preprocess(pixels))[0]
    values = maps[0, goal.unit].float()
    return goal.layer, values.clamp(min=0), float(values.mean()), None


def _class_map(net: Network, goal: Target, pixels: Tensor) -> tuple[str, Tensor, float, float | None]:
    """The last map before the class that is no pool's: places there see the least of each other."""
    names = list(net.layers)
    before = names[: names.index(goal.layer)]
    maps = [n for n in before if net.layers[n].spatial and net.layers[n].kind != "InputLayer"]
    maps = [n for n in maps if "Pool" not in net.layers[n].kind] or maps
    for layer in reversed(maps):
        probe = _probe(net, [layer, goal.layer], pixels)
        found, units = probe(net.input.preprocess(pixels.requires_grad_()))
        require_gradient(units, net, [goal.layer])
        gradient = None
        if found.requires_grad:
            (gradient,) = torch.autograd.grad(units[0, goal.unit].mean(), found, allow_unused=True)
        if gradient is not None and found.shape[-1] * found.shape[-2] > 1:
            values = (gradient * found).sum(1)[0].detach().clamp(min=0)
            row, values_of = net.layers[goal.layer], units.detach()
            shares = values_of.sigmoid() if row.sigmoid else values_of.softmax(1)
            share = None if row.softmax is None else float(shares[0, goal.unit])
            return layer, values, float(units.detach()[0, goal.unit].mean()), share
    raise ArgumentError(f"no layer before {goal.layer} of {net.name} has a map with more than one place")


def _probe(net: Network, layers: list[str], pixels: Tensor) -> torch.fx.GraphModule:
    return net.probe(layers).eval().to(pixels.device)


def _ring(image: Image.Image, x: float, y: float) -> None:
    radius = max(6, min(image.size) / 24)
    draw = ImageDraw.Draw(image)
    for extra, colour in ((1.5, "black"), (0, "white")):
        r = radius + extra
        draw.ellipse([x - r, y - r, x + r, y + r], outline=colour, width=2)
