"""The endless zoom: dream, step into the picture, dream again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from PIL import Image

from filterscope.drawing.draw import Photographs, draw
from filterscope.drawing.run import USUAL, Run
from filterscope.networks.network import Network
from filterscope.objective import Objective
from filterscope.pictures.picture import Picture
from filterscope.pictures.reading import read_photograph
from filterscope.recipe import Recipe

FACTOR = 1.04
SHARE = 0.25  # of the recipe's steps: each frame starts from a dream already


def zoom(
    net: Network,
    goal: Objective,
    recipe: Recipe,
    photographs: Photographs,
    first: Picture,
    *,
    frames: int,
    factor: float = FACTOR,
    run: Run = USUAL,
) -> Iterator[Image.Image]:
    """`frames` frames of one size; the first is the dream of the photograph, each next one the dream of the one
    before, enlarged by `factor` about its middle."""
    image = first.to_pil()
    yield image
    again = recipe.model_copy(
        update={"steps": max(1, round(recipe.steps * SHARE)), "size": max(image.size), "usual_size": None}
    )
    for frame in range(1, frames):
        known = {**photographs, "image": read_photograph(_stepped_into(image, factor))}
        now = replace(run, seed=run.seed + frame)
        (picture,) = draw(net, [goal], again, now, photographs=known)
        image = picture.to_pil()
        yield image


def _stepped_into(image: Image.Image, factor: float) -> Image.Image:
    width, height = image.width / factor, image.height / factor
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(image.size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
