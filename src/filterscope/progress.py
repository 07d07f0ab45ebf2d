"""A bar for long work: steps, activation, time left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from filterscope.objective import Objective
from filterscope.recipe import Recipe


@dataclass(frozen=True)
class Step:
    """How far the work is: `done` of `total` steps of all pictures, and the mean activation now.

    `step` counts from 1 within the batch that is being drawn, whose activations are `activations` (B,);
    `images` gives its pictures so far, (B, C, H, W) in pixel values, computed only when asked for. `attempt` counts
    restarts of units whose first picture failed, whose steps add nothing to `done`. `first` is the batch's first
    picture among all, and `recipe` what the batch is drawn with.
    """

    done: int
    total: int
    target: Objective
    activation: float
    step: int = 0
    activations: Any = None
    images: Callable[[], Any] | None = None
    attempt: int = 0
    first: int = 0
    recipe: Recipe | None = None


OnStep = Callable[[Step], None]


@contextlib.contextmanager
def progress_bar(shown: bool | None = None, *, also: OnStep | None = None) -> Iterator[OnStep]:
    """A callback that moves a bar on standard error (or in the notebook); None shows it on a terminal only.

    also: called after every step too.
    """
    from tqdm.auto import tqdm

    bar: Any = None

    def on_step(step: Step) -> None:
        nonlocal bar
        if also is not None:
            also(step)
        if bar is None:
            bar = tqdm(
                total=step.total, unit="step", disable=None if shown is None else not shown, leave=False
            )
        bar.set_description(step.target.layers[0], refresh=False)
        bar.set_postfix_str(f"activation {step.activation:.4g}", refresh=False)
        bar.update(step.done - bar.n)

    try:
        yield on_step
    finally:
        if bar is not None:
            bar.close()
