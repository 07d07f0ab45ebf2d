"""Random numbers in a forward pass: noticed when a network is opened, and the same ones whenever it runs."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

_ALONE = threading.RLock()  # the numbers are those of the whole process: one pass draws at a time


class Numbers:
    """The states of all random numbers that a module's code can draw: torch's, NumPy's, Python's, generators of its own."""

    def __init__(self, module: nn.Module):
        self.generators = _generators(module)
        started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self.devices = list(range(torch.cuda.device_count())) if started else []
        self.state = self._read()

    def _read(self) -> list[Any]:
        numpys: Any = np.random.get_state()
        return [
            torch.get_rng_state(), random.getstate(), (numpys[0], numpys[1].tobytes(), *numpys[2:]),
            *(torch.cuda.get_rng_state(d) for d in self.devices), *(g.get_state() for g in self.generators),
        ]  # fmt: skip

    def changed(self) -> bool:
        """Whether any was drawn since."""
        return any(not _same(a, b) for a, b in zip(self.state, self._read(), strict=True))

    def restore(self) -> None:
        """As they were."""
        numpys, cuda = self.state[2], self.state[3 : 3 + len(self.devices)]
        torch.set_rng_state(self.state[0])
        random.setstate(self.state[1])
        keys = np.frombuffer(numpys[1], dtype=np.uint32)
        np.random.set_state((numpys[0], keys, *numpys[2:]))
        for device, state in zip(self.devices, cuda, strict=True):
            torch.cuda.set_rng_state(state, device)
        for generator, state in zip(self.generators, self.state[3 + len(self.devices) :], strict=True):
            generator.set_state(state)


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def _generators(module: nn.Module) -> list[torch.Generator]:
    values = [value for part in module.modules() for value in vars(part).values()]
    return [value for value in values if isinstance(value, torch.Generator)]


@contextlib.contextmanager
def watched(module: nn.Module) -> Iterator[Numbers]:
    """Inside the module runs; of what is given one can ask whether it drew numbers. Afterwards they are as before."""
    with _ALONE:
        numbers = Numbers(module)
        try:
            yield numbers
        finally:
            numbers.restore()


@contextlib.contextmanager
def same_numbers(module: nn.Module) -> Iterator[None]:
    """Inside random numbers begin at the same place every time; afterwards they are as before."""
    with watched(module) as numbers:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        for generator in numbers.generators:
            generator.manual_seed(0)
        yield
