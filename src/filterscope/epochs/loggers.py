"""Where pictures go beside the folder: TensorBoard, Weights & Biases, MLflow, or any function.

    as_logger(SummaryWriter())                        # or wandb, a run of it, mlflow, an MlflowClient with a run's id
    as_logger(lambda name, image, step: ...)          # image: uint8 (H, W, 3)
    as_logger(own)                                    # an object with own.log(name, image, step)
    as_logger([writer, run])                          # all of them

One protocol, `log(name, image, step)`, and an adapter for each library. None of them is imported: what was passed is
recognised by its class and methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from filterscope.errors import ArgumentError, shortened
from filterscope.files import safe_name


class Log(Protocol):
    """Takes a picture of a unit: its target as text, its pixels, uint8 (H, W, 3) RGB, and the epoch."""

    def __call__(self, name: str, image: np.ndarray, step: int) -> object: ...


@dataclass(frozen=True)
class TensorBoard:
    """To a `SummaryWriter` of torch.utils.tensorboard or tensorboardX: tag `filterscope/NAME`."""

    writer: Any

    def __call__(self, name: str, image: np.ndarray, step: int) -> None:
        self.writer.add_image(f"filterscope/{name}", image, step, dataformats="HWC")


@dataclass(frozen=True)
class WandB:
    """To a run of Weights & Biases, or to the module, whose run it then is. W&B's own step may only grow, and counts
    batches in most trainings, so the epoch goes along as a value of its own."""

    run: Any
    make_image: Callable[..., Any]

    def __call__(self, name: str, image: np.ndarray, step: int) -> None:
        shown = self.make_image(image, caption=f"{name}, epoch {step}")
        self.run.log({f"filterscope/{name}": shown, "filterscope/epoch": step})


@dataclass(frozen=True)
class MLflow:
    """To MLflow's active run, or by a client to the run of that id. MLflow's keys have no colons."""

    api: Any
    run_id: str | None = None

    def __call__(self, name: str, image: np.ndarray, step: int) -> None:
        key = f"filterscope/{safe_name(name)}"
        if self.run_id is None:
            self.api.log_image(image, key=key, step=step)
        else:
            self.api.log_image(self.run_id, image, key=key, step=step)


@dataclass(frozen=True)
class Several:
    """To all of them."""

    logs: Sequence[Log]

    def __call__(self, name: str, image: np.ndarray, step: int) -> None:
        for log in self.logs:
            log(name, image, step)


def as_logger(given: Any) -> Log | None:
    """What was passed as `log`, as one; None for None. ArgumentError for what takes no pictures.

    Lightning's loggers are taken too: what they write with is in them.
    """
    if given is None:
        return None
    if isinstance(given, list | tuple):
        return Several([log for log in map(as_logger, given) if log is not None])
    if isinstance(given, TensorBoard | WandB | MLflow | Several):
        return given
    if callable(getattr(given, "add_image", None)):
        return TensorBoard(given)
    home = (given.__name__ if hasattr(given, "__path__") else type(given).__module__).partition(".")[0]
    if home in ("lightning", "pytorch_lightning") and hasattr(given, "experiment"):
        return _of_lightning(given)
    if home == "wandb" and callable(getattr(given, "log", None)):
        import importlib

        return WandB(given, importlib.import_module("wandb").Image)
    if home == "mlflow" and callable(getattr(given, "log_image", None)):
        return MLflow(given)
    method = getattr(given, "log", None)
    if callable(given) or callable(method):
        log: Log = given if callable(given) else given.log
        return log
    raise ArgumentError(
        "log takes a SummaryWriter, a run of Weights & Biases, mlflow, a function (name, image, step), an "
        "object whose method log is one, or several of "
        f"these (got {shortened(given)})"
    )


def _of_lightning(logger: Any) -> Log | None:
    """A logger of Lightning's; None for one that takes no pictures, as CSVLogger."""
    run_id = getattr(logger, "run_id", None)
    if run_id is not None and callable(getattr(logger.experiment, "log_image", None)):
        return MLflow(logger.experiment, run_id)
    try:
        return as_logger(logger.experiment)
    except ArgumentError:
        return None
