"""Small tables in the user's cache: JSON files of a numbered form, kept on this machine only.

    WEIGHTS = Cache("weights.json", REGISTER, "files")
    WEIGHTS.add("ab12...", "/data/own.safetensors")
    WEIGHTS.read()                       # {"ab12...": "/data/own.safetensors"}

A cache costs no work where it fails: what is damaged is begun anew, what cannot be written is not kept, and one that a
newer filterscope wrote is left as it is, which is said once.
"""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from filterscope.errors import FilterscopeError, OutputError
from filterscope.files import held, write_text
from filterscope.formats import Form
from filterscope.notices import log_once


@dataclass(frozen=True)
class Cache:
    """A table in the file `name`, under the key `field` of a record of that form."""

    name: str
    form: Form
    field: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return cache_folder() / self.name

    def read(self) -> dict[str, Any]:
        """The table; empty where there is none that can be used."""
        return self._read() or {}

    def add(self, key: str, value: Any) -> None:
        """Put a value in, unless it is there."""
        with contextlib.suppress(OutputError, OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with held(self.path.parent):  # another program may add to it at the same time
                known = self._read()
                if known is not None and known.get(key) != value:
                    told = self.form.stamped({self.field: {**known, key: value}})
                    write_text(self.path, json.dumps(told, indent=1))

    def _read(self) -> dict[str, Any] | None:
        """The same, None where a newer filterscope wrote it."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if words := self.form.too_new(found, str(self.path)):
                log_once(logging.WARNING, "%s; it is left as it is and not used", words)
                return None
            return dict(self.form.newest(found, str(self.path))[self.field])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, FilterscopeError):
            return {}


def cache_folder() -> Path:
    """Where this machine's user keeps what filterscope can find out again."""
    return user_cache_path("filterscope")
