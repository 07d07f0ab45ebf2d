"""Which sizes of pictures go through a torch module, and which one it was made for: tried on shapes alone."""

from __future__ import annotations

import inspect
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from filterscope.errors import first_line
from filterscope.networks.known_shapes import KnownShapes
from filterscope.networks.pytorch.outputs import first_tensor
from filterscope.networks.pytorch.positions import Positions
from filterscope.sides import Size, as_size, sides_of

log = logging.getLogger("filterscope")

SIZES = (224, 32, 28, 64, 96, 128, 256, 299, 384, 8, 16, 48, 112, 160, 192, 240, 320, 448, 512)
# height x width of what people train on and is not square: persons, faces, number plates, lines of text, driving,
# screens, spectrograms
WIDE = (
    (64, 128), (128, 64), (256, 128), (128, 256), (32, 128), (32, 100), (24, 94), (32, 64), (64, 32), (48, 192), (64, 256),
    (32, 256), (32, 160), (32, 320), (64, 512), (66, 200), (160, 320), (80, 160), (120, 160), (240, 320), (480, 640),
    (160, 120), (320, 240), (640, 480), (256, 192), (384, 288), (192, 256), (384, 128), (112, 96), (96, 112), (360, 640),
    (384, 640), (256, 512), (512, 1024), (128, 1024), (96, 64), (64, 96), (40, 101), (40, 98), (16, 32), (32, 16), (8, 16),
)  # fmt: skip
NUMBERS = 40  # sizes tried with numbers where shapes alone do not tell
_ASKS = re.compile(r"item\(\)|meta|data.dependent|_local_scalar", re.IGNORECASE)  # in what torch says then
LARGEST = 1024  # px that a network's own size is looked for up to


def run(net: nn.Module, channels: int, size: Size, device: str = "meta", batch: int = 1) -> object:
    """What the network gives for pictures of zeros; raises what its forward pass raises."""
    with torch.no_grad(), KnownShapes():
        return net(torch.zeros(batch, channels, *sides_of(size), device=device))


def runs(net: nn.Module, channels: int, size: Size, device: str = "meta", batch: int = 1) -> bool:
    """Whether pictures of a size go through."""
    try:
        run(net, channels, size, device, batch)
    except Exception:  # whatever a person's own forward raises
        return False
    return True


