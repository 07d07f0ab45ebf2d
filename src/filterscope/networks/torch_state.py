"""torch as filterscope needs it, whatever a person has set around the call: one state for all of our work.

Gradients on, no inference mode, no autocast, new tensors in float32 on the processor. All of it holds for this
thread and this call alone; nothing that other threads see is set.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

# What opens networks and reads weights sets what all threads of a process see: Keras' counters of names, torch's
# random numbers, which warnings are shown, sys.stdout. One thread does so at a time.
OPENING = threading.RLock()

P = ParamSpec("P")
T = TypeVar("T")
_DEVICES = ("cpu", "cuda", "mps", "xpu")

# what makes numbers of the default type whatever it is given, and what does so of some numbers
_MAKERS = {
    torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.eye, torch.linspace, torch.logspace,
    torch.fft.fftfreq, torch.fft.rfftfreq, torch.hann_window, torch.hamming_window, torch.blackman_window,
    torch.bartlett_window, torch.kaiser_window,
}  # fmt: skip
_MAKERS_OF_SOME = {
    torch.tensor,
    torch.as_tensor,
    torch.asarray,
    torch.full,
    torch.arange,
    torch.scalar_tensor,
}
_ASKED = {Tensor.to, Tensor.type, Tensor.double, Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.type_as}


class _Float32(TorchFunctionMode):
    """New tensors are float32 where a person's default type is another: set as a default, all threads would see it."""

    def __init__(self, default: torch.dtype):
        super().__init__()
        self.default = default

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _ASKED or kwargs.get("dtype") is not None or kwargs.get("out") is not None:
            return func(*args, **kwargs)
        if func in _MAKERS:
            return func(*args, **{**kwargs, "dtype": torch.float32})
        made = func(*args, **kwargs)
        given = tree_leaves((args, kwargs))
        asked = any(isinstance(v, np.ndarray | torch.dtype) for v in given)
        if asked or not any(map(self._is_default, tree_leaves(made))) or any(map(self._is_default, given)):
            return made  # where such numbers went in they may come out
        if func in _MAKERS_OF_SOME:  # again, since half precision has lost what float32 keeps
            return func(*args, **{**kwargs, "dtype": torch.float32})
        if any(map(_is_whole, given)):
            args, kwargs = tree_map(lambda v: v.float() if _is_whole(v) else v, (args, kwargs))
            return func(*args, **kwargs)
        return tree_map(lambda v: v.float() if self._is_default(v) else v, made)

    def _is_default(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype == self.default


class WithoutAutocast(TorchFunctionMode):
    """Inside, also where code of a person's own switches autocast on, each operation runs in the numbers it is given."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        on = [device for device in _DEVICES if torch.is_autocast_enabled(device)]
        for device in on:
            torch.set_autocast_enabled(device, False)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            for device in on:
                torch.set_autocast_enabled(device, True)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex()


@contextlib.contextmanager
def our_torch() -> Iterator[None]:
    """Inside: gradients on, no inference mode, no autocast, new tensors float32 on the processor."""
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(_Float32(torch.get_default_dtype()))
        yield


def in_our_torch(function: Callable[P, T]) -> Callable[P, T]:
    """A function that works in `our_torch`; of a generator each step, so that nothing holds between them."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def stepwise(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            steps = cast("Iterator[Any]", function(*args, **kwargs))
            try:
                while True:
                    with our_torch():
                        value = next(steps, _END)
                    if value is _END:
                        return
                    yield value
            finally:
                with our_torch():
                    steps.close()  # type: ignore[attr-defined]

        return cast("Callable[P, T]", stepwise)

    @functools.wraps(function)
    def whole(*args: P.args, **kwargs: P.kwargs) -> T:
        with our_torch():
            return function(*args, **kwargs)

    return whole


_END = object()
