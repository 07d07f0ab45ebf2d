"""Small constants as tensors, sent to a device once: a copy from ordinary memory waits for all work before it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def held(values: tuple[Any, ...], like: Tensor) -> Tensor:
    """Numbers, or tuples of numbers, as a tensor of the number type of `like` and on its device.

    >>> held((1.0, 2.0), torch.zeros(3))
    tensor([1., 2.])
    """
    if like.device.type in ("cpu", "meta"):  # nothing is sent
        return like.new_tensor(values)
    return _sent(values, like.dtype, like.device)


@lru_cache(maxsize=128)
def _sent(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)