@dataclass
class Trials:
    """A network tried on shapes alone where it runs so, else on zeros; each size once.

    least: pictures that go through together at least, two where the forward pass drops a batch of one.
    asks_values: it has asked for a value (`item()`), which shapes alone do not have.
    """

    net: nn.Module
    meta: nn.Module
    channels: int
    least: int = 1
    asks_values: bool = False
    known: dict[tuple[Size, int, str], bool] = field(default_factory=dict)

    def runs_on_shapes(self, size: Size, batch: int = 1) -> bool:
        """Whether pictures of the size go through, as far as shapes alone tell."""
        return not self.asks_values and self._runs(size, batch, "meta")

    def runs(self, size: Size) -> bool:
        """Whether pictures of the size go through."""
        return self.runs_on_shapes(size) or self._runs(size, 1, "cpu")

    def _runs(self, size: Size, batch: int, device: str) -> bool:
        key = (size, max(batch, self.least), device)
        if key not in self.known:
            try:
                run(self.meta if device == "meta" else self.net, self.channels, size, device, key[1])
                self.known[key] = True
            except Exception as error:  # whatever a person's own forward raises
                self.known[key] = False
                self.asks_values |= device == "meta" and bool(_ASKS.search(str(error)))
        return self.known[key]

    def why_not(self, size: Size) -> str | None:
        """Why pictures of a size do not go through, None where they do."""
        if self.runs_on_shapes(size):
            return None
        try:
            run(self.net, self.channels, size, "cpu", self.least)
        except Exception as error:  # whatever a person's own forward pass raises
            log.info("the forward pass raised\n%s", "".join(traceback.format_exception(error)))
            said = first_line(error)
            if re.search(r"\b([Dd]ouble|Half|float64|float16)\b", said):
                said += "; a network is drawn in float32: cast to its weights' own type, x.to(self.conv.weight.dtype)"
            return (
                said
                if type(error) is RuntimeError or said == type(error).__name__
                else f"{type(error).__name__}: {said}"
            )
        return None

    def first(self, sizes: Iterable[Size], *, slowly: Iterable[Size] = ()) -> Size | None:
        """The first of some sizes that runs: on shapes alone, with numbers where the network asks for them, else the
        first of `slowly` with numbers."""
        tries = NUMBERS
        for size in sizes:
            if self.runs_on_shapes(size) or (self.asks_values and tries and self._runs(size, 1, "cpu")):
                return size
            tries -= self.asks_values and tries > 0
        return next((s for s in slowly if self._runs(s, 1, "cpu")), None)

    def is_of_size(self) -> bool:
        """Whether it may be the picture's size for which the network does not run, and not another kind of argument."""
        for size in (224, 32):
            try:
                run(self.meta, self.channels, size, batch=self.least)
            except (TypeError, AttributeError, LookupError, NameError):
                continue
            except Exception:
                return True
            return True
        return False

    def own_size(self) -> tuple[Size, bool] | None:
        """The size that the network was made for, and whether it says so itself; None where it says none and no square
        runs."""
        hints = list(_hints(self.net))
        if (told := self.first(hints)) is not None:
            return told, True
        made_for, whole = Positions(self.meta, self.channels, self.least, WIDE).size() or (None, False)
        if made_for is None or not self.runs(made_for):
            made_for = None
        elif whole or not self.runs_on_shapes(
            SIZES[0]
        ):  # a table with places to spare tells no size, but a bound
            return made_for, whole
        found = self.first(SIZES, slowly=[*hints, *SIZES[:8]])
        if found is None or found in hints:
            return None if found is None else (found, True)
        largest = self._largest(found) if _has_places(self.net) and made_for is None else None
        if largest is not None:
            return largest, True
        return (32 if found == SIZES[0] and self._is_small() else found), False

    def odd_size(self) -> Size | None:
        """A square that is none of the usual ones, or a size that is not square; None where nothing runs."""
        if not self.is_of_size():
            return None
        found = self.first(s for s in range(4, 513) if s not in SIZES)
        return self.first(self._fitting()) if found is None else found

    def _largest(self, size: Size) -> Size | None:
        """Where sizes run up to a largest one alone, as positions of a fixed number make it: that one, without the
        pixels that no patch takes in."""
        assert isinstance(size, int)
        works, fails = size, LARGEST + 1
        if self.runs_on_shapes(fails):
            return None
        while fails - works > 1:
            middle = (works + fails) // 2
            if self.runs_on_shapes(middle):
                works = middle
            else:
                fails = middle
        patches = next((m for m in self.net.modules() if isinstance(m, nn.Conv2d)), None)
        stride = patches.stride[0] if patches is not None and isinstance(patches.stride, tuple) else 1
        whole = works - works % stride
        return whole if self.runs_on_shapes(whole) else works

    def _is_small(self) -> bool:
        """Whether a network that takes any size was made for small pictures: its last maps are as large as an eighth
        of the picture or larger, where ImageNet's networks end at a thirty-second."""
        sides: list[int] = []

        def note(_: nn.Module, __: object, out: object) -> None:
            if isinstance(out, Tensor) and out.ndim == 4 and out.shape[-1] > 1:
                sides.append(out.shape[-1])

        handles = [m.register_forward_hook(note) for m in self.meta.modules()]
        try:
            out = first_tensor(run(self.meta, self.channels, 224, batch=self.least))
        except Exception:
            out = None
        finally:
            for handle in handles:
                handle.remove()
        first = next((m for m in self.meta.modules() if isinstance(m, nn.Conv2d)), None)
        stride = first.stride[0] if first is not None and isinstance(first.stride, tuple) else 2
        return bool(sides) and min(sides) >= 28 and stride == 1 and isinstance(out, Tensor) and out.ndim == 2

    def _fitting(self) -> Iterator[Size]:
        """Sizes that are not square: the usual ones, then those whose numbers are as many as the first product behind
        the maps takes, the least oblong first."""
        yield from WIDE
        wanted, base = self._count(128, 128)
        if not wanted or not base:
            return
        sides = [s for s in range(8, 513) if s % 8 == 0 or s < 100]
        rows = {s: self._count(s, 128)[1] for s in sides}
        columns = {s: self._count(128, s)[1] for s in sides}
        pairs = [(h, w) for h in sides for w in sides if h != w and rows[h] * columns[w] == wanted * base]
        yield from sorted(pairs, key=lambda p: (max(p) / min(p), -sum(s % 32 == 0 for s in p), p[0] > p[1]))[
            :200
        ]

    def _count(self, height: int, width: int) -> tuple[int, int]:
        """How many numbers the first product of vectors takes, and how many it is given at a size."""
        told: list[tuple[int, int]] = []

        def note(module: nn.Linear, args: tuple[Tensor, ...]) -> None:
            if args and args[0].ndim == 2:
                told.append((module.in_features, args[0].shape[-1]))

        handles = [m.register_forward_pre_hook(note) for m in self.meta.modules() if isinstance(m, nn.Linear)]
        try:
            runs(self.meta, self.channels, (height, width), batch=self.least)
        finally:
            for handle in handles:
                handle.remove()
        return told[0] if told else (0, 0)


def _hints(net: nn.Module) -> Iterator[Size]:
    """Sizes that the network's attributes, its configuration or its first parts' name."""
    holders = [net, *net.children(), getattr(net, "config", None)]
    for holder in holders:
        for name in ("img_size", "image_size", "input_size"):
            told = getattr(holder, name, None)
            if isinstance(told, list | tuple) and len(told) > 1:
                sides = tuple(told[-2:])
            else:
                one = told[0] if isinstance(told, list | tuple) and told else told
                sides = (one, one)
            if all(isinstance(s, int) and not isinstance(s, bool) and 4 <= s <= 2048 for s in sides):
                yield as_size(*sides)


def _has_places(net: nn.Module) -> bool:
    """Whether the network has an embedding of its patches' positions."""
    named = [*net.named_parameters(), *net.named_buffers()]
    return any(t.ndim > 1 and re.search(r"pos", n) and prod(t.shape) > t.shape[-1] for n, t in named)


def required(function: Callable[..., object]) -> list[str]:
    """The arguments that a forward pass cannot do without."""
    return [p.name for p in parameters(function) if p.default is p.empty]


def parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    """The arguments of a forward pass that have a name."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in inspect.signature(function).parameters.values() if p.kind not in kinds]
