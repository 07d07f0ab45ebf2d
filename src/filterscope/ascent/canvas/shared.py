"""Pictures with a part in common: the frames of what lies between two objectives, so that they align.

lucid's aligned interpolation (Mordvintsev et al. 2018, "Differentiable Image Parameterizations") adds to each frame's own
parameters some that all frames share, and some that are interpolated between the first frame and the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from filterscope.ascent.canvas.canvas import Canvas
from filterscope.objective import Between, Objective
from filterscope.sides import Sides

WEIGHT = 0.5  # of the shared rows: all rows move at one rate, and a frame moves by their sum
PARTS = 3  # that frames share: one of all, one of the first, one of the last


class SharedCanvas:
    """Each picture is its own row of parameters plus a mixture of shared rows.

    rows: a canvas of all rows, the pictures' own (B) and behind them the shared ones (S). mix: (B, S).
    """

    def __init__(self, rows: Canvas, mix: Tensor):
        self.rows, self.mix, self.parameters = rows, mix, rows.parameters

    @classmethod
    def start(cls, rows: Canvas, goals: Sequence[Objective]) -> SharedCanvas:
        """From a canvas whose last rows become the shared ones, which are 0 at first."""
        mix = mixture(goals).to(rows.parameters.device)
        with torch.no_grad():
            rows.parameters[len(goals) :] = 0
        return cls(rows, mix)

    def pixels(self) -> Tensor:
        self.rows.parameters = self._mixed()
        try:
            return self.rows.pixels()
        finally:
            self.rows.parameters = self.parameters

    def resized(self, size: Sides) -> SharedCanvas:
        return SharedCanvas(self.rows.resized(size), self.mix)

    def to(self, device: torch.device) -> SharedCanvas:
        return SharedCanvas(self.rows.to(device), self.mix.to(device))

    @property
    def networks(self) -> Tensor | None:
        """What each picture is drawn from at any other size, where the pictures are networks of coordinates."""
        return None if getattr(self.rows, "networks", None) is None else self._mixed().detach()

    def _mixed(self) -> Tensor:
        own, shared = self.parameters[: len(self.mix)], self.parameters[len(self.mix) :]
        return own + (self.mix @ shared.flatten(1)).view_as(own)


def mixture(goals: Sequence[Objective]) -> Tensor:
    """How much of each shared row each frame has, (B, S): of the first as much as all others, of the next two by how near
    it is to the beginning and to the end.

    >>> from filterscope.target import Target
    >>> mixture(Between.frames_of(Target("conv", 1), Target("conv", 2), 3)).tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0.5, 0.0, 0.5]]
    """
    shares = [goal.share for goal in goals if isinstance(goal, Between)]
    return WEIGHT * torch.tensor([(1.0, 1 - share, share) for share in shares])


def are_frames(goals: Sequence[Objective]) -> bool:
    """Whether a batch is frames of what lies between two objectives."""
    return all(isinstance(goal, Between) for goal in goals)
