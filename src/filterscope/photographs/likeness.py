"""Pictures, from noise, whose activations at a layer are those of a photograph: `invert` and `caricature`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Unpack, overload

from filterscope.api import Asked, DrawingOptions
from filterscope.errors import TargetError
from filterscope.networks import Network, open_network
from filterscope.objective import Likeness, Objective
from filterscope.photographs.presets import named_recipe
from filterscope.photographs.sources import Source, layer_names, photograph_of
from filterscope.pictures import Picture, Sheet


@overload
def invert(network: Any, image: Source, layer: str, **options: Unpack[DrawingOptions]) -> Picture: ...
@overload
def invert(
    network: Any, image: Source, layer: Sequence[str], **options: Unpack[DrawingOptions]
) -> Picture | Sheet: ...
def invert(
    network: Any, image: Source, layer: str | Sequence[str], **options: Unpack[DrawingOptions]
) -> Picture | Sheet:
    """What a layer keeps of a photograph: a picture, from noise, with the photograph's activations there (Mahendran and
    Vedaldi 2015).

    layer: one, or several for a Sheet. The activation of such a picture is minus the squared distance of its and the
    photograph's activations, over the photograph's own square: 0 is no difference, -1 is as far as grey is.
    options: as for `visualize`; size is the longer side, at most 224 px where None.

    >>> import numpy as np
    >>> invert("tiny-vgg16", np.zeros((40, 60, 3), np.uint8), "block1_conv1", steps=1, progress=False).image.shape
    (40, 60, 3)
    """
    return _likenesses("invert", network, image, layer, options)


@overload
def caricature(network: Any, image: Source, layer: str, **options: Unpack[DrawingOptions]) -> Picture: ...
@overload
def caricature(
    network: Any, image: Source, layer: Sequence[str], **options: Unpack[DrawingOptions]
) -> Picture | Sheet: ...
def caricature(
    network: Any, image: Source, layer: str | Sequence[str], **options: Unpack[DrawingOptions]
) -> Picture | Sheet:
    """What a layer responds to in a photograph, exaggerated: a picture, from noise, with the photograph's activations
    there, but larger ones. Arguments as for `invert`.

    >>> import numpy as np
    >>> caricature("tiny-vgg16", np.zeros((40, 60, 3), np.uint8), "block1_conv1", steps=1, progress=False).image.shape
    (40, 60, 3)
    """
    return _likenesses("caricature", network, image, layer, options)


def _likenesses(
    preset: str, network: Any, image: Source, layer: str | Sequence[str], options: DrawingOptions
) -> Picture | Sheet:
    net = open_network(network)
    options["recipe"] = named_recipe(options.get("recipe") or preset)
    asked = Asked.read(net, likeness_goals(net, preset, layer_names(layer)), options)
    pictures = list(asked.pictures({"image": photograph_of(image)}))
    return pictures[0] if len(pictures) == 1 else Sheet(pictures)


def likeness_goals(net: Network, name: str, layers: Sequence[str]) -> list[Objective]:
    """What `invert` or `caricature` climbs, one goal a layer."""
    names = list(dict.fromkeys(layer.strip() for layer in layers))
    if not all(names) or not names:
        raise TargetError("name a layer, as in block3_conv1")
    how: Literal["match", "caricature"] = "match" if name == "invert" else "caricature"
    return [net.objectives(Likeness(how, layer))[0] for layer in names]
