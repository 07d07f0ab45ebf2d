"""Files that are whole or absent: written beside their place and renamed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filterscope.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the folder of `path`; renamed to it when the block ends well, removed otherwise.

    OutputError where the folder cannot be made or written, or the disk is full.
    """
    place = Path(path)
    # named before it is made, so that no Ctrl-C falls between and leaves it behind
    spare = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        spare.touch(exist_ok=False)
        yield spare
        spare.replace(place)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            spare.unlink(missing_ok=True)


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file or folder; False also for what none can be called (a name too long, a NUL)."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_dangling(path: str | os.PathLike[str]) -> bool:
    """Whether it is a link to what is not there."""
    try:
        return Path(path).is_symlink() and not is_there(path)
    except (OSError, ValueError):
        return False


def safe_name(name: str, also: str = "+-") -> str:
    """A name as a file's or folder's: all but letters, digits, `_`, `.` and the characters of `also` become dots.

    >>> safe_name("features/0: x"), safe_name("a b@1", also="@")
    ('features.0..x', 'a.b@1')
    """
    return re.sub(rf"[^\w.{re.escape(also)}]", ".", name)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with writing(path) as spare:
        spare.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[None]:
    """While a file of a folder is read, changed and written again, other programs that would do the same wait. Where
    the system or the file system has no such locks, nothing waits."""
    handle = None
    if fcntl is not None:
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)  # which lets go of it


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """The folder, made if need be and known to be writable, before long work begins; OutputError if not."""
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".filterscope.", dir=place):
            pass
    except OSError as error:
        raise OutputError(f"cannot write to the folder {place}: {error.strerror or error}") from error
    return place
