"""What another network sees in a class picture: the class's rank among its own classes, as `show --judge` has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from filterscope.measure.classify import class_layer
from filterscope.measure.judge import Judge as Opened
from filterscope.measure.judge import rank
from filterscope.networks import Network


@dataclass(frozen=True)
class Judge:
    """A network that names pictures; `rows` holds for each class of the judged network its own class, or None."""

    judge: Opened
    rows: Sequence[int | None]

    @classmethod
    def of(cls, judge: Network, judged: Network) -> Judge:
        """Classes that share a name or WordNet id are the same; a judge without names has the same classes in order."""
        opened = Opened(judge)
        rows = opened.places(judged, class_layer(judged))
        if not any(row is not None for row in rows):
            raise SystemExit(f"{judge.name} knows none of the {len(rows)} classes of {judged.name}")
        return cls(opened, rows)

    def rank(self, image: np.ndarray, unit: int) -> int | None:
        """1 where the judge names the picture, resized to the judge's own size, by the class of `unit`."""
        row = self.rows[unit]
        if row is None:
            return None
        return rank(self.judge.look([Image.fromarray(image)]).output[0], row)
