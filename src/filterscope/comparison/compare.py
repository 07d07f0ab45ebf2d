"""Two networks side by side: the same units of both, ordered by how much they changed.

    comparison = compare(before, after, ["block5_conv3:0-15"])
    comparison.pairs[0].change               # of the unit that changed most
    comparison.save("out")                   # compare.png, report.json, pages from index.html on

`pairs.py` defines the change.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from filterscope.ascent.engine.prepare import choose_device
from filterscope.comparison.pages import write_pages
from filterscope.comparison.pairs import (
    Pair,
    fit_to,
    name_files,
    name_networks,
    pair_units,
    select_units,
)
from filterscope.drawing.choice import recipe_for
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError
from filterscope.measure.scores import Measurers
from filterscope.networks import Network, open_network
from filterscope.objective import Objective
from filterscope.pictures import Picture
from filterscope.pictures.html import SIDE, figure, grid
from filterscope.pictures.sheet import Tile, compose, save_sheet
from filterscope.pictures.shown import Shown
from filterscope.progress import OnStep, Step
from filterscope.recipe import AUTO, AutoRecipe, Recipe, ask_recipe
from filterscope.report import add_to_report, pictures_of, read_report, stamped

MAX_PAIRS = 64  # pairs on the sheet
BATCH = 8  # pictures measured at once


@dataclass(frozen=True)
class Comparison(Shown):
    """Pairs, most changed first, and what the two networks are called."""

    pairs: list[Pair]
    names: tuple[str, str]
    networks: tuple[Network, Network]

    @property
    def titles(self) -> tuple[str, str]:
        """The names as short as they differ, for a column of pictures."""
        a, b = self.networks
        return (str(a.weights_file), str(b.weights_file)) if _by_weights(a, b) else self.names

    def to_pil(self) -> Image.Image:
        """The most changed pairs as a sheet: columns A and B, several times beside each other."""
        shown = self.pairs[:MAX_PAIRS]
        across = max(1, min(len(shown), round(math.sqrt(len(shown) / 2))))
        tiles = [tile for pair in shown for tile in _tiles(pair)]
        return compose(tiles, columns=2 * across, titles=self.titles * across, group=2)

    def _repr_html_(self) -> str:
        """The most changed pairs, A's picture left and B's right, for a notebook."""
        first, second = self.titles
        shown = [
            grid(
                [figure(p.a.to_pil(), p.name, first, side=SIDE), figure(p.b.to_pil(), _changed(p), second, side=SIDE)],
                2, columns=2,
            )
            for p in self.pairs[: MAX_PAIRS // 2]
        ]  # fmt: skip
        return grid(shown, len(self.pairs), columns=2, side=2 * SIDE + 24)

    def report(self) -> list[dict[str, Any]]:
        """The pairs for machines, most changed first."""
        return stamped(
            pair.report(name_files(self.names, pair.a.target, pair.b.target)) for pair in self.pairs
        )

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write pictures, compare.png, report.json and the pages, whose first is index.html, into a folder.

        ArgumentError where it holds pages that would be lost (see `check_out`), unless it is to overwrite them.
        """
        folder = Path(path)
        files = [name_files(self.names, pair.a.target, pair.b.target) for pair in self.pairs]
        shown = [file for both in files for file in both]
        check_out(folder, shown, overwrite=overwrite)
        for pair, both in zip(self.pairs, files, strict=True):
            for picture, file in zip((pair.a, pair.b), both, strict=True):
                picture.save(folder / file)
        save_sheet(self.to_pil(), folder / "compare.png", shown)
        add_to_report(folder, self.report())
        write_pages(folder, self.pairs, self.names, self.networks)
        return folder / "index.html"


