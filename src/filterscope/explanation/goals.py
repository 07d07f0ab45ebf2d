"""What is explained of a photograph: the class that the network names, a target, or how far one is above another."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from filterscope.ascent.objectives import activation
from filterscope.errors import ArgumentError, TargetError, did_you_mean
from filterscope.explanation.attribution import Value
from filterscope.measure.classify import Guess, class_layer
from filterscope.networks import Network
from filterscope.networks.layer import Taps
from filterscope.objective import Objective, roles
from filterscope.pictures.reading import Photograph, mode_of, pixels_of
from filterscope.selection import name_key
from filterscope.target import Target

TOP = 5  # classes that are listed of a photograph


@dataclass(frozen=True)
class Seen:
    """A photograph as a network takes it: `pixels` (1, C, H, W) in 0 to 255, `image` the same for a person, `classes` the
    most probable ones, none where the network has no classes; `layer` is theirs, `probabilities` (classes,)."""

    pixels: Tensor
    image: Image.Image
    classes: tuple[Guess, ...] = ()
    layer: str | None = None
    probabilities: Tensor | None = None

    def probability(self, goal: Objective) -> float | None:
        """Of a class; None of anything else."""
        if self.probabilities is None or not isinstance(goal, Target) or goal.layer != self.layer:
            return None
        return float(self.probabilities[goal.unit])


def see(network: Network, photograph: Photograph, device: torch.device) -> Seen:
    """The photograph resized and cropped as `classify` does, and what the network names in it.

    ImageError where the network takes neither colours nor grey.
    """
    mode_of(network.input.channels, network.name)
    pixels = pixels_of(photograph.image, network.input)[None]
    shown = pixels[0].permute(1, 2, 0).round().to(torch.uint8).numpy()
    image = Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown)
    try:
        layer = class_layer(network)
    except ArgumentError:
        return Seen(pixels.to(device), image)
    part = network.part(layer, softmax=True).eval().to(device)
    with torch.no_grad():
        softmax = part(network.input.preprocess(pixels.to(device))).softmax
    best, names = softmax[0].topk(min(TOP, softmax.shape[1])), network.class_names(layer)
    found = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    guesses = (Guess(i, names[i][0] if names else f"class {i}", p) for p, i in found)
    return Seen(pixels.to(device), image, tuple(guesses), layer, softmax[0])


@dataclass(frozen=True)
class Question:
    """What is explained: a target's value or, with `against`, how far it is above a second target's."""

    target: Objective
    against: Objective | None = None

    @property
    def goal(self) -> Objective:
        """It as one objective."""
        return self.target if self.against is None else self.target - self.against


def read_question(
    network: Network, seen: Seen, target: str | Objective | None, against: str | Objective | None
) -> Question:
    """What is asked; the most probable class where there is no target.

    Raises TargetError for what is several targets, needs another photograph, or is the same twice; ArgumentError where there
    is no target and the network has no classes.
    """
    if target is None:
        if seen.layer is None:
            raise ArgumentError(f"{network.name} ends in no classes: say what to explain, as LAYER:UNIT")
        first: Objective = Target(seen.layer, seen.classes[0].unit)
    else:
        first = one_of(network, target)
    second = None if against is None else one_of(network, against)
    if second is not None and str(first) == str(second):
        raise TargetError(
            f"{named(network, seen, first)} stands against itself: name two different targets (got {first} twice)"
        )
    return Question(first, second)


def is_class(seen: Seen, goal: Objective) -> bool:
    """Whether a goal is one of the network's classes."""
    return isinstance(goal, Target) and seen.layer is not None and goal.layer == seen.layer


def one_of(network: Network, target: str | Objective) -> Objective:
    """The one objective that a text means; a class's bare name is that class."""
    if isinstance(target, str):
        target = _class_of(network, target) or target
    goals = network.objectives(target)
    if len(goals) != 1:
        raise TargetError(
            f"one target at a time: LAYER:UNIT or a class's name (got {target}, which is {len(goals)})"
        )
    if roles(goals[0]):
        raise TargetError(
            f"{goals[0]} compares with another photograph: explain a unit, a class, a direction or a sum of these"
        )
    return goals[0]


def named(network: Network, seen: Seen, goal: Objective) -> str:
    """A class by its name, or its number where it has none; anything else as text."""
    unit = f"class {goal.unit}" if isinstance(goal, Target) and is_class(seen, goal) else str(goal)
    return network.class_name(goal) or unit


def value_of(goal: Objective) -> Value:
    """What computes the goal's value from its layers' outputs: of a class its logit, of a channel its mean over space."""

    def value(outputs: dict[str, Tensor]) -> Tensor:
        taps = {layer: Taps(out, out, None) for layer, out in outputs.items()}
        count = len(next(iter(outputs.values())))
        return activation(taps, [goal] * count)

    return value


def _class_of(network: Network, text: str) -> Target | None:
    """The class that a bare text names; None for a text of another form, which the target grammar reads. TargetError where
    it is the name of neither a class nor a layer."""
    if text in network.layers or text in network.tokens or re.search(r"[:(*+]", text):
        return None
    try:
        layer = class_layer(network)
    except ArgumentError:
        return None
    names = [name for own in network.class_names(layer) for name in own]
    if not names:
        return None
    if name_key(text) not in {*map(name_key, names)}:
        near = did_you_mean(name_key(text), [*names, *network.layers])
        raise TargetError(f"{network.name} has neither a class nor a layer {text!r}{near}")
    return network.targets(f"{layer}:{text}")[0]
