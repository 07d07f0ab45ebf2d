"""Recorder: the same units drawn again and again while a network is trained."""

from __future__ import annotations

import logging
import operator
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from filterscope.api import Asked, DrawingOptions, Targets, read_run
from filterscope.epochs.budget import Budget, measure_cost, own_steps, with_steps
from filterscope.epochs.folder import Recording, open_recording
from filterscope.epochs.guesses import guesses_by_input
from filterscope.epochs.images import read_images
from filterscope.epochs.loggers import as_logger
from filterscope.epochs.pages import write_page
from filterscope.epochs.turn import draw_turn, identity_of, name_of, notes_of
from filterscope.epochs.undisturbed import is_first_process, undisturbed
from filterscope.errors import (
    ArgumentError,
    FilterscopeError,
    NetworkError,
    OutputError,
    did_you_mean,
    first_line,
    shortened,
)
from filterscope.files import check_writable
from filterscope.networks import Network, open_network
from filterscope.pictures import Picture
from filterscope.recipe import AUTO, AutoRecipe, Recipe, ask_recipe

log = logging.getLogger("filterscope")

INPUT = ("mean", "std", "range", "channels", "size", "show_channels", "classes")  # options of open_network
_OWN = ("seconds", "share", "input")


class RecordingOptions(DrawingOptions, total=False):
    """How a training's pictures are drawn: the options of `visualize`, a budget, and how the network is fed.

    seconds: what a turn may take; the first one finds out how many steps fit, and all later ones take as many. share: the
    same as a share of the time that the training itself takes from turn to turn, 0.1 for a tenth.
    input: options of `open_network` for the model, as {"range": (0, 1), "size": 28, "classes": [...]}.
    """

    seconds: float | None
    share: float | None
    input: Mapping[str, Any] | None


