"""A run's folder: `checkpoint.pt`, from which it goes on, and `history.json`, for people.

The checkpoint holds tensors and plain Python only, so that it loads with weights_only=True.
"""

import hashlib
import pickle
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from training.architectures import ARCHITECTURES
from training.data import Pictures
from training.errors import TrainingError
from training.files import write_json, write_whole
from training.networks import Network

FILE, HISTORY = "checkpoint.pt", "history.json"
LABEL_SMOOTHING = 0.1  # unless a run is told otherwise


@dataclass(frozen=True)
class Settings:
    """Everything that decides the weights of a run; a setting with a default may be missing in an old run.

    `data` and `init` are fingerprints of the training pictures and of the weights the run starts from.
    """

    arch: str
    epochs: int
    batch: int
    peak_lr: float
    seed: int
    limit: int | None
    classes: int
    data: str
    label_smoothing: float = LABEL_SMOOTHING
    size: int | None = None  # of the pictures in every epoch; None: growing, see `schedule`
    low_contrast: float = 0.0  # share of the pictures
    init: str | None = None
    decorrelate: float = 0.0  # weight of `loop.likeness` in the loss
    freeze: str | None = None  # beginnings of names of units, between commas


def fingerprint(pictures: Pictures) -> str:
    """A short name for these pictures in this order, from all labels and about a thousand of the pictures."""
    digest = hashlib.sha256(pictures.labels.numpy().tobytes())
    digest.update(pictures.images[:: max(1, len(pictures) // 1000)].numpy().tobytes())
    return f"{len(pictures)} pictures, sha256 {digest.hexdigest()[:16]}"


def fingerprint_file(path: Path) -> str:
    """The file's name, and a short name for what is in it."""
    return f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the run's state and, for people, its settings and figures."""
    write_whole(folder / FILE, lambda part: torch.save(state, part))
    write_json(folder / HISTORY, {"settings": state["settings"], "epochs": state["history"]})


def load(folder: Path) -> dict[str, Any] | None:
    """The state that `save` wrote, on the CPU, or None where no run has begun."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(f"cannot read the checkpoint {path}: {error}") from error
    if not isinstance(state, dict) or not {"settings", "network", "average"} <= state.keys():
        raise TrainingError(f"{path} is no checkpoint of training.train")
    return state


def check_same(folder: Path, saved: dict[str, Any], asked: Settings) -> None:
    """TrainingError, naming each difference, unless the run in `folder` was begun with these settings."""
    wanted = asdict(asked)
    begun = {
        field.name: None if field.default is MISSING else field.default for field in fields(asked)
    } | saved
    changed = [
        f"{name} was {begun[name]!r}, now {wanted[name]!r}" for name in wanted if begun[name] != wanted[name]
    ]
    if changed:
        raise TrainingError(
            f"{folder} holds a run with other settings ({'; '.join(changed)}); "
            "go on with the same settings, or give another --out"
        )


def averaged_network(folder: Path) -> tuple[Network, dict[str, Any]]:
    """The network of a run's averaged weights, in evaluation mode, and the run's state."""
    state = load(folder)
    if state is None:
        raise TrainingError(f"no {FILE} in {folder}; allowed: a folder that training.train wrote")
    settings = state["settings"]
    if settings["arch"] not in ARCHITECTURES:
        raise TrainingError(f"{folder} is a run of '{settings['arch']}'; allowed: {', '.join(ARCHITECTURES)}")
    network = Network(settings["arch"], settings["classes"])
    network.load_state_dict(state["average"])
    return network.eval(), state
