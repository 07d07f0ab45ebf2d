"""Deep Dream: a photograph changed so that it excites layers, or a target, more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from filterscope.api import DrawingOptions, read_run
from filterscope.errors import ArgumentError
from filterscope.networks import Network, open_network
from filterscope.objective import Likeness, Objective, WholeLayer
from filterscope.photographs.presets import octaves as octave_stages
from filterscope.photographs.presets import photograph_recipe, usual_layers
from filterscope.photographs.sources import Source, drawn, layer_names, one_goal, photograph_of
from filterscope.pictures import Picture
from filterscope.recipe import Recipe, get_recipe
from filterscope.sides import Size
from filterscope.target import Sum


def dream(
    network: Any,
    image: Source,
    *,
    layers: str | Sequence[str] | Mapping[str, float] | None = None,
    target: str | Objective | None = None,
    guide: Source | None = None,
    octaves: int | None = None,
    strength: float | None = None,
    **options: Unpack[DrawingOptions],
) -> Picture:
    """Deep Dream: a photograph changed to show more and more of what the network detects in it (Mordvintsev et al. 2015).

    network: a name, file or model (see `open_network`), or an opened Network.
    image: a picture file, a Pillow image or an array (H, W, 3); its aspect is kept, its colours are taken as sRGB.
    layers: whose excitation grows: "LAYER", "LAYER=WEIGHT,LAYER", a list, or a dict of weights. Without any, those
        of the recipe, where the network has VGG16's layers.
    target: one unit, class or sum instead of whole layers, as "predictions:goldfish".
    guide: a second photograph; the layers' features then grow towards those that the guide has somewhere.
    octaves: sizes, each 1.4 times the one before. strength: pixel values a step.
    options: as for `visualize`. recipe is "dream" where none is given, "dreamy", "bad-trip", or another recipe, which
        then starts from the photograph; steps are those of all octaves together; size is the longer side in pixels,
        the photograph's own where None.

    >>> import numpy as np
    >>> dream("tiny-vgg16", np.zeros((40, 60, 3), np.uint8), steps=2, octaves=1, progress=False).image.shape
    (40, 60, 3)
    """
    run = read_run(options)
    net = open_network(network)
    recipe = options.get("recipe", "dream")
    chosen = dream_recipe(
        recipe, octaves=octaves, strength=strength, steps=options.get("steps"), size=options.get("size"),
        settings=options.get("settings"),
    )  # fmt: skip
    named = recipe if isinstance(recipe, str) else recipe.name
    goal = dream_goal(net, layers=layers, target=target, guided=guide is not None, recipe=named)
    photographs = {"image": photograph_of(image)}
    if guide is not None:
        photographs["guide"] = photograph_of(guide)
    return drawn(net, [goal], chosen, photographs, run, options)[0]


def dream_recipe(
    recipe: str | Recipe,
    *,
    steps: int | None = None,
    octaves: int | None = None,
    strength: float | None = None,
    size: Size | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe of a dream, with settings changed."""
    chosen = photograph_recipe(recipe)
    if octaves is not None:
        chosen = chosen.model_copy(update={"stages": octave_stages(octaves)})
    chosen = get_recipe(chosen, steps=steps, size=size, settings=settings)
    return chosen if strength is None else chosen.changed({"optimizer.lr": strength})


def dream_goal(
    net: Network,
    *,
    layers: str | Sequence[str] | Mapping[str, float] | None = None,
    target: str | Objective | None = None,
    guided: bool = False,
    recipe: str = "dream",
) -> Objective:
    """What a dream ascends: layers by weight, guided or not, or a target."""
    if target is not None:
        if layers is not None or guided:
            raise ArgumentError(
                "a dream is of layers (with a guide or without) or of a target: give one of them"
            )
        return one_goal(net, target)
    weights = parse_layers(layers) if layers is not None else usual_layers(net, recipe)
    terms: list[tuple[float, WholeLayer | Likeness]] = [
        (float(weight), Likeness("guide", layer) if guided else WholeLayer(layer))
        for layer, weight in weights.items()
    ]
    goal = terms[0][1] if len(terms) == 1 and terms[0][0] > 0 else Sum(tuple(terms))
    return net.objectives(goal)[0]


def parse_layers(layers: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    """Layers and their weights from "LAYER=WEIGHT,LAYER", a list of such, or a mapping; a weight is 1 where none is given.

    >>> parse_layers("block4_conv1=0.05,block5_conv1")
    {'block4_conv1': 0.05, 'block5_conv1': 1.0}
    """
    if isinstance(layers, Mapping):
        found = {str(layer): float(weight) for layer, weight in layers.items()}
    else:
        texts = layer_names(layers)
        found = {}
        for item in (part.strip() for text in texts for part in text.split(",")):
            layer, sign, weight = item.partition("=")
            try:
                value = float(weight) if sign else 1.0
            except ValueError:
                raise ArgumentError(
                    f"a layer's weight is a number, as in {layer}=0.5 (got {item!r})"
                ) from None
            if not layer.strip():
                raise ArgumentError(f"layers are LAYER=WEIGHT,LAYER,... (got {layers!r})")
            if layer.strip() in found:
                raise ArgumentError(f"layer {layer.strip()!r} is named twice (got {layers!r})")
            found[layer.strip()] = value
    for layer, value in found.items():
        if not abs(value) < 1e9 or value == 0:
            raise ArgumentError(f"a layer's weight is a number other than 0 (got {layer}={value:g})")
    if not found:
        raise ArgumentError("a dream needs a layer: LAYER=WEIGHT,LAYER,...")
    return found
