"""What the callbacks of Keras and Lightning share: when to draw, and that no error ends a training."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filterscope.api import Targets
from filterscope.epochs.budget import Budget
from filterscope.epochs.images import read_images
from filterscope.epochs.loggers import as_logger
from filterscope.epochs.recorder import Recorder, RecordingOptions, checked_options
from filterscope.epochs.undisturbed import is_first_process
from filterscope.errors import ArgumentError, first_line

log = logging.getLogger("filterscope")


@dataclass
class Schedule:
    """A recorder that begins with a training and draws every so many epochs.

    What is wrong whatever the model is, is refused at once: ArgumentError, RecipeError, ImageError.
    """

    targets: Targets
    every: int
    out: str | os.PathLike[str]
    images: Any
    log: Any
    options: RecordingOptions
    recorder: Recorder | None = field(default=None, init=False)
    failed: bool = field(default=False, init=False)
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ArgumentError(f"every is a whole number of epochs, from 1 on (got {self.every!r})")
        Budget(self.options.get("seconds"), self.options.get("share"))
        checked_options(self.options)
        self.images, self.log = read_images(self.images), as_logger(self.log)

    @property
    def folder(self) -> Path:
        """Where the pictures are."""
        return Path(self.out) if self.recorder is None else self.recorder.folder

    def begin(self, model: Any, epochs: int, log: Any = None) -> None:
        """A training of a model begins, after so many epochs; its first weights are drawn."""
        if not is_first_process():
            return
        self.done, self.failed = epochs, False
        if self._made(model, log):
            assert self.recorder is not None
            self.recorder.begin(epochs)

    def _made(self, model: Any, log_to: Any = None) -> bool:
        try:
            self.recorder = Recorder(
                model, self.targets, self.out, images=self.images, log=self.log if log_to is None else log_to,
                **self.options,
            )  # fmt: skip
        except Exception as error:  # the training is worth more than its pictures
            log.error("this training has no pictures: %s", first_line(error))
            self.failed, self.recorder = True, None
        return not self.failed

    def end(self, epochs: int) -> None:
        """So many epochs are over."""
        if self.recorder is not None and epochs % self.every == 0:
            self.recorder(epochs)
        self.done = epochs

    def finish(self) -> None:
        """The training is over; its last weights are drawn where they are not yet."""
        if self.recorder is not None and self.done % self.every:
            self.recorder(self.done)


@contextlib.contextmanager
def without(thing: Any, name: str) -> Any:
    """Inside an attribute of a model is None, so that no copy of the model takes along what it refers to."""
    before = vars(thing).get(name)
    if before is not None:
        object.__setattr__(thing, name, None)
    try:
        yield
    finally:
        if before is not None:
            object.__setattr__(thing, name, before)
