"""Pictures, from noise, whose activations at a layer are those of a photograph: `invert` and `caricature`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from filterscope.drawing.run import Run
from filterscope.errors import TargetError
from filterscope.networks import Network, open_network
from filterscope.objective import Likeness, Objective
from filterscope.photographs.presets import named_recipe
from filterscope.photographs.sources import Source, drawn, layer_names, photograph_of
from filterscope.pictures import Picture, Sheet
from filterscope.progress import OnStep
from filterscope.recipe import Recipe, get_recipe
from filterscope.sides import Size


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
    goals = likeness_goals(net, preset, layer_names(layer))
    photographs = {"image": photograph_of(image)}
    pictures = drawn(net, goals, chosen, photographs, Run(seed, precision, device), progress, on_step)
    return pictures[0] if len(pictures) == 1 else Sheet(pictures)


def likeness_goals(net: Network, name: str, layers: Sequence[str]) -> list[Objective]:
    """What `invert` or `caricature` climbs, one goal a layer."""
    names = list(dict.fromkeys(layer.strip() for layer in layers))
    if not all(names) or not names:
        raise TargetError("name a layer, as in block3_conv1")
    how: Literal["match", "caricature"] = "match" if name == "invert" else "caricature"
    return [net.objectives(Likeness(how, layer))[0] for layer in names]
