"""Pictures of units while Lightning trains a module; `lightning` and `pytorch_lightning` alike (extra `lightning`).

    import filterscope as fs

    look = fs.lightning.VisualizeUnits(["net.conv2", "net.head:*"], every=5, out="pictures", log=True)
    Trainer(max_epochs=50, callbacks=[look]).fit(module, loader)

The class is made when `fs.lightning.VisualizeUnits` is first asked for, and derives from the `Callback` of the library
that is in use.
"""

from __future__ import annotations

import functools
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Unpack

from filterscope.api import Targets
from filterscope.epochs.callback import Schedule, without
from filterscope.epochs.recorder import RecordingOptions
from filterscope.errors import ArgumentError, first_line

__all__ = ["VisualizeUnits"]  # noqa: F822 - made when it is first asked for

_LIBRARIES = ("lightning.pytorch", "pytorch_lightning")


class _Visualizing:
    """The callback, without Lightning's own class below it."""

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
        self._to_loggers = log is True
        self.schedule = Schedule(targets, every, out, images, None if log is True else log, options)

    @property
    def folder(self) -> Path:
        """Where the pictures are."""
        return self.schedule.folder

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Draw the weights that the training begins with."""
        if trainer.is_global_zero:
            with without(pl_module, "_trainer"):
                self.schedule.begin(
                    pl_module, trainer.current_epoch, trainer.loggers if self._to_loggers else None
                )

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Draw the epoch that is over, where it is its turn."""
        if trainer.is_global_zero:
            with without(pl_module, "_trainer"):
                self.schedule.end(trainer.current_epoch + 1)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Draw the last epoch, where it is not drawn yet."""
        if trainer.is_global_zero:
            with without(pl_module, "_trainer"):
                self.schedule.finish()


@functools.cache
def _callback() -> type:
    """The callback's class; ArgumentError where neither library is installed."""
    used = [name for name in _LIBRARIES if sys.modules.get(name) is not None]
    why = ""
    for name in used or _LIBRARIES:
        try:
            base = import_module(name).Callback
        except ImportError:
            continue
        except (RuntimeError, OSError) as error:  # of a build of torchvision for another torch, say
            why = f"; {name} is here and does not import: {first_line(error)}"
            continue
        told = {"__doc__": DOCUMENTATION, "__module__": __name__}
        return type("VisualizeUnits", (_Visualizing, base), told)
    raise ArgumentError(f"the callback needs Lightning: pip install 'filterscope[lightning]'{why}")


DOCUMENTATION = """Draws the same units every so many epochs of a training, into a folder that opens in a browser.

    targets: as for `filterscope.visualize`; layers have their names in the LightningModule. every: epochs from turn to
    turn; the weights that the training begins with and those that it ends with are drawn too. out: the folder, which a
    training that is resumed goes on in. log: as for `filterscope.Recorder`, or True for the trainer's own loggers. images,
    options: as for `filterscope.Recorder`, which does the work: the module and all random numbers are afterwards as they
    were, and errors are logged. Of several processes the first draws.

    Raises the errors of `Recorder` at once for what is wrong whatever the module is, and ArgumentError where Lightning is
    not installed.
    """


def __getattr__(name: str) -> Any:
    if name == "VisualizeUnits":
        return _callback()
    raise AttributeError(f"module 'filterscope.lightning' has no attribute {name!r}")
