"""A bar for long work: steps, activation, time left."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from filterscope.objective import Objective
from filterscope.recipe import Recipe


@dataclass(frozen=True)
class Step:
    """How far the work is: `done` of `total` steps of all pictures.

    `step` counts from 1 within the batch that is being drawn, whose activations are `activations` (B,), on the device
    that draws it, and their mean is `activation`: on a GPU, to read either waits for the step. `images` gives the
    batch's pictures so far, (B, C, H, W) in pixel values, computed only when asked for. `attempt` counts
    restarts of units whose first picture failed, whose steps add nothing to `done`. `first` is the batch's first
    picture among all, and `recipe` what the batch is drawn with.
    """

    done: int
    total: int
    target: Objective
    step: int = 0
    activations: Any = None
    images: Callable[[], Any] | None = None
    attempt: int = 0
    first: int = 0
    recipe: Recipe | None = None

    @property
    def activation(self) -> float:
        """The mean activation of the batch now."""
        return float("nan") if self.activations is None else float(self.activations.mean())


OnStep = Callable[[Step], None]


@contextlib.contextmanager
def progress_bar(shown: bool | None = None, *, also: OnStep | None = None) -> Iterator[OnStep]:
    """A callback that moves a bar on standard error (or in the notebook); None shows it on a terminal only.

    also: called after every step too.
    """
    from tqdm.auto import tqdm

    bar: Any = None
    shown_at = -math.inf

    def on_step(step: Step) -> None:
        nonlocal bar, shown_at
        if also is not None:
            also(step)
        if bar is None:
            bar = tqdm(
                total=step.total, unit="step", disable=None if shown is None else not shown, leave=False
            )
        now = time.monotonic()
        if not bar.disable and now - shown_at >= bar.mininterval:  # to read an activation waits for a GPU
            bar.set_description(step.target.layers[0], refresh=False)
            bar.set_postfix_str(f"activation {step.activation:.4g}", refresh=False)
            shown_at = now
        bar.update(step.done - bar.n)

    try:
        yield on_step
    finally:
        if bar is not None:
            bar.close()
