"""From a photograph to the channels that led a network to its answer: `explain`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from PIL import Image

from filterscope.api import DrawingOptions, read_run
from filterscope.ascent.engine.prepare import choose_device
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, TargetError, explain_out_of_memory
from filterscope.explanation.attribution import attribute
from filterscope.explanation.behind import Behind
from filterscope.explanation.evidence import AtlasPictures, Shape, channel_of, strongest
from filterscope.explanation.examples import natural_examples
from filterscope.explanation.explained import Explanation
from filterscope.explanation.found import Key, LayerFound
from filterscope.explanation.goals import Question, Seen, is_class, named, read_question, see, value_of
from filterscope.explanation.groups import find_groups, import_nmf
from filterscope.explanation.layers import choose_layers, named_layers
from filterscope.explanation.removal import check_removal
from filterscope.networks import Network, open_network
from filterscope.networks.torch_state import in_our_torch
from filterscope.objective import Objective
from filterscope.photographs.sources import Source, photograph_of
from filterscope.pictures.reading import Photograph
from filterscope.progress import OnStep, progress_bar
from filterscope.recipe import AUTO, AutoRecipe, Recipe, ask_recipe
from filterscope.target import Target

COUNT = 4  # channels of a layer
EXAMPLES = 4  # natural images of a channel
# of the usual recipes, so that one explanation takes about a minute: EfficientNet-Lite0's hidden units by `robust` in 32
# steps at twice the rate show the same patterns as in 128, in a quarter of the time
QUICK = {"steps": 32, "optimizer.lr": 0.1}
MOST_STEPS = 1024  # of a path


@dataclass(frozen=True)
class _Asked:
    """What is asked of an explanation, checked."""

    count: int
    integrate: int | None
    groups: int | None
    recipe: Recipe | AutoRecipe
    run: Run
    pictures: bool

    def __post_init__(self) -> None:
        bounds = {"count": (1, 1000), "integrate": (2, MOST_STEPS), "groups": (1, 64)}
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not least <= value <= most):
                raise ArgumentError(f"{name} is a whole number from {least} to {most} (got {value!r})")
        if self.groups is not None:
            import_nmf()


@in_our_torch
@explain_out_of_memory()
def explain(
    network: Any,
    image: Source,
    target: str | Objective | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    against: str | Objective | None = None,
    count: int = COUNT,
    integrate: int | None = None,
    groups: int | None = None,
    atlas: str | os.PathLike[str] | None = None,
    pictures: bool = True,
    **options: Unpack[DrawingOptions],
) -> Explanation:
    """What in a photograph led a network to its answer, and through which channels.

    For each layer the channels that raised the target's value most, and those that lowered it: by the sum over space of
    activation times gradient (Olah et al. 2018). Each has its share, where in the photograph it is active and relevant, a
    picture of what excites it, and the natural images that excite it most where `find_examples` has looked them up. For each
    layer it is checked whether the target's value falls faster without these channels than without others.

    image: a picture file, a Pillow image or an array (H, W, 3); resized and cropped as `classify` does.
    target: "LAYER:UNIT", a class's name, or any target with a gradient; the most probable class where None.
    against: a second target: what is explained is how far the first is above it, the difference of their values.
    layers: names of layers before the target; by the rule in `explanation.layers` where None.
    count: channels of each layer that raise the target's value; half as many that lower it are added.
    integrate: take the mean gradient over so many steps from the layer at 0 to its activations (integrated gradients,
        Sundararajan et al. 2017) instead of the gradient at the photograph.
    groups: also so many groups of channels that are active together, by non-negative factors (extra: concepts).
    atlas: a folder or address of an atlas of this network, whose pictures and examples are taken; what it lacks is drawn.
    pictures: whether to draw; without it only what an atlas has is shown.
    options: as for `visualize`. Without a recipe it is "auto" in 32 steps, so that an explanation takes about a minute.

    Raises TargetError where no gradient leads from the target to a layer, or a target or layer is not there; ImageError for
    what is no picture; ArgumentError for other arguments.

    >>> import numpy as np
    >>> found = explain("tiny-vgg16", np.zeros((64, 64, 3), np.uint8), "goldfish", layers="block5_conv3", pictures=False)
    >>> str(found.question.goal), len(found.layers[0].raising)
    ('predictions:0', 4)
    """
    run, net = read_run(options), open_network(network)
    asked = _Asked(count, integrate, groups, _recipe(options), run, pictures)
    photograph = photograph_of(image)
    seen = see(net, photograph, choose_device(run.device))
    question = read_question(net, seen, target, against)
    chosen = None if layers is None else named_layers(net, layers, question.goal)
    net.probe(question.goal.layers)  # reads the weights, by whose hash an atlas is known
    known = None if atlas is None else AtlasPictures(atlas, net)
    looked: dict[str, LayerFound] = {}

    def works(layer: str) -> bool:
        with contextlib.suppress(TargetError):  # the next one is asked
            looked[layer] = _at_layer(net, seen, question, layer, asked)
        return layer in looked

    if chosen is None:
        chosen = choose_layers(net, question.goal, known.layers if known else (), works=works)
    found = tuple(looked.get(layer) or _at_layer(net, seen, question, layer, asked) for layer in chosen)
    with progress_bar(options.get("progress", True), also=options.get("on_step")) as bar:
        shapes = _shapes(net, found, known, asked, bar)
    both = (question.target, question.against)
    return Explanation(
        network=net.name, weights_sha256=net.weights.sha256, photograph=photograph, seen=seen, question=question,
        names=tuple(named(net, seen, one) for one in both if one is not None), value=found[0].attribution.value,
        layers=found, shapes=shapes, examples=_examples(net, found, known, photograph), integrate=integrate, seed=run.seed,
    )  # fmt: skip


def _at_layer(net: Network, seen: Seen, question: Question, layer: str, asked: _Asked) -> LayerFound:
    """What the channels of one layer contributed."""
    goal, row = question.goal, net.layer(layer)
    classes = _voted(net, seen, question)
    ends = list(dict.fromkeys([*goal.layers, *([str(seen.layer)] if classes else [])]))
    behind, value = Behind(net, layer, ends, seen.pixels), value_of(goal)
    found = attribute(behind, value, steps=asked.integrate)
    votes = {}
    for name, one in classes.items():
        with contextlib.suppress(TargetError):  # a class that nothing at this layer has an effect on
            votes[name] = attribute(behind, value_of(one), steps=asked.integrate)
    raising, lowering = strongest(found, asked.count)
    groups = find_groups(found, asked.groups, seed=asked.run.seed) if asked.groups else []
    return LayerFound(
        attribution=found, raising=tuple(channel_of(found, unit, votes) for unit in raising),
        lowering=tuple(channel_of(found, unit, votes) for unit in lowering), groups=tuple(groups),
        check=check_removal(behind, value, found.contributions, seed=asked.run.seed), alone=behind.alone, kind=row.kind,
        receptive_field=row.receptive_field,
    )  # fmt: skip


def _voted(net: Network, seen: Seen, question: Question) -> dict[str, Objective]:
    """The classes whose logits each channel is shown to change, by name: those asked about, then the most probable."""
    asked = [one for one in (question.target, question.against) if one is not None and is_class(seen, one)]
    guesses = seen.classes if asked else ()
    probable = {guess.name: Target(str(seen.layer), guess.unit) for guess in guesses}
    return {**{named(net, seen, one): one for one in asked}, **probable}


def _shapes(
    net: Network, found: Sequence[LayerFound], known: AtlasPictures | None, asked: _Asked, on_step: OnStep
) -> dict[Key, Shape]:
    """The pictures of all channels and groups that are shown: those of the atlas, and the rest drawn now."""
    shapes: dict[Key, Shape] = {}
    wanted: dict[Key, Objective] = {}
    for layer in found:
        for channel in layer.channels:
            key: Key = (channel.layer, channel.unit)
            if known is not None and (taken := known.shape(channel)) is not None:
                shapes[key] = taken
            else:
                wanted[key] = channel.goal
        wanted |= {(group.layer, f"group-{group.number}"): group.direction for group in layer.groups}
    if asked.pictures and wanted:
        for picture in draw(
            net, list(dict.fromkeys(wanted.values())), asked.recipe, asked.run, on_step=on_step
        ):
            for own in (own for own, goal in wanted.items() if goal == picture.target):
                shapes.setdefault(own, Shape.drawn(picture))  # of several facets the first
    return shapes


def _examples(
    net: Network, found: Sequence[LayerFound], known: AtlasPictures | None, photograph: Photograph
) -> dict[Key, list[Image.Image]]:
    """The natural images that excite each shown channel most: the atlas' own, or those that `find_examples` looked up."""
    examples: dict[Key, list[Image.Image]] = {}
    for layer in found:
        units = [channel.unit for channel in layer.channels if not channel.below]
        own = (
            {unit: known.examples(layer.layer, unit, but=photograph)[:EXAMPLES] for unit in units}
            if known
            else {}
        )
        missing = [unit for unit in units if not own.get(unit)]
        cached = natural_examples(net, layer.layer, missing, EXAMPLES, but=photograph)
        examples |= {(layer.layer, unit): images for unit, images in (own | cached).items() if images}
    return examples


def _recipe(options: DrawingOptions) -> Recipe | AutoRecipe:
    """The recipe that was asked for; where none is named, the usual ones in few steps."""
    recipe, steps = options.get("recipe", AUTO), options.get("steps")
    settings: Mapping[str, Any] = options.get("settings") or {}
    if recipe == AUTO and steps is None:
        return ask_recipe(recipe, size=options.get("size"), settings={**QUICK, **settings})
    return ask_recipe(recipe, steps=steps, size=options.get("size"), settings=settings)
