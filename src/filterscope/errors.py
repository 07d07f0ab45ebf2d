"""What filterscope raises.

FilterscopeError                    anything below; str(error) is the message a person reads
├── ArgumentError    (exit 2)       what was asked for cannot be done as asked
│   ├── TargetError                 a target, layer, unit or class that is not there
│   ├── RecipeError                 an unknown preset or key, or a value that is not allowed
│   ├── NetworkError                an unknown network, or one that cannot be read
│   ├── WeightsError                a weights file that is missing, damaged or of another network
│   └── ImageError                  a file that is no picture, or no picture of ours
└── WorkError        (exit 1)       it was asked rightly and failed while it was done
    ├── DownloadError               weights that could not be fetched
    ├── OutOfMemoryError            pictures or a network that do not fit into memory
    ├── OutputError                 a file that could not be written
    │   └── DamagedError            a file of an atlas that holds something else than it should
    └── QueueFullError              more drawings wait in the viewer than it takes
"""

from __future__ import annotations

import contextlib
import difflib
import operator
import re
from collections.abc import Iterable, Iterator
from typing import SupportsIndex

SEEDS = (
    2**62
)  # seeds are below this: torch's generators take 64 bits, and windows and retries count up from them


class FilterscopeError(Exception):
    """Base of every error that filterscope raises on purpose."""

    exit_status = 1


class ArgumentError(FilterscopeError):
    """What was asked for cannot be done as asked (exit status 2)."""

    exit_status = 2


class TargetError(ArgumentError):
    """A target that cannot be read, or names a layer, unit or class that is not there."""


class RecipeError(ArgumentError):
    """An unknown preset or recipe key, or a value outside what is allowed."""


class NetworkError(ArgumentError):
    """An unknown network, or one with a part that cannot be rebuilt."""


class WeightsError(ArgumentError):
    """A weights file that is missing, cut short, of another architecture, or not finite."""


class ImageError(ArgumentError):
    """A file that is not a picture, or holds no recipe where one is needed."""


class WorkError(FilterscopeError):
    """The work was asked for rightly and failed (exit status 1)."""


class DownloadError(WorkError):
    """Weights that could not be downloaded."""


class OutOfMemoryError(WorkError):
    """What was drawn does not fit into memory."""


class OutputError(WorkError):
    """A file that could not be written."""


class DamagedError(OutputError):
    """A file of an atlas that is there and holds something else than it should."""


class QueueFullError(WorkError):
    """More drawings are waiting than the viewer takes."""


def checked_seed(seed: object) -> int:
    """A seed as the generators take it; ArgumentError for anything but a whole number from 0 on.

    >>> checked_seed(7)
    7
    """
    with contextlib.suppress(TypeError):  # an array's
        if (
            isinstance(seed, SupportsIndex)
            and not isinstance(seed, bool)
            and 0 <= (number := operator.index(seed)) < SEEDS
        ):
            return number
    raise ArgumentError(f"a seed is a whole number from 0 and below 2^62 (got {shortened(seed)})")


def shortened(value: object, most: int = 80) -> str:
    """A value as a message shows it, cut where it is long.

    >>> shortened("goldfish"), shortened("x" * 99, most=4)
    ("'goldfish'", "'xxx...")
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of more than 4,300 digits; what lies too deep
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


# what torch, its libraries and the C++ below them say where memory is out; torch.OutOfMemoryError is a RuntimeError too
_NO_MEMORY = (
    "out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed", "bad_alloc",
    "storage size calculation overflowed", "invalid buffer size",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is out, in any of the ways that Python, NumPy and torch have."""
    if isinstance(error, MemoryError | OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _NO_MEMORY)


def out_of_memory(error: BaseException) -> OutOfMemoryError:
    """The same error with what to do about it."""
    if isinstance(error, OutOfMemoryError):
        return error
    said = "" if isinstance(error, MemoryError) and not str(error) else f" ({first_line(error)})"
    return OutOfMemoryError(
        f"memory is out{said}: draw smaller pictures (size=) or with precision='bfloat16', which takes half of it; "
        "what was finished is kept"
    )


@contextlib.contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Raise OutOfMemoryError, which says what to do, for what runs out of memory inside."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(error) from error


# an exception in a layer's code as Keras raises it again: the cause in bold letters, or behind several sentences
_OF_KERAS = re.compile(
    r"Exception encountered when calling .*?"
    r"(?:Exception encountered: ''|\x1b\[1m(?!Could not automatically))(.*?)(?:''|\x1b\[0m)",
    re.DOTALL,
)


def first_line(error: BaseException) -> str:
    """What an error says, in one line: its first, or its kind where it says nothing. Of what Keras wraps, the cause.

    >>> first_line(ValueError("Too small.\\nTraceback follows"))
    'Too small'
    """
    quotes = isinstance(error, KeyError) and error.args  # a KeyError's own text is in quotes
    told = str(error.args[0] if quotes else error).strip()
    inner = _OF_KERAS.match(told)
    return ((inner[1].strip() if inner else told).splitlines() or [type(error).__name__])[0].rstrip(".")


def last_line(error: BaseException) -> str:
    """The last line of what an error says, where its cause stands behind a traceback; its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def kind_and_line(error: BaseException, most: int = 300) -> str:
    """An error's kind and the first line of what it says, for errors that are not ours.

    >>> kind_and_line(ValueError("too small\\nand more")), kind_and_line(MemoryError())
    ('ValueError: too small', 'MemoryError')
    """
    kind, line = type(error).__name__, first_line(error)
    text = kind if line == kind else f"{kind}: {line}"
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """The nearest option as a phrase to put behind a message, or nothing.

    >>> did_you_mean("block3_conv9", ["block3_conv3", "fc1"])
    "; did you mean 'block3_conv3'?"
    >>> did_you_mean("zebra", ["fc1"])
    ''
    """
    known = {option.lower(): option for option in options}
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {known[near[0]]!r}?" if near else ""
