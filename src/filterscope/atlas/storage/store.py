"""Where an atlas lies: a local folder or any fsspec address, read and written through one small class.

    store = open_store("out/vgg16")              # or "s3://bucket/vgg16", "gs://...", "memory://vgg16"
    store.write("tiny-vgg16/network.json", b"{}")
    store.sizes("tiny-vgg16")                    # {"network.json": 2}

Every file is whole or absent: locally it is written beside its place and renamed, and an object store's put is
so by itself. Paths are relative to the address, with forward slashes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from filterscope.errors import ArgumentError, DamagedError, FilterscopeError, OutputError
from filterscope.files import check_writable, writing

EXTRA = "pip install 'filterscope[atlas]'"
TRIES = 3  # of a write to an object store, whose network may fail for a moment
CREDENTIALS = {
    ("s3", "s3a"): "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `aws configure`",
    ("gs", "gcs"): "GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`",
    ("az", "abfs", "abfss", "adl"): "AZURE_STORAGE_CONNECTION_STRING",
    ("hf",): "HF_TOKEN, or `hf auth login`",
}


def open_store(address: str | os.PathLike[str]) -> Store:
    """The store at a folder's path or an fsspec address; nothing is made or asked of it yet.

    ArgumentError where the address cannot be understood, or the package for it is missing; OutputError where its
    host is asked for a connection at once and gives none.
    """
    text = os.fspath(address)
    if not text.strip():
        raise ArgumentError("an atlas needs a folder or an address to lie at (got an empty one)")
    try:
        import fsspec
    except ImportError:
        raise ArgumentError(f"an atlas needs fsspec: {EXTRA}") from None
    if "://" not in text and "::" not in text:
        text = Path(text).expanduser().absolute().as_posix()
    try:
        system, root = fsspec.url_to_fs(text)
    except ImportError as error:
        raise ArgumentError(f"{text!r} needs another package: {error}") from None
    except ValueError as error:
        raise ArgumentError(f"{text!r} is no address that fsspec knows: {error}") from None
    except Exception as error:
        raise OutputError(f"cannot reach {text}: {_reason(error, text)}") from error
    return Store(text, system, root.rstrip("/"))


def _reason(error: BaseException, address: str) -> str:
    """A file system client's error in a line, and how it takes credentials where it lacks them."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    if len(reason) > 300:
        reason = reason[:296] + " ..."
    refused = isinstance(error, PermissionError) or "credential" in type(error).__name__.lower()
    protocol = address.rpartition("::")[2].partition("://")[0]
    how = next((how for protocols, how in CREDENTIALS.items() if protocol in protocols), None)
    return f"{reason} (credentials: {how})" if refused and how else reason


