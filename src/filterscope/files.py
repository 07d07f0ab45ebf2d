"""Files that are whole or absent: written beside their place and renamed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from filterscope.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

StrPath: TypeAlias = str | os.PathLike[str]  # a file or folder, as text or as an object


@contextlib.contextmanager
def writing(path: StrPath) -> Iterator[Path]:
    """A temporary path in the folder of `path`; renamed to it when the block ends well, removed otherwise.

    OutputError where the folder cannot be made or written, or the disk is full.
    """
    place = Path(path)
    # named before it is made, so that no Ctrl-C falls between and leaves it behind
    spare = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        _touch(spare)
        yield spare
        spare.replace(place)
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            spare.unlink(missing_ok=True)


def is_there(path: StrPath) -> bool:
    """Whether there is such a file or folder; False also for what none can be called (a name too long, a NUL)."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_dangling(path: StrPath) -> bool:
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


def write_text(path: StrPath, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with writing(path) as spare:
        spare.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def held(folder: StrPath) -> Iterator[None]:
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


def check_writable(folder: StrPath) -> Path:
    """The folder, known to be writable before long work begins; OutputError if not. One that is not there is made for the
    trial alone, so that work which is refused afterwards leaves nothing: whatever writes a file makes its folder."""
    place = Path(folder)
    made = missing_folders(place)
    try:
        spare = place / f".filterscope.{secrets.token_hex(4)}.part"
        try:
            _touch(spare)
        finally:
            spare.unlink(missing_ok=True)
    except OSError as error:
        why = "it is a link to what is not there" if is_dangling(place) else error.strerror or error
        raise OutputError(f"cannot write to the folder {place}: {why}") from error
    finally:
        remove_empty(made)
    return place


def missing_folders(folder: Path) -> list[Path]:
    """Those that have to be made for a folder to be there, the innermost first."""
    return [place for place in (folder, *folder.parents) if not is_there(place)]


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove these folders, the innermost first, as far as they are empty."""
    with contextlib.suppress(OSError, ValueError):
        for folder in folders:
            folder.rmdir()


def _touch(file: Path) -> None:
    """Make an empty file, and its folder, even while another program's trial of that folder removes it again."""
    for left in range(3, -1, -1):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(exist_ok=False)
            return
        except FileNotFoundError:
            if not left:
                raise
