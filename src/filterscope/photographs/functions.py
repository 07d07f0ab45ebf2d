"""What a notebook calls: dream, invert, caricature, accentuate."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from filterscope.ascent.engine.prepare import choose_device
from filterscope.drawing.draw import Photographs, draw
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, TargetError
from filterscope.measure.natural import natural_best
from filterscope.measure.scores import Measurers
from filterscope.networks import Network, open_network
from filterscope.objective import Likeness, Objective, WholeLayer
from filterscope.photographs.presets import octaves as octave_stages
from filterscope.photographs.presets import photograph_recipe, usual_layers
from filterscope.pictures import Picture, Sheet
from filterscope.pictures.reading import Photograph, read_photograph
from filterscope.progress import OnStep, progress_bar
from filterscope.recipe import Recipe, get_recipe
from filterscope.sides import Size, sides_of
from filterscope.target import Sum, Target

Source: TypeAlias = Any  # a file's path, a Pillow image, an array (H, W, 3), or a Photograph
KEPT = 1.0  # how much accentuate keeps of the photograph, against an activation as of the best natural image


def dream(
    network: Any,
    image: Source,
    *,
    layers: str | Sequence[str] | Mapping[str, float] | None = None,
    target: str | Objective | None = None,
    guide: Source | None = None,
    recipe: str | Recipe = "dream",
    steps: int | None = None,
    octaves: int | None = None,
    strength: float | None = None,
    size: Size | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
    on_step: OnStep | None = None,
) -> Picture:
    """Deep Dream: a photograph that ever more shows what the network sees in it (Mordvintsev et al. 2015).

    network: a name, file or model (see `open_network`), or an opened Network.
    image: a picture file, a Pillow image or an array (H, W, 3); its aspect is kept, its colours are taken as sRGB.
    layers: whose excitation grows: "LAYER", "LAYER=WEIGHT,LAYER", a list, or a dict of weights. Without any, those
        of the recipe, where the network has VGG16's layers.
    target: one unit, class or sum instead of whole layers, as "predictions:goldfish".
    guide: a second photograph; the layers' features then grow towards those that the guide has somewhere.
    recipe: "dream", "dreamy", "bad-trip", or another recipe, which then starts from the photograph.
    steps: in all octaves together. octaves: sizes, each 1.4 times the one before. strength: pixel values a step.
    size: the longer side in pixels; the photograph's own where None.

    >>> import numpy as np
    >>> dream("tiny-vgg16", np.zeros((40, 60, 3), np.uint8), steps=2, octaves=1, progress=False).image.shape
    (40, 60, 3)
    """
    net = open_network(network)
    chosen = dream_recipe(
        recipe, steps=steps, octaves=octaves, strength=strength, size=size, settings=settings
    )
    named = recipe if isinstance(recipe, str) else recipe.name
    goal = dream_goal(net, layers=layers, target=target, guided=guide is not None, recipe=named)
    photographs = {"image": _photograph(image)}
    if guide is not None:
        photographs["guide"] = _photograph(guide)
    run = Run(seed, precision, device)
    return _drawn(net, [goal], chosen, photographs, run, progress, on_step)[0]


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
    """What a dream climbs: layers by weight, guided or not, or a target."""
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
    """Layers and their weights from "LAYER=WEIGHT,LAYER", a list of such, or a mapping; a weight is 1 if not told.

    >>> parse_layers("block4_conv1=0.05,block5_conv1")
    {'block4_conv1': 0.05, 'block5_conv1': 1.0}
    """
    if isinstance(layers, Mapping):
        found = {str(layer): float(weight) for layer, weight in layers.items()}
    else:
        texts = _texts(layers)
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


def _texts(layers: object) -> list[str]:
    texts = [layers] if isinstance(layers, str) else layers
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ArgumentError(f"layers are named by text, as in block3_conv1 (got {layers!r})")
    return list(texts)


def invert(network: Any, image: Source, layer: str | Sequence[str], **settings: Any) -> Picture | Sheet:
    """What a layer keeps of a photograph: a picture, from noise, of which it says the same (Mahendran and Vedaldi 2015).

    layer: one, or several for a Sheet. The activation of such a picture is minus the squared distance of what the
    layer says of both, over the photograph's own square: 0 is no difference, -1 is as far as grey is.
    settings: steps, size (longer side; at most 224 px where None), seed, precision, device, recipe, settings,
    progress, on_step, as for `dream`.
    """
    return _likenesses("invert", network, image, layer, **settings)


def caricature(network: Any, image: Source, layer: str | Sequence[str], **settings: Any) -> Picture | Sheet:
    """What a layer notices in a photograph, exaggerated: a picture, from noise, of which it says the same, and
    louder. Arguments as for `invert`.
    """
    return _likenesses("caricature", network, image, layer, **settings)


def _likenesses(
    preset: str,
    network: Any,
    image: Source,
    layer: str | Sequence[str],
    *,
    recipe: str | Recipe | None = None,
    steps: int | None = None,
    size: Size | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
    on_step: OnStep | None = None,
) -> Picture | Sheet:
    net = open_network(network)
    chosen = get_recipe(named_recipe(recipe or preset), steps=steps, size=size, settings=settings)
    goals = likeness_goals(net, preset, _texts(layer))
    photographs = {"image": _photograph(image)}
    pictures = _drawn(net, goals, chosen, photographs, Run(seed, precision, device), progress, on_step)
    return pictures[0] if len(pictures) == 1 else Sheet(pictures)


def likeness_goals(net: Network, name: str, layers: Sequence[str]) -> list[Objective]:
    """What `invert` or `caricature` climbs, one goal a layer."""
    names = list(dict.fromkeys(layer.strip() for layer in layers))
    if not all(names) or not names:
        raise TargetError("name a layer, as in block3_conv1")
    how: Literal["match", "caricature"] = "match" if name == "invert" else "caricature"
    return [net.objectives(Likeness(how, layer))[0] for layer in names]


def named_recipe(recipe: str | Recipe) -> Recipe:
    """A recipe by name, of a photograph's or of the others as they are."""
    from filterscope.recipe import ALIASES, PRESETS

    if isinstance(recipe, str) and (recipe in PRESETS or recipe in ALIASES):
        return get_recipe(recipe)
    return photograph_recipe(recipe)


