"""A training that goes on bit for bit as if nothing had been drawn: whatever drawing may touch is put back.

The model is read and never changed (see `networks`); what is put back here is what belongs to the whole process, and
as a second fence the mode of every part of the model. Gradients, hooks, device and number type are never touched.
"""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

PutBack = Callable[[], object]


@contextlib.contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Inside anything may be drawn from `model`, a torch module or a Keras model; afterwards, also after an error, the
    random numbers of Python, NumPy, torch (processor, CUDA, MPS) and Keras go on where they stood, and each part of the
    model is in the mode in which it was."""
    saved = [*_random_numbers(), *_modes(model), *_keras_seeds(model)]
    try:
        with _lenient_algorithms():
            yield
    finally:
        for put_back in saved:
            put_back()


def _random_numbers() -> Iterator[PutBack]:
    """Of Python, NumPy and torch on every device that is in use."""
    of_python, of_numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield lambda: random.setstate(of_python)
    yield lambda: np.random.set_state(of_numpy)
    yield lambda: torch.set_rng_state(of_torch)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        of_cuda = torch.cuda.get_rng_state_all()
        yield lambda: torch.cuda.set_rng_state_all(of_cuda)
    if torch.backends.mps.is_available():
        of_mps = torch.mps.get_rng_state()
        yield lambda: torch.mps.set_rng_state(of_mps)


def _modes(model: Any) -> Iterator[PutBack]:
    """Of each part of a torch module, which a Keras model on torch is too, whether it trains."""
    if isinstance(model, nn.Module):
        modes = [(part, part.training) for part in model.modules()]
        yield lambda: _set_modes(modes)


def _set_modes(modes: Sequence[tuple[nn.Module, bool]]) -> None:
    for part, mode in modes:
        if part.training is not mode:
            part.training = mode


def _keras_seeds(model: Any) -> Iterator[PutBack]:
    """Of a Keras model: its seed generators, Keras' own one, and how far Keras has counted names."""
    if "keras" not in sys.modules or not callable(getattr(model, "_flatten_layers", None)):
        return
    import keras

    def put_back_to(state: Any, before: np.ndarray) -> None:
        if not np.array_equal(np.asarray(keras.ops.convert_to_numpy(state)), before):
            state.assign(before)

    layers = model._flatten_layers(include_self=True, recursive=True)
    generators = [own for layer in layers for own in getattr(layer, "_seed_generators", ())]
    if (common := _keras_state("global_seed_generator")) is not None:
        generators.append(common)
    for state in [own.state for own in generators]:
        before = np.array(keras.ops.convert_to_numpy(state))
        yield lambda state=state, before=before: put_back_to(state, before)  # type: ignore[misc]
    names = _keras_state("object_name_uids")
    if isinstance(names, dict):
        counted = dict(names)
        yield lambda: _refill(names, counted)


def _refill(table: dict[str, int], values: dict[str, int]) -> None:
    table.clear()
    table.update(values)


def _keras_state(name: str) -> Any:
    """One of the things that Keras keeps for this thread; None where this Keras keeps it elsewhere."""
    try:
        from keras.src.backend.common import global_state

        return global_state.get_global_attribute(name)
    except (ImportError, AttributeError):
        return None


@contextlib.contextmanager
def _lenient_algorithms() -> Iterator[None]:
    """A training that asks torch for deterministic algorithms alone refuses some that drawing needs on a GPU; while
    something is drawn they are allowed."""
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    before = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
            yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=before)


def is_first_process() -> bool:
    """Whether this process is the one that draws: rank 0 of torch.distributed or JAX, or the only one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    jax = sys.modules.get("jax")
    keras = sys.modules.get("keras")
    if jax is None or keras is None or keras.backend.backend() != "jax":
        return True
    return bool(jax.process_index() == 0)
