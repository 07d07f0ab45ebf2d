"""What a network is and says, as functions: its layers, its kernels, the classes of a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, overload

from PIL import Image

from filterscope.files import StrPath
from filterscope.measure.classify import Guess
from filterscope.measure.classify import classify as classify_files
from filterscope.networks import open_network
from filterscope.pictures.kernels import kernel_sheet, kernel_units
from filterscope.sides import Size
from filterscope.table import Table


def list_layers(network: Any) -> Table:
    """The layers of a network: name, kind, output shape, units, parameters, receptive field in pixels (None: the whole
    picture), and whether it is trained (None: it has no weights, or that is not known).

    >>> list_layers("tiny-vgg16")[1:3]
    name           kind       output_shape  units  parameters  receptive_field  trained
    preprocessing  Rescaling  3, 64, 64     3      0           1                -
    block1_conv1   Conv2D     32, 64, 64    32     896         3                True
    """
    return open_network(network).table()


def draw_kernels(network: Any, layer: str) -> Image.Image:
    """A convolution's weights as a Pillow image: colour pictures of a first layer, grey slices of a deeper one.

    layer: "LAYER" (all kernels of a first layer, 16 of a deeper one) or "LAYER:0-7".

    >>> draw_kernels("tiny-vgg16", "block1_conv1:0-7").mode
    'RGB'
    """
    net = open_network(network)
    return kernel_sheet(net, *kernel_units(net, layer))


@overload
def classify(network: Any, images: StrPath, *, top: int = 5, size: Size | None = None) -> list[Guess]: ...
@overload
def classify(
    network: Any, images: Sequence[StrPath], *, top: int = 5, size: Size | None = None
) -> list[list[Guess]]: ...
def classify(
    network: Any, images: StrPath | Sequence[StrPath], *, top: int = 5, size: Size | None = None
) -> list[Guess] | list[list[Guess]]:
    """The most probable classes of a picture file, best first; of several files a list for each.

    size: to which a photograph is resized and cropped, a side or (height, width); the network's own where None.
    Raises ArgumentError for a network without classes, ImageError for a file that is no picture.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (64, 64), "orange").save(f"{folder}/orange.png")
    ...     guesses = classify("tiny-vgg16", f"{folder}/orange.png", top=3)
    >>> len(guesses), guesses[0].probability > guesses[1].probability
    (3, True)
    """
    net = open_network(network)
    if isinstance(images, str | os.PathLike):
        return classify_files(net, [images], top=top, size=size)[0]
    return classify_files(net, images, top=top, size=size)