def accentuate(
    network: Any,
    image: Source,
    target: str | Objective,
    *,
    keep: float = KEPT,
    keep_layer: str | None = None,
    recipe: str | Recipe = "accentuate",
    steps: int | None = None,
    size: Size | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
    on_step: OnStep | None = None,
) -> Picture:
    """Which feature of the photograph a unit sees: the photograph, changed so that it excites the unit more, and
    kept near the photograph in what an earlier layer says of it (Hamblin et al. 2024, "Feature Accentuation").

    keep: how much nearness weighs: that of a photograph's whole square against the activation of the unit's best
        natural image (or, where none is known, the photograph's own). keep_layer: the layer that is kept; about a
        third of the way to the unit where None. Else as for `dream`.
    """
    net = open_network(network)
    chosen = get_recipe(photograph_recipe(recipe), steps=steps, size=size, settings=settings)
    photograph = _photograph(image)
    goal = accentuate_goal(
        net, one_goal(net, target), photograph, keep=keep, keep_layer=keep_layer, device=device
    )
    run = Run(seed, precision, device)
    return _drawn(net, [goal], chosen, {"image": photograph}, run, progress, on_step)[0]


def accentuate_goal(
    net: Network,
    goal: Objective,
    photograph: Photograph,
    *,
    keep: float = KEPT,
    keep_layer: str | None = None,
    device: str = "auto",
) -> Objective:
    """The unit over its usual activation, and `keep` times the match with the photograph at an earlier layer."""
    if not isinstance(goal, Target):
        raise TargetError(f"accentuate takes one unit, LAYER:UNIT (got {goal})")
    if not isinstance(keep, int | float) or not 0 <= keep < 1e9:
        raise ArgumentError(f"keep is 0 or more (got {keep})")
    usual = natural_best(net, [goal])[0]
    if not usual or usual < 0:
        height, width = sides_of(net.input.size)
        pixels = read_photograph(photograph.image.resize((width, height))).pixels(net.input.channels)
        measurer = Measurers(net, choose_device(device), best={}).of([Target(goal.layer, goal.unit)])
        usual = abs(measurer.measured(pixels[None]).activations[0])
    weight = float(f"{1 / usual:.4g}") if usual else 1.0
    terms: list[tuple[float, Objective]] = [(weight, goal)]
    if keep:
        terms.append((keep, Likeness("match", keep_layer or _third(net, goal.layer))))
    return net.objectives(Sum(tuple(terms)))[0]


def _third(net: Network, layer: str) -> str:
    """A layer about a third of the way to another, after an activation where there is one."""
    before = list(net.layers)[: list(net.layers).index(layer)]
    maps = [n for n in before if net.layers[n].spatial and net.layers[n].parameters and net.layers[n].trained]
    if not maps:
        raise TargetError(f"{layer} has no earlier layer to keep a photograph by: pass keep=0 or name one")
    return maps[len(maps) // 3]


def one_goal(net: Network, target: str | Objective) -> Objective:
    """The one objective that a text means; TargetError where it means several."""
    goals = net.objectives(target)
    if len(goals) != 1:
        raise TargetError(f"one target at a time: LAYER:UNIT (got {target}, which is {len(goals)})")
    return goals[0]


def _photograph(source: Source) -> Photograph:
    if isinstance(source, Photograph):
        return source
    return read_photograph(source if not isinstance(source, os.PathLike) else os.fspath(source))


def _drawn(
    net: Network,
    goals: Sequence[Objective],
    recipe: Recipe,
    photographs: Photographs,
    run: Run,
    progress: bool,
    on_step: OnStep | None,
) -> list[Picture]:
    with progress_bar(progress, also=on_step) as bar:
        return list(draw(net, goals, recipe, run, photographs=photographs, on_step=bar))
