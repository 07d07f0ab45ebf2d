"""One run at a time draws into a network's folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filterscope.atlas.storage.store import Store
from filterscope.errors import OutputError
from filterscope.files import missing_folders, remove_empty

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def hold_lock(store: Store, folder: str) -> Iterator[None]:
    """Held while a run draws into a network's folder; OutputError where another one does already.

    The lock ends with its process, however that ends. At an object store there is none: two runs there draw
    the same pictures and write the same bytes, whole each time.
    """
    if not store.local or fcntl is None:
        yield
        return
    place = Path(store.path(f".{folder}.lock"))
    made = missing_folders(place.parent)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = _open_locked(place)
    except BlockingIOError:
        raise OutputError(
            f"another run is drawing {folder} into {store.address}; wait for it, or choose another out="
        ) from None
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}") from error
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                place.unlink()
            remove_empty(made)  # where nothing came of it


def _open_locked(place: Path) -> IO[str]:
    """The lock file, held; opened anew where another run removed the one that was opened before it was ours."""
    while True:
        file = place.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if place.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        except FileNotFoundError:
            pass
        except BlockingIOError:
            file.close()
            raise
        except OSError:
            return file  # a file system without locks
        file.close()
