"""How pictures are drawn, beside what they are of and by which recipe."""

from __future__ import annotations

from dataclasses import dataclass

from filterscope.errors import checked_seed
from filterscope.measure.scores import Measurers


@dataclass(frozen=True)
class Run:
    """seed: the same seed on the same machine gives the same picture; ArgumentError for anything but a whole number
    from 0 on. precision: "auto", "float32" or "bfloat16", of the network; the picture is float32 always. device:
    "auto" or a device of torch's, as "cpu".

    >>> Run(seed=3)
    Run(seed=3, precision='auto', device='auto')
    """

    seed: int = 0
    precision: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", checked_seed(self.seed))


@dataclass(frozen=True)
class Given:
    """What `draw` chooses or makes itself unless it is given.

    batch: how many pictures are drawn together. attempt: the restart whose noise to draw from, with the recipe as it
    stands, as a picture's record has both; None begins with the first noise and goes on from there where that fails.
    facet: the one of a unit's pictures to draw, where the recipe has no others beside it, as a restart's has not.
    measurers: what pictures are measured with, kept by whoever draws a layer in several calls.
    """

    batch: int | None = None
    attempt: int | None = None
    facet: int | None = None
    measurers: Measurers | None = None


USUAL = Run()
NOTHING = Given()
