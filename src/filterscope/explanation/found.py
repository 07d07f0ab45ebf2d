"""What an explanation found, as data: the photograph, the question, and for each layer its channels, groups and check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from filterscope.explanation.attribution import Attribution
from filterscope.explanation.evidence import Channel, Shape
from filterscope.explanation.goals import Question, Seen
from filterscope.explanation.groups import Group
from filterscope.explanation.removal import Removal
from filterscope.pictures.reading import Photograph

Key = tuple[str, int | str]
"""What a picture is of: a layer and a unit, or a layer and `group-1`."""


@dataclass(frozen=True, eq=False)
class LayerFound:
    """One layer: all channels' contributions (`attribution`), those that are shown, groups of channels, and the check.

    raising, lowering: the channels that raise and that lower the target's value most, strongest first. alone: whether no
        shortcut leads around the layer.
    """

    attribution: Attribution
    raising: tuple[Channel, ...]
    lowering: tuple[Channel, ...]
    groups: tuple[Group, ...]
    check: Removal
    alone: bool
    kind: str
    receptive_field: int | None

    @property
    def layer(self) -> str:
        """Its name."""
        return self.attribution.layer

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All that are shown."""
        return (*self.raising, *self.lowering)


@dataclass(frozen=True, eq=False)
class Found:
    """All that was found of one photograph.

    names: what the target, and the one against it, are called. value: of the question. shapes, examples: pictures and
    natural images by layer and unit, or layer and `group-1`.
    """

    network: str
    weights_sha256: str
    photograph: Photograph
    seen: Seen = field(repr=False)
    question: Question
    names: tuple[str, ...]
    value: float
    layers: tuple[LayerFound, ...] = field(repr=False)
    shapes: Mapping[Key, Shape] = field(repr=False)
    examples: Mapping[Key, list[Image.Image]] = field(repr=False)
    integrate: int | None = None
    seed: int = 0

    @property
    def title(self) -> str:
        """The target's name, or both."""
        return " rather than ".join(self.names)

    @property
    def contest(self) -> str:
        """The same within a sentence: what a channel raises or lowers."""
        return " over ".join(self.names)

    @property
    def stem(self) -> str:
        """The name of its files, without their endings."""
        return f"{self.photograph.name}-explain-{self.question.goal.stem}"
