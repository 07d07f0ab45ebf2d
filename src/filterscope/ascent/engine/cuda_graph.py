"""A network's steps on a CUDA GPU replayed as one graph, where starting its many small kernels takes the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

QUICK = (
    0.010  # seconds: a network's forward pass beyond this keeps a GPU busy however its kernels are started
)
EAGER = 3  # calls of one shape before it is captured: a step or two alone would not pay for the warm-up

log = logging.getLogger("filterscope")
Run = Callable[[Tensor], tuple[Tensor, ...]]


class Captured:
    """A function from pictures to a tuple of tensors, replayed with its gradient from a CUDA graph once the same
    shape has come `EAGER` times and takes less than `QUICK`; the function itself anywhere else, and for good where
    it cannot be captured. The tensors that it gives are overwritten by the next call.
    """

    def __init__(self, run: Run):
        self.run = run
        self.counts: dict[torch.Size, int] = {}
        self.replays: dict[torch.Size, Run] = {}
        self.able = True

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self.able or x.device.type != "cuda" or not (x.requires_grad and torch.is_grad_enabled()):
            return self.run(x)
        if x.shape in self.replays:
            return self.replays[x.shape](x)
        self.counts[x.shape] = self.counts.get(x.shape, 0) + 1
        if self.counts[x.shape] == EAGER and self._seconds(x) < QUICK:
            self._capture(x)
        return self.replays.get(x.shape, self.run)(x)

    def _seconds(self, x: Tensor) -> float:
        torch.cuda.synchronize(x.device)
        began = time.perf_counter()
        self.run(x)
        torch.cuda.synchronize(x.device)
        return time.perf_counter() - began

    def _capture(self, x: Tensor) -> None:
        sample = torch.empty_like(x).copy_(x.detach()).requires_grad_()
        try:
            # a function, not the module itself, whose forward would become the replay for every call and shape
            replay = torch.cuda.make_graphed_callables(
                cast("Callable[..., object]", lambda pictures: self.run(pictures)), (sample,)
            )
        except (RuntimeError, TypeError, ValueError) as error:
            log.info("the network's steps are not captured as a CUDA graph: %s", error)
            self.able = False
            return
        self.replays[x.shape] = cast(Run, replay)
        log.info("steps of %s are replayed as a CUDA graph", tuple(x.shape))
