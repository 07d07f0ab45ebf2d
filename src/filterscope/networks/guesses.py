"""What was guessed of a network's input, said once, with the options that correct it.

A source that is not told how its network wants its pictures notes in `Network.guessed` what it assumed: "range" (with
it mean and std) or "size". `open_network` takes away what a person said and tells the rest.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from filterscope.networks.input_spec import InputOptions, InputSpec
from filterscope.networks.network import Network
from filterscope.notices import is_new
from filterscope.sides import pixels_text

log = logging.getLogger("filterscope")

_OPTIONS = {"range": "range=, mean=, std=", "size": "size="}  # of open_network


def without_given(net: Network, options: InputOptions) -> Network:
    """The network, whose guesses are those that a person's options leave."""
    feeds = any(value is not None for value in (options.range, options.mean, options.std))
    told = {"range": feeds, "size": options.size is not None}
    left = tuple(name for name in net.guessed if not told[name])
    return net if left == net.guessed else dataclasses.replace(net, guessed=left)


def log_guesses(net: Network, source: Any) -> None:
    """One line on what was guessed, and the network's notes, the first time that this source is opened so."""
    if not (net.guessed or net.notes) or isinstance(source, Network):
        return
    if not is_new(
        f"{source if isinstance(source, str) else net.name}|{net.input}|{net.guessed}|{net.notes}", source
    ):
        return
    for note in net.notes:
        log.warning("%s %s", net.name, note)
    if not net.guessed:
        return
    assumed = [text for name in net.guessed for text in _assumed(name, net.input)]
    options = [_OPTIONS[name] for name in net.guessed]
    if ordered := "range" in net.guessed and net.input.channels == 3:
        options.append("show_channels=")
    log.warning(
        "%s: %s, since nothing says what it was trained on; if that is wrong, say so with open_network(%s)%s",
        net.name, _are_guesses(assumed), ", ".join(options), ", where 2,1,0 is BGR" if ordered else "",
    )  # fmt: skip


def _assumed(name: str, spec: InputSpec) -> list[str]:
    if name == "size":
        return [f"a size of {pixels_text(spec.size)}"]
    mean = f"mean {', '.join(f'{v:g}' for v in spec.mean)}" if any(spec.mean) else "no mean"
    order = ["the order BGR" if spec.bgr else "the order RGB"] if spec.channels == 3 else []
    return [f"a range of {spec.low:g} to {spec.high:g} with {mean} subtracted", *order]


def _are_guesses(assumed: list[str]) -> str:
    """
    >>> _are_guesses(["a size of 64 x 64 px"]), _are_guesses(["a range", "an order", "a size"])
    ('a size of 64 x 64 px is a guess', 'a range, an order and a size are guesses')
    """
    if len(assumed) == 1:
        return f"{assumed[0]} is a guess"
    return f"{', '.join(assumed[:-1])} and {assumed[-1]} are guesses"
