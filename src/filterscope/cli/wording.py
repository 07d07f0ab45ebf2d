"""The library's messages in the command line's words: a Python function's option, `size=64`, as its flag, `--size 64`."""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
from collections.abc import Iterator

# options that messages name: as Python spells them, and the command line
FLAGS = {
    "against": "--against",
    "atlas": "--atlas",
    "concepts": "--concepts",
    "count": "--count",
    "encoder": "--encoder",
    "groups": "--groups",
    "guide": "--guide",
    "how": "--how",
    "image": "--image",
    "images": "--images",
    "layers": "--layers",
    "name": "--name",
    "net": "--net",
    "on": "--on",
    "out": "--out",
    "overwrite": "--overwrite",
    "precision": "--precision",
    "size": "--size",
    "weights": "--weights",
}
# of open_network, which each command has as options of its own
INPUT_FLAGS = {
    "channels": "--channels",
    "mean": "--mean",
    "range": "--range",
    "show_channels": "--show-channels",
    "size": "--input-size",
    "std": "--std",
}
CANVASES = ("pixels", "fourier", "phase", "cppn")  # of image, a recipe's setting; else it is a photograph
PLACEHOLDERS = {"--range": "LOW,HIGH"}  # a flag without a value, where its form is not plain
_VALUE = r"'[^']*'|[^\s,;:()'\"]*[^\s,;:.()'\"]|"
_OPTION = re.compile(
    rf"open_network\((?P<input>[^()]*)\)|[\w.]+\((?:[^()]|\([^()]*\))*\)|(?<![\w?&.'/])(?P<name>[a-z]+)=(?P<value>{_VALUE})"
)


def in_flags(message: str) -> str:
    """A message whose options stand as flags; calls of other functions than `open_network` stay as they are.

    >>> in_flags("give weights='my weights.pt', or a smaller size=")
    "give --weights 'my weights.pt', or a smaller --size"
    >>> in_flags("say open_network(channels=, size=64); or visualize(model, size=64)")
    'say --channels and --input-size 64; or visualize(model, size=64)'
    >>> in_flags("take image=pixels; name image='my.png'")
    'take --set image=pixels; name --image my.png'
    """
    return _OPTION.sub(_translated, message)


@contextlib.contextmanager
def log_in_flags() -> Iterator[None]:
    """What filterscope's modules log inside has the command line's words too."""

    def translate(record: logging.LogRecord) -> bool:
        record.msg, record.args = in_flags(record.getMessage()), ()
        return True

    log = logging.getLogger("filterscope")
    log.addFilter(translate)
    try:
        yield
    finally:
        log.removeFilter(translate)


def _translated(found: re.Match[str]) -> str:
    if found["input"] is not None:
        options = [part.strip().partition("=") for part in found["input"].split(",")]
        flags = [_flag(INPUT_FLAGS[name], value) for name, _, value in options if name in INPUT_FLAGS]
        return (", ".join(flags[:-1]) + " and " if flags[1:] else "") + flags[-1] if flags else found[0]
    if found["name"] == "image" and found["value"] in CANVASES:
        return f"--set image={found['value']}"
    flag = FLAGS.get(found["name"] or "")
    return found[0] if flag is None else _flag(flag, found["value"])


def _flag(flag: str, value: str) -> str:
    if value.startswith("'"):
        value = shlex.quote(value[1:-1])
    elif value == "True":
        value = ""
    return f"{flag} {value or PLACEHOLDERS.get(flag, '')}".rstrip()