def compare(
    network_a: Any,
    network_b: Any,
    targets: str | Sequence[str] = (),
    *,
    recipe: str | Recipe | AutoRecipe = AUTO,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    on_step: OnStep | None = None,
) -> Comparison:
    """Draw the same units of two networks with one recipe and seed, and order them by how much they changed.

    networks: names, files, model objects or opened Networks, two checkpoints of one say.
    targets: as for `visualize`; a class by name is looked up in each network, a number is the same in both. None
        means four units of every layer with weights that both networks have.
    recipe: as for `visualize`; "auto" is for both what suits the first network.

    Raises TargetError for a unit that one of the networks does not have.
    """
    run = Run(seed, precision, device)
    a, b = open_network(network_a), open_network(network_b)
    asked = recipe if isinstance(recipe, AutoRecipe) else ask_recipe(recipe)
    texts = [targets] if isinstance(targets, str) else list(targets)
    wanted = pair_units(a, b, texts or select_units(a, b, seed=run.seed), seed=run.seed)
    # one picture a unit: pairs must be of one kind
    chosen = [recipe_for(a, first, asked).model_copy(update={"facets": None}) for first, _ in wanted]
    total, done = 2 * sum(one.steps for one in chosen), 0
    drawn: list[list[Picture]] = [[], []]
    for side, network in enumerate((a, b)):
        for one, same in groupby(zip(chosen, wanted, strict=True), key=lambda both: both[0]):
            own: list[Objective] = [pair[side] for _, pair in same]

            def report(step: Step, before: int = done) -> None:
                if on_step is not None:
                    on_step(replace(step, done=before + step.done, total=total))

            drawn[side] += draw(network, own, one, run, on_step=report)
            done += len(own) * one.steps
    crossed = zip(
        measure_crossed(a, drawn[0], drawn[1], device=device),
        measure_crossed(b, drawn[1], drawn[0], device=device),
        strict=True,
    )
    pairs = [Pair(*pair) for pair in zip(*drawn, crossed, strict=True)]
    pairs.sort(key=lambda p: (p.change is None, -(p.change or 0.0), -p.difference))
    return Comparison(pairs, name_networks(a, b), (a, b))


def measure_crossed(
    network: Network, own: Sequence[Picture], others: Sequence[Picture], *, device: str = "auto"
) -> list[float]:
    """The activation of each own picture's unit for the other's picture, brought to the own one's size."""
    measurers = Measurers(
        network, choose_device(device), best={}
    )  # activations alone: nothing to divide them by
    found: list[float] = []
    for _, same in groupby(
        zip(own, others, strict=True), key=lambda p: (p[0].target.layers, p[0].image.shape)
    ):
        rows = list(same)
        for begin in range(0, len(rows), BATCH):
            some = rows[begin : begin + BATCH]
            goals = [mine.target for mine, _ in some]
            images = np.stack([fit_to(other.image, mine.image.shape) for mine, other in some])
            measurer = measurers.of(goals)
            found += measurer.activations(measurer.taps(images))
    return found


def _by_weights(a: Network, b: Network) -> bool:
    """Whether two networks differ by the files of their weights alone."""
    return (
        a.name == b.name and None not in (a.weights_file, b.weights_file) and a.weights_file != b.weights_file
    )


def check_out(folder: Path, files: Sequence[str] = (), *, overwrite: bool = False) -> None:
    """ArgumentError where the pages of a comparison with these pictures would replace others: an atlas' and, unless they
    may be overwritten, those of a comparison with other pictures or of something else. Also where a foreign report.json
    is in the way."""
    if (folder / "atlas.json").exists():
        raise ArgumentError(
            f"{folder} holds an atlas; a comparison's pages would replace its own: take another folder"
        )
    pairs = [row for row in read_report(folder) if len(pictures_of(row)) == 2]
    if overwrite or not (folder / "index.html").exists():
        return
    found = None
    if not (folder / "pairs.js").exists():
        found = "an index.html that is no comparison's"
    elif files and (left := [p for p in pairs if not {one["file"] for one in pictures_of(p)} <= {*files}]):
        found = f"a comparison with pairs that this one has not ({left[0].get('target')} is one)"
    if found:
        raise ArgumentError(
            f"{folder} holds {found}, whose pages would be replaced: take another folder, or say "
            "overwrite=True (pictures and their rows in report.json stay either way)"
        )


def planned_files(a: Network, b: Network, texts: Sequence[str] = (), *, seed: int = 0) -> list[str]:
    """The pictures that `compare` will draw and `Comparison.save` write, as paths in the folder."""
    wanted = pair_units(a, b, list(texts) or select_units(a, b, seed=seed), seed=seed)
    return [file for pair in wanted for file in name_files(name_networks(a, b), *pair)]


def _changed(pair: Pair) -> str:
    return "no gain in either" if pair.change is None else f"change {pair.change:.2f}"


def _tiles(pair: Pair) -> list[Tile]:
    captions = [f"{pair.a.target.layers[0]}", _changed(pair)]
    return [Tile(p.to_pil(), p.label, text) for p, text in zip((pair.a, pair.b), captions, strict=True)]
