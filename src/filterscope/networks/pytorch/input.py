"""How a torch network wants its pictures: what a library or a person says, what its own parts tell, what runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from filterscope.errors import NetworkError
from filterscope.networks.input_spec import InputOptions, InputSpec
from filterscope.networks.pytorch.copying import on_meta
from filterscope.networks.pytorch.feeding import (
    PLAIN,
    Feed,
    fed,
    feeds,
    key_of_dictionary,
    refusal,
    require_no_vectors,
    require_pictures,
)
from filterscope.networks.pytorch.scaling import without_own_scaling
from filterscope.networks.pytorch.sizes import SIZES, Trials, parameters
from filterscope.sides import Size, others_of, pixels_text, sides_of, size_text

log = logging.getLogger("filterscope")

UNIT_RANGE = InputSpec(high=1.0)  # as torchvision's ToTensor gives pictures: 0 to 1, and nothing else known


@dataclass(frozen=True)
class Taken:
    """How a network is fed. guessed: what of it nothing told. single: it runs for one picture at a time alone; None
    where shapes alone do not tell. trials: which sizes run."""

    spec: InputSpec
    guessed: tuple[str, ...]
    single: bool | None
    trials: Trials


def take_input(net: nn.Module, name: str, known: InputSpec | None, options: InputOptions) -> Taken:
    """How a network wants its pictures; from here on the private copy `net` takes them as (B, C, H, W).

    known: what its library says, the size 0 where that is left open. NetworkError where no picture goes through.
    """
    require_pictures(net)
    spec = known or replace(UNIT_RANGE, size=0)
    counts = [options.channels or first_channels(net) or spec.channels]
    if not options.channels and first_channels(net) is None and counts[0] == 3:
        counts.append(1)  # products alone: of 784 numbers, say
    asked = options.size or spec.size or None
    trials, size, told = _sized(net, name, counts, asked)
    require_no_vectors(net, trials, size)
    spec = replace(spec.changed(replace(options, channels=trials.channels)), size=size)
    others = others_of(size)
    with_numbers = reversed(others[1:]) if trials.asks_values else others[1:2]  # the small one first
    fixed = not any(map(trials.runs_on_shapes, others)) and not any(map(trials.runs, with_numbers))
    spec, ranged = without_own_scaling(net, spec, known=known is not None)
    spec = spec.changed(replace(options, channels=trials.channels))  # what a person says holds
    sized = told or asked is not None or (fixed and isinstance(size, int))
    guessed = tuple(n for n, sure in (("range", ranged), ("size", sized)) if not sure)
    several = trials.runs_on_shapes(size, 2)
    single = False if several else True if trials.runs_on_shapes(size) else None
    return Taken(replace(spec, fixed=fixed), guessed, single, trials)


def _sized(net: nn.Module, name: str, counts: list[int], asked: Size | None) -> tuple[Trials, Size, bool]:
    """The network fed as it takes pictures, their size, and whether the network itself tells that one."""
    kind, tried = type(net), list(_fed_in_turn(net, counts))
    arguments = [p.name for p in parameters(net.forward)]
    for feed, channels in tried:
        trials = _trials(net, kind, feed, channels)
        own = ((asked, True) if trials.runs(asked) else None) if asked else trials.own_size()
        if own is not None:
            return _said(trials, name, feed), *own
    _trials(net, kind, PLAIN, counts[0])
    if (
        keyed := key_of_dictionary(net, counts[0], [s for s in (asked, *SIZES[:6]) if isinstance(s, int)])
    ) is not None:
        trials = _trials(net, kind, keyed, counts[0])
        own = ((asked, True) if trials.runs(asked) else None) if asked else trials.own_size()
        if own is not None:
            return _said(trials, name, keyed), *own
    for feed, channels in () if asked else tried[:1]:
        trials = _trials(net, kind, feed, channels)
        if (odd := trials.odd_size()) is not None:
            return _said(trials, name, feed), odd, False
    for feed, channels in tried:  # two pictures at least
        trials = _trials(net, kind, feed, channels, least=2)
        own = ((asked, True) if trials.runs(asked) else None) if asked else trials.own_size()
        if own is not None:
            return _said(trials, name, feed), *own
    trials = _trials(net, kind, *tried[0])
    if asked is None:
        raise refusal(net, trials, arguments)
    sides = " x ".join(map(str, sides_of(asked)))
    said = f"{name} does not run for {trials.channels} x {sides} pictures: {trials.why_not(asked)}"
    if (fits := trials.first(SIZES)) is not None:
        size = fits if isinstance(fits, int) else repr(size_text(fits))
        said += f" (it runs at {pixels_text(fits)}: open_network(size={size}))"
    raise NetworkError(said)


def _fed_in_turn(net: nn.Module, counts: list[int]) -> Iterator[tuple[Feed, int]]:
    for channels in counts:
        yield from ((feed, channels) for feed in feeds(net))


def _trials(net: nn.Module, kind: type, feed: Feed, channels: int, least: int = 1) -> Trials:
    object.__setattr__(net, "__class__", kind)
    fed(net, feed)
    return Trials(net, on_meta(net), channels, least)


def _said(trials: Trials, name: str, feed: Feed) -> Trials:
    if feed != PLAIN:
        log.info("%s takes its pictures %s: it is fed so", name, feed)
    return trials


def first_channels(net: nn.Module) -> int | None:
    """How many channels the first convolution takes."""
    for kind in (nn.Conv2d, nn.ConvTranspose2d):  # the latter come first in generators alone
        for module in net.modules():
            if isinstance(module, kind):
                return int(module.in_channels)
    return None
