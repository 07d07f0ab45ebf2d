"""Frames of an ascent while it runs: N of them, evenly spaced, of one size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given, Run
from filterscope.measure.scores import to_bytes
from filterscope.networks.network import Network
from filterscope.objective import Between
from filterscope.pictures.animation import save_animation, with_curve
from filterscope.pictures.picture import Picture
from filterscope.progress import Step

LARGEST = 1024  # longer side of an animation's frames in pixels: more than that no player needs


class Recorder:
    """Called after each step, keeps `count` frames of each picture, the last of them the finished one.

    recorder = Recorder(24)
    draw(net, targets, recipe, on_step=recorder)
    recorder.save(0, "out/block3_conv1-0034.webp", finished=picture.to_pil(), curve=True)
    """

    def __init__(self, count: int, *, first: Image.Image | None = None):
        self.first = first
        self.inner = max(0, count - 1 - (first is not None))  # the last one is the finished picture
        self.steps: dict[int, int] = {}  # of the ascent of each picture
        self.frames: dict[int, list[tuple[int, Image.Image]]] = {}
        self.curves: dict[int, list[float]] = {}

    def __call__(self, step: Step) -> None:
        """Keep what this step has to show, if it is one of those wanted."""
        if step.attempt or isinstance(
            step.target, Between
        ):  # of some alone, drawn again; of frames of something else
            return
        assert step.recipe is not None
        for i, value in enumerate(step.activations.tolist(), step.first):
            self.curves.setdefault(i, []).append(value)
            self.steps[i] = step.recipe.steps
        if step.step in self._wanted(step.recipe.steps) and step.images is not None:
            images: Callable[[], Tensor] = step.images
            found = to_bytes(images(), step.recipe.output)[: len(step.activations)]
            for i, image in enumerate(found, step.first):
                shown = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
                self.frames.setdefault(i, []).append((step.step, _small(shown)))

    def _wanted(self, steps: int) -> set[int]:
        """The steps of which frames are kept, evenly spaced from the first on."""
        return {round(s) for s in np.linspace(1, steps, self.inner + 1)[:-1]}

    def save(self, number: int, path: Path, *, finished: Image.Image, curve: bool, fps: float) -> Path:
        """Write picture `number`'s animation, with its curve beneath if asked for."""
        size = _small(finished).size
        known = self.curves.get(number, [])
        frames = [] if self.first is None else [(0, self.first)]
        steps = self.steps.get(number, 0)
        frames += [*self.frames.get(number, []), (steps, finished)]
        shown = [
            (step, image.convert("RGB").resize(size, Image.Resampling.BICUBIC)) for step, image in frames
        ]
        films = [with_curve(im, known[:step], steps) if curve else im for step, im in shown]
        return save_animation(films, path, fps=fps)


def record_again(net: Network, picture: Picture, run: Run, count: int) -> Recorder:
    """A recording of the ascent that gave a picture, where its first one failed: what was recorded is of the first."""
    recorder = Recorder(count)
    given = Given(attempt=picture.attempt, facet=picture.facet)
    list(draw(net, [picture.target], picture.recipe, run, given=given, on_step=recorder))
    return recorder


def _small(image: Image.Image) -> Image.Image:
    scale = LARGEST / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)
