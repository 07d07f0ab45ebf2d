"""Pictures of units while a Keras model is trained, on any backend of Keras 3.

    import filterscope as fs

    look = fs.keras.VisualizeUnits(["conv2", "predictions:*"], every=5, out="pictures", images=validation_pictures)
    model.fit(x, y, epochs=50, callbacks=[look])        # open pictures/index.html meanwhile

Imported when `fs.keras` is first asked for, and with it Keras.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Unpack

from filterscope.api import Targets
from filterscope.epochs.callback import Schedule
from filterscope.epochs.recorder import RecordingOptions
from filterscope.networks.keras.importing import import_keras

__all__ = ["VisualizeUnits"]

_Callback: Any = import_keras().callbacks.Callback


class VisualizeUnits(_Callback):  # type: ignore[misc] # Keras has no types
    """Draws the same units every so many epochs of `fit`, into a folder that opens in a browser.

    targets: as for `filterscope.visualize`. every: epochs from turn to turn; the weights before the first epoch (epoch 0)
    and those after the last are drawn too. out: the folder, which a later `fit` goes on in. images, log, options: as for
    `filterscope.Recorder`, which does the work: the model and all random numbers are afterwards as they were, and errors
    are logged.

    Raises the errors of `Recorder` at once for what is wrong whatever the model is, as an `every` that is no whole number.
    """

    def __init__(
        self,
        targets: Targets,
        every: int = 1,
        out: str | os.PathLike[str] = "units",
        images: Any = None,
        log: Any = None,
        **options: Unpack[RecordingOptions],
    ):
        super().__init__()
        self.schedule = Schedule(targets, every, out, images, log, options)
        self._begun = False

    @property
    def folder(self) -> Path:
        """Where the pictures are."""
        return self.schedule.folder

    def on_train_begin(self, logs: Any = None) -> None:
        self._begun = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if not self._begun:  # only now it is known how many epochs there were before
            self._begun = True
            self.schedule.begin(self.model, epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.schedule.end(epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        self.schedule.finish()
