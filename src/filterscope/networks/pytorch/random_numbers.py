"""Random numbers in a forward pass: noticed when a network is opened, and the same ones whenever it runs.

torch's are noticed operation by operation in this thread, and drawn from a generator of ours: another thread's numbers go
on as they would have. NumPy's and Python's have one state for all threads, which is touched only where the code of the
network names them.
"""

from __future__ import annotations

import contextlib
import pickle
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _pop_mode, _push_mode

from filterscope.networks.pytorch.outputs import tensors_of
from filterscope.networks.pytorch.state import named_globals

# NumPy's and Python's numbers are those of the whole process: one pass draws at a time
_ALONE = threading.RLock()
_NUMPYS: Any = np.random.mtrand._rand
_PYTHONS: Any = random._inst
_KINDS = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)

RANDOM = (
    "draws random numbers when it runs, as dropout does that does not look at self.training: every picture is drawn by "
    "itself, and with the same numbers each time"
)
UNSEEDED = (
    "gives other values for the same picture each time, as a random generator without a seed does that its forward pass "
    "makes: no two pictures of it are the same; give such a generator a seed, or keep it as an attribute"
)
_MADE_ANEW = {
    "default_rng", "RandomState", "Random", "SystemRandom", "SeedSequence", "seed", "urandom", "getrandom", "secrets",
    "token_bytes", "randbits", "uuid1", "uuid4", "time", "time_ns", "monotonic", "perf_counter",
}  # fmt: skip


class Numbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside torch's random operations are noticed, and draw from a generator of ours that begins anew."""

    def __init__(self, sources: Iterable[Any]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.drew = False
        self.generators: dict[torch.device, torch.Generator] = {}
        self.sources = list(sources)
        self.states = [_state(source) for source in self.sources]

    def __enter__(self) -> Numbers:  # torch's own sets flags besides, which all threads see
        _push_mode(self)
        return self

    def __exit__(self, *_: object) -> None:
        _pop_mode()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler at the first operation

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or not _draws(func, args, kwargs):
            return func(*args, **kwargs)
        self.drew = True
        if kwargs.get("generator") is not None:  # of the module itself
            return func(*args, **kwargs)
        return self._drawn(func, args, kwargs)

    def _drawn(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = next((a.device for a in args if isinstance(a, Tensor)), None)
        device = torch.device(kwargs.get("device") or given or "cpu")
        if device.type == "meta":
            return func(*args, **kwargs)
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(0)
        generator = self.generators[device]
        try:
            return func.overloadpacket(*args, **{**kwargs, "generator": generator})
        except (TypeError, RuntimeError):  # an operation that takes none
            return _from_the_common_ones(generator, lambda: func(*args, **kwargs))

    def changed(self) -> bool:
        """Whether any was drawn since."""
        own = zip(self.sources, self.states, strict=True)
        return self.drew or any(_bytes(_state(source)) != _bytes(state) for source, state in own)

    def begin(self) -> None:
        """Let all sources beside torch's common one begin at the same place."""
        for source in self.sources:
            _seed(source)

    def restore(self) -> None:
        """Leave them as they were."""
        for source, state in zip(self.sources, self.states, strict=True):
            _set_state(source, state)


def _draws(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation with torch's mark of random ones draws: dropout that is off and attention without it do not."""
    arguments = func._schema.arguments
    names = [argument.name for argument in arguments]
    usual = {argument.name: argument.default_value for argument in arguments}
    given = {**usual, **dict(zip(names, args, strict=False)), **kwargs}
    training = given.get("train", given.get("training"))
    return training is not False and not ("dropout_p" in names and not given.get("dropout_p"))


def _from_the_common_ones(generator: torch.Generator, draw: Callable[[], Any]) -> Any:
    """One operation on the numbers that all threads draw from, which are put back at once."""
    seed = int(torch.randint(2**31, (), generator=torch.Generator().manual_seed(generator.initial_seed())))
    generator.manual_seed(seed)
    with _ALONE, torch.random.fork_rng(devices=[generator.device] if generator.device.type == "cuda" else []):
        torch.manual_seed(seed)
        return draw()


def _state(source: Any) -> Any:
    if isinstance(source, np.random.Generator):
        return source.bit_generator.state
    return source.getstate() if isinstance(source, random.Random) else source.get_state()


def _set_state(source: Any, state: Any) -> None:
    if isinstance(source, np.random.Generator):
        source.bit_generator.state = state
    elif isinstance(source, random.Random):
        source.setstate(state)
    else:
        source.set_state(state)


def _seed(source: Any) -> None:
    if isinstance(source, np.random.Generator):
        source.bit_generator.state = type(source.bit_generator)(0).state
    elif isinstance(source, torch.Generator):
        source.manual_seed(0)
    else:
        source.seed(0)


def _bytes(state: Any) -> bytes:
    return state.cpu().numpy().tobytes() if isinstance(state, Tensor) else pickle.dumps(state)


def _sources(module: nn.Module) -> list[Any]:
    """The generators that a module holds, and those of the whole process that its code names, beside torch's own."""
    held = [value for part in module.modules() for value in vars(part).values() if isinstance(value, _KINDS)]
    named = []
    for value, names in named_globals(module):
        owner = getattr(value, "__self__", None)
        if isinstance(value, _KINDS):
            named.append(value)
        elif value is random or owner is _PYTHONS:
            named.append(_PYTHONS)
        elif value is np.random or owner is _NUMPYS or (value is np and "random" in names):
            named.append(_NUMPYS)
    return list({id(source): source for source in (*held, *named)}.values())


@contextlib.contextmanager
def watched(module: nn.Module) -> Iterator[Numbers]:
    """Inside the module runs; of what is given one can ask whether it drew numbers. Afterwards they are as before."""
    sources = _sources(module)
    with _ALONE if sources else contextlib.nullcontext(), Numbers(sources) as numbers:
        try:
            yield numbers
        finally:
            numbers.restore()


@contextlib.contextmanager
def same_numbers(module: nn.Module) -> Iterator[None]:
    """Inside random numbers begin at the same place every time; afterwards they are as before."""
    with watched(module) as numbers:
        numbers.begin()
        yield


@torch.no_grad()
def is_unseeded(module: nn.Module, picture: Tensor) -> bool:
    """Whether a module gives other values each time also where all sources are seeded that it holds or names. Tried only
    where its code names what makes one anew."""
    if not any(names & _MADE_ANEW for _, names in named_globals(module)):
        return False
    found = []
    for _ in range(2):
        with same_numbers(module):
            found.append({place: value.clone() for place, value in tensors_of(module(picture)).items()})
    first, second = found
    return any(not torch.allclose(value, second[place], equal_nan=True) for place, value in first.items())
