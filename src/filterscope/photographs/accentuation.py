"""A photograph changed so that it excites a unit more, and stays near: `accentuate`."""

from __future__ import annotations

from typing import Any, Unpack

from filterscope.api import DrawingOptions, read_recipe, read_run
from filterscope.ascent.engine.prepare import choose_device
from filterscope.errors import ArgumentError, TargetError
from filterscope.measure.natural import natural_best
from filterscope.measure.scores import Measurers
from filterscope.networks import Network, open_network
from filterscope.objective import Likeness, Objective
from filterscope.photographs.presets import photograph_recipe
from filterscope.photographs.sources import Source, drawn, one_goal, photograph_of
from filterscope.pictures import Picture
from filterscope.pictures.reading import Photograph, read_photograph
from filterscope.sides import sides_of
from filterscope.target import Sum, Target

KEEP = 1.0  # how much accentuate keeps of the photograph, against an activation as of the best natural image


def accentuate(
    network: Any,
    image: Source,
    target: str | Objective,
    *,
    keep: float = KEEP,
    keep_layer: str | None = None,
    **options: Unpack[DrawingOptions],
) -> Picture:
    """Which feature of the photograph a unit responds to: the photograph, changed so that it excites the unit more, and
    kept near the photograph in an earlier layer's activations (Hamblin et al. 2024, "Feature Accentuation").

    keep: how much nearness weighs: that of a photograph's whole square against the activation of the unit's best
        natural image (or, where none is known, the photograph's own). keep_layer: the layer that is kept; about a
        third of the way to the unit where None. recipe: "accentuate" where none is given. Else as for `dream`.

    >>> import numpy as np
    >>> photograph = np.zeros((40, 60, 3), np.uint8)
    >>> accentuate("tiny-vgg16", photograph, "block3_conv1:30", steps=1, progress=False).image.shape
    (40, 60, 3)
    """
    run = read_run(options)
    net = open_network(network)
    chosen = read_recipe(options, photograph_recipe(options.get("recipe", "accentuate")))
    photograph = photograph_of(image)
    goal = accentuate_goal(
        net, one_goal(net, target), photograph, keep=keep, keep_layer=keep_layer, device=run.device
    )
    return drawn(net, [goal], chosen, {"image": photograph}, run, options)[0]


def accentuate_goal(
    net: Network,
    goal: Objective,
    photograph: Photograph,
    *,
    keep: float = KEEP,
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