class Store:
    """Files under one address. Reading a file that is absent raises FileNotFoundError; whatever else fails,
    OutputError."""

    def __init__(self, address: str, system: Any, root: str):
        self.address = address
        self.system = system
        self.root = root
        protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
        self.local = bool(protocols & {"file", "local"})
        # whether another process, on another machine too, sees the same files at this address
        self.shared = not self.local and "memory" not in protocols

    def __repr__(self) -> str:
        return f"<Store {self.address}>"

    def path(self, name: str = "") -> str:
        """Where a file lies in the file system: for a local store, a path."""
        return f"{self.root}/{name}".rstrip("/") if name else self.root

    def check(self) -> None:
        """OutputError where nothing can be written, before long work begins."""
        if self.local:
            check_writable(self.path())
        else:
            self.write(".filterscope", b"")
            self.remove(".filterscope")

    @contextlib.contextmanager
    def _convert_errors(self, doing: str, name: str) -> Iterator[None]:
        """One kind of error for the many that the clients of file systems raise."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, FilterscopeError, MemoryError):
            raise
        except Exception as error:
            raise OutputError(
                f"cannot {doing} {self.address}/{name}".rstrip("/") + f": {_reason(error, self.address)}"
            ) from error

    def read(self, name: str) -> bytes:
        with self._convert_errors("read", name):
            data: bytes = self.system.cat_file(self.path(name))
        return data

    def read_json(self, name: str) -> Any:
        """A JSON file's value, None where it is absent; DamagedError where it is none."""
        try:
            return json.loads(self.read(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError) as error:
            raise DamagedError(
                f"{self.address}: {name} is damaged ({error}); remove it and run again"
            ) from None

    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Several files' contents, asked for at once where the store can."""
        if not self.shared:
            return [self.read(name) for name in names]
        with ThreadPoolExecutor(32) as pool:
            return list(pool.map(self.read, names))

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file to read from, that can seek."""
        with self._convert_errors("read", name), self.system.open(self.path(name), "rb") as file:
            yield file

    def exists(self, name: str) -> bool:
        self.system.invalidate_cache()
        with self._convert_errors("look for", name):
            try:  # not `isfile`, which takes a host that does not answer for a file that is not there
                return bool(self.system.info(self.path(name))["type"] == "file")
            except (FileNotFoundError, NotADirectoryError):
                return False

    def sizes(self, folder: str = "") -> dict[str, int]:
        """The files of a folder with their sizes in bytes; empty where there is no such folder."""
        return {name: size for name, kind, size in self._list(folder) if kind == "file"}

    def folders(self, folder: str = "") -> list[str]:
        """The folders of a folder, sorted."""
        return sorted(name for name, kind, _ in self._list(folder) if kind == "directory")

    def _list(self, folder: str) -> list[tuple[str, str, int]]:
        self.system.invalidate_cache()
        with self._convert_errors("list", folder):
            try:
                rows = self.system.ls(self.path(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        found = [(r["name"].rstrip("/").rpartition("/")[2], r["type"], int(r["size"] or 0)) for r in rows]
        return [row for row in found if not row[0].startswith(".")]

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        with self.writing(name) as spare:
            spare.write_bytes(data)

    def write_many(self, files: Sequence[tuple[str, bytes]]) -> None:
        """Write several files, each whole or not at all; at once where each takes a journey."""
        if not self.shared or len(files) < 2:
            for name, data in files:
                self.write(name, data)
            return
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda file: self.write(*file), files))

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local path to write to; it becomes the file when the block ends well."""
        if self.local:
            with writing(self.path(name)) as spare:
                yield spare
            return
        with tempfile.TemporaryDirectory(prefix="filterscope.") as folder:
            spare = Path(folder) / "file"
            try:
                yield spare
            except OSError as error:
                raise OutputError(f"cannot write {spare}: {error.strerror or error}") from error
            self._put(name, spare.read_bytes())

    def _put(self, name: str, data: bytes) -> None:
        for attempt in range(TRIES):
            try:
                self.system.pipe_file(self.path(name), data)
                return
            except Exception as error:  # whatever the client of an object store raises
                if attempt + 1 == TRIES or isinstance(error, PermissionError | NotImplementedError):
                    why = (
                        "one can only read there"
                        if isinstance(error, NotImplementedError)
                        else _reason(error, self.address)
                    )
                    raise OutputError(f"cannot write {self.address}/{name}: {why}") from error
                time.sleep(2.0**attempt)

    def sweep(self, folder: str) -> None:
        """Remove what a killed run left half written in a local folder; only while nobody else writes there."""
        if self.local:
            for spare in Path(self.path(folder)).glob(".*.part"):
                with contextlib.suppress(OSError):
                    spare.unlink()

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all in it; no error where it is absent."""
        path = self.path(name)
        self.system.invalidate_cache()
        with contextlib.suppress(FileNotFoundError), self._convert_errors("remove", name):
            if self.local and Path(path).is_dir():
                shutil.rmtree(path)
                return
            # one by one: a pattern of its own may lie in the address, which `rm` would expand
            for file in [path] if self.system.isfile(path) else self.system.find(path):
                self.system.rm_file(file)