class Recorder:
    """Draws the same units of a model whenever it is called, into a folder that opens in a browser.

        recorder = fs.Recorder(model, ["conv2", "head:3"], "pictures")
        for epoch in range(1, epochs + 1):
            train_one_epoch(model)
            recorder(epoch)                     # pictures/index.html, whole at any moment

    model: a torch module or a Keras model, which is read at each call as it then is and never changed: its mode, gradients,
        hooks, device and number type stay, and all random numbers go on, so that the training is the same to the bit.
    targets: as for `visualize`; the units that a layer's name stands for are chosen once, by the seed.
    out: the folder. Where it holds an earlier recording of the same targets, recipe and seed, this one goes on after its
        last epoch; one of others, or of a training that starts over, is left alone, and `folder` is `out-1`.
    images: photographs over which units are measured at each call: a folder, files, or an array (N, H, W, C), uint8, or
        floats in 0 to 1 or 0 to 255. With them excitation is known, and dead ReLUs are counted in every layer.
    log: where pictures go besides: a SummaryWriter, a run of Weights & Biases, mlflow, a function (name, image, step), or
        several of these.
    options: those of `visualize` and of `RecordingOptions`: `seconds` or `share` is a budget.

    What is wrong with the arguments is raised here, before the training begins: ArgumentError, TargetError, RecipeError,
    ImageError, OutputError. Whatever goes wrong later is logged, and the training goes on. Of several processes the first
    one draws (rank 0); in the others a call does nothing.

    >>> import tempfile, torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    >>> recorder = Recorder(model, "0:1", tempfile.mkdtemp(), steps=2, size=16, input={"size": 16, "range": (0, 1)})
    >>> recorder(1)
    >>> sorted(path.name for path in recorder.folder.iterdir() if path.is_file())
    ['epochs.js', 'index.html', 'recording.json']
    """

    def __init__(
        self,
        model: Any,
        targets: Targets,
        out: str | os.PathLike[str],
        *,
        images: Any = None,
        log: Any = None,
        **options: Unpack[RecordingOptions],
    ):
        self.model, self.targets = model, targets
        self.budget = Budget(options.get("seconds"), options.get("share"))
        self.images = read_images(images)
        self.log = as_logger(log)
        self._input, self._drawing = checked_options(options)
        self._out = Path(out)
        self._recording: Recording | None = None
        self._before: dict[str, np.ndarray] | None = None
        self._said_slow = False
        self._start = self._read_start() if is_first_process() else None
        self._ended = time.perf_counter()

    def _read_start(self) -> str | None:
        """Refuse what is wrong; the sha256 of the weights that the training begins with, None where the model cannot be
        opened yet."""
        if isinstance(self.model, Network | str | os.PathLike):
            raise ArgumentError(
                "a recorder takes the model object that is trained, and reads it anew at each call; how it is fed goes to "
                f"input, as {{'range': (0, 1)}} (got {self.model!r})"
            )
        if not callable(self.model):
            raise ArgumentError(
                f"a recorder takes the torch or Keras model that is trained (got {shortened(repr(self.model))})"
            )
        if self._out.exists() and not self._out.is_dir():
            raise OutputError(f"{str(self._out)!r} is a file; name a folder for the recording")
        check_writable(self._out.parent)
        with undisturbed(self.model):
            try:
                return self._ask().network.weights.sha256
            except NetworkError as error:  # as one of lazy layers before its first batch
                log.warning("the model cannot be opened yet: %s", error)
                return None

    @property
    def folder(self) -> Path:
        """Where the pictures are; before the first of them, where they are to be."""
        return self._out if self._recording is None else self._recording.folder

    def __repr__(self) -> str:
        return f"<Recorder of {self.targets} in {self.folder}>"

    def begin(self, epoch: int = 0) -> None:
        """Draw the weights that a training begins with, after so many epochs.

        Not with a budget that is a share of the epochs' time, which is not known yet.
        """
        if self.budget.share is None:
            self(epoch)

    def __call__(self, epoch: int) -> None:
        """Draw the units from the weights as they are, as those after so many epochs.

        An epoch that the folder has from the very same weights is not drawn again. Where it has this epoch or later ones
        from other weights, as after a resume from an earlier checkpoint, they are removed: the folder shows one training.
        """
        if not is_first_process():
            return
        between = time.perf_counter() - self._ended
        try:
            with undisturbed(self.model):
                self._draw(_checked_epoch(epoch), between)
        except Exception as error:  # whatever goes wrong: the training is worth more
            log.warning(
                "epoch %s has no pictures: %s", epoch, first_line(error),
                exc_info=not isinstance(error, FilterscopeError),
            )  # fmt: skip
        finally:
            self._ended = time.perf_counter()

    def _ask(self) -> Asked:
        """The network as it is now, and what is drawn of it."""
        with guesses_by_input():
            net = open_network(self.model, **self._input)
        return Asked.read(net, self.targets, self._drawing)

    def _draw(self, epoch: int, between: float) -> None:
        began, asked = time.perf_counter(), self._ask()
        recording = self._opened(asked, epoch)
        number = epoch + recording.shift
        if recording.has(number, asked.network.weights.sha256):
            log.info("%s has epoch %d from these weights already", recording.folder, number)
            return
        allowed = self.budget.seconds_for(between)
        recipe = self._recipe(recording, asked, allowed)
        given_up = recording.keep_before(number)
        if self._before is None or given_up:
            self._before = recording.last_images()
        turn = draw_turn(asked, recipe, self.images, self._before)
        recording.turns.append(turn.row(recording, number, len(self.images or ()), began))
        recording.save()
        write_page(recording, notes_of(recording, asked, self.budget, self.images))
        if given_up:
            log.warning(
                "%s: epochs %s are of a run that was given up; epoch %d takes their place",
                recording.folder, ", ".join(str(one["epoch"]) for one in given_up), number,
            )  # fmt: skip
            recording.remove(given_up)
        self._before = {picture.stem: picture.image for picture in turn.pictures}
        self._hand_on(turn.pictures, number)
        self._check_time(recording, time.perf_counter() - began, allowed)

    def _opened(self, asked: Asked, epoch: int) -> Recording:
        """The recording that this run writes to, found at its first turn."""
        if self._recording is None:
            weights = asked.network.weights.sha256
            found = open_recording(self._out, identity_of(asked), epoch, weights, self._start)
            if found.shift:
                told = "%s goes on: this run's epoch %d is epoch %d there"
                log.warning(told, found.folder, epoch, epoch + found.shift)
            self._recording = found
        return self._recording

    def _recipe(self, recording: Recording, asked: Asked, seconds: float | None) -> Recipe | AutoRecipe:
        """What to draw with: at the first turn as many steps as the budget allows, at later ones as many as at the first."""
        own = own_steps(asked.network, asked.goals, asked.recipe)
        if seconds is not None and not recording.turns:
            cost = measure_cost(asked.network, asked.goals, asked.recipe, asked.run)
            recording.steps = min(own, cost.steps_within(seconds))
            level = logging.WARNING if recording.steps < own else logging.INFO
            told = "a budget of %s (%.3g s) takes %d of %d steps at every turn"
            log.log(level, told, self.budget, seconds, recording.steps, own)
        if recording.steps is None or recording.steps >= own:
            return asked.recipe
        return with_steps(asked.recipe, recording.steps)

    def _hand_on(self, pictures: list[Picture], epoch: int) -> None:
        """Give the pictures to the logger."""
        for picture in pictures if self.log is not None else ():
            assert self.log is not None
            try:
                self.log(name_of(picture), np.asarray(picture.to_pil().convert("RGB")), epoch)
            except Exception as error:  # of whichever library
                log.warning("the pictures of epoch %d could not all be logged: %s", epoch, first_line(error))
                return

    def _check_time(self, recording: Recording, seconds: float, allowed: float | None) -> None:
        """Say once where turns take much longer than the budget has: the first of a run also imports and prepares."""
        if allowed is not None and seconds > 2 * allowed and len(recording.turns) > 1 and not self._said_slow:
            self._said_slow = True
            told = "a turn took %.3g s, and its budget is %.3g s; the number of steps stays, so that pictures compare"
            log.warning(told, seconds, allowed)


def checked_options(options: RecordingOptions) -> tuple[dict[str, Any], DrawingOptions]:
    """Options of `open_network`, and those of `visualize`; ArgumentError or RecipeError for what can be none."""
    drawing: Any = {name: value for name, value in options.items() if name not in _OWN}
    drawing.setdefault("progress", False)
    known = [*RecordingOptions.__annotations__]
    for name in drawing:
        if name not in known:
            raise ArgumentError(f"there is no option {name!r}{did_you_mean(name, known)}")
    read_run(drawing)
    changes: Any = {name: drawing.get(name) for name in ("steps", "size", "settings")}
    ask_recipe(drawing.get("recipe", AUTO), **changes)
    return _checked_input(options.get("input") or {}), drawing


def _checked_input(given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise ArgumentError(f"input is options of open_network, as {{'range': (0, 1)}} (got {given!r})")
    for name in given:
        if name not in INPUT:
            raise ArgumentError(
                f"input takes {', '.join(INPUT)} (got {name!r}{did_you_mean(str(name), INPUT)})"
            )
    return dict(given)


def _checked_epoch(epoch: Any) -> int:
    """A number of epochs, of whatever integer type; ArgumentError for anything else."""
    try:
        number = operator.index(epoch)
    except TypeError:
        number = -1
    if number < 0:
        raise ArgumentError(f"an epoch is a whole number from 0 on (got {epoch!r})")
    return number
