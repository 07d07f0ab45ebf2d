"""What was guessed of a network's input, in a recorder's words: it is corrected by `input`, not by `open_network`."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

log = logging.getLogger("filterscope")

_OPENING = re.compile(r"open_network\(((?:\w+=, )*\w+=)\)")  # with options that have no values


@contextlib.contextmanager
def guesses_by_input() -> Iterator[None]:
    """What is logged inside names `input`, by which a recorder is given the options of `open_network`."""

    def by_input(record: logging.LogRecord) -> bool:
        record.msg, record.args = _OPENING.sub(_as_input, record.getMessage()), ()
        return True

    log.addFilter(by_input)
    try:
        yield
    finally:
        log.removeFilter(by_input)


def _as_input(found: re.Match[str]) -> str:
    """
    >>> _OPENING.sub(_as_input, "say so with open_network(range=, mean=)")
    'say so with input={"range": ..., "mean": ...}'
    """
    names = [option.removesuffix("=") for option in found[1].split(", ")]
    listed = ", ".join(f'"{name}": ...' for name in names)
    return f"input={{{listed}}}"
