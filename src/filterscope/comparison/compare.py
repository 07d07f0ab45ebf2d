"""Two networks side by side: the same units of both, ordered by how much they changed.

    comparison = compare(before, after, ["block5_conv3:0-15"])
    comparison.pairs[0].change               # of the unit that changed most
    comparison.save("out")                   # compare.png, report.json, pages from index.html on

**How much a unit changed** is asked of the networks, not of the pixels: two pictures of one texture share no pixel
and excite a unit alike. Each network is shown both pictures of the unit, its own and the other's:

    reach_A = (a_A(picture of B) - a_A(noise)) / (a_A(picture of A) - a_A(noise))
    change  = 1 - (clip(reach_A, 0, 1) + clip(reach_B, 0, 1)) / 2

a_A is the unit's activation in network A; the noise is what A's picture began from. `change` is 0 where each network
likes the other's picture as well as its own, 1 where it sees no more in it than in noise. Dividing by the own
picture's gain takes away the scale of the activations, which training may change though the unit detects the same.
That units of two networks are compared by their responses to the same images follows Li et al. 2015, "Convergent
Learning"; the images here are the units' preferred stimuli (Erhan et al. 2009). A unit that only one network can
excite has changed by 1; one that neither can has no number and stands last.

`difference`, the root mean square between the two pictures' values over 255, says how different they look; it counts
shifts too and orders nothing but ties.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from filterscope.api import draw
from filterscope.ascent.prepare import choose_device
from filterscope.errors import ArgumentError, TargetError, checked_seed
from filterscope.files import write_text
from filterscope.measure.scores import Measurer
from filterscope.networks import Network, open_network
from filterscope.objective import Objective
from filterscope.pictures import Picture
from filterscope.pictures.sheet import Tile, compose, save_image
from filterscope.pictures.shown import Shown
from filterscope.progress import OnStep, Step
from filterscope.recipe import DEFAULT, Recipe, get_recipe
from filterscope.target import Selection, Target

EACH = 4  # units of every layer, where no target is named
SHOWN = 64  # pairs on the sheet
TOGETHER = 8  # pictures measured at once


@dataclass(frozen=True)
class Pair:
    """One unit's pictures from both networks, and what each network says of the other's: `crossed` is A's
    activation for B's picture, and B's for A's."""

    a: Picture
    b: Picture
    crossed: tuple[float, float]

    @property
    def name(self) -> str:
        """The unit as text, both where a class has another number in each network."""
        first, second = str(self.a.target), str(self.b.target)
        return first if first == second else f"{first} / {second}"

    @property
    def reach(self) -> tuple[float | None, float | None]:
        """How much of its own picture's gain over noise each network finds in the other's; None where its own
        picture gains nothing."""
        return _reach(self.a, self.crossed[0]), _reach(self.b, self.crossed[1])

    @property
    def change(self) -> float | None:
        """From 0 (each network likes the other's picture as well as its own) to 1; None where neither can be
        excited."""
        reach = self.reach
        if reach == (None, None):
            return None
        if None in reach:
            return 1.0
        return 1 - sum(min(1.0, max(0.0, r or 0.0)) for r in reach) / 2

    @property
    def difference(self) -> float:
        """Root mean square between the pictures, over 255."""
        first, second = self.a.image, _fitted(self.b.image, self.a.image.shape)
        return float(np.sqrt(np.mean((first.astype(float) - second) ** 2))) / 255

    def report(self, files: tuple[str, str]) -> dict[str, Any]:
        """This pair's entry in report.json."""
        return {
            "target": str(self.a.target),
            "target_b": str(self.b.target),
            "class_name": self.a.class_name,
            "change": _rounded(self.change),
            "reach_a": _rounded(self.reach[0]),
            "reach_b": _rounded(self.reach[1]),
            "difference": _rounded(self.difference),
            "activation_a_of_b": self.crossed[0],
            "activation_b_of_a": self.crossed[1],
            "a": self.a.report(files[0]),
            "b": self.b.report(files[1]),
        }


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
        shown = self.pairs[:SHOWN]
        across = max(1, min(len(shown), round(math.sqrt(len(shown) / 2))))
        tiles = [tile for pair in shown for tile in _tiles(pair)]
        return compose(tiles, columns=2 * across, titles=self.titles * across, group=2)

    def report(self) -> list[dict[str, Any]]:
        """The pairs for machines, most changed first."""
        return [pair.report(_files(self.names, pair)) for pair in self.pairs]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write pictures, compare.png, report.json and the pages, whose first is index.html, into a folder."""
        from filterscope.comparison.pages import write_pages

        folder = Path(path)
        for pair in self.pairs:
            for picture, file in zip((pair.a, pair.b), _files(self.names, pair), strict=True):
                picture.save(folder / file)
        save_image(self.to_pil(), folder / "compare.png")
        write_text(folder / "report.json", json.dumps(self.report(), indent=1) + "\n")
        write_pages(self, folder)
        return folder / "index.html"


def compare(
    network_a: Any,
    network_b: Any,
    targets: str | Sequence[str] = (),
    *,
    recipe: str | Recipe = DEFAULT,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    on_step: OnStep | None = None,
) -> Comparison:
    """Draw the same units of two networks with one recipe and seed, and order them by how much they changed.

    networks: names, files, model objects or opened Networks, two checkpoints of one say.
    targets: as for `visualize`; a class by name is looked up in each network, a number is the same in both. None
        means four units of every layer with weights that both networks have.

    Raises TargetError for a unit that one of the networks does not have.
    """
    seed = checked_seed(seed)
    a, b = open_network(network_a), open_network(network_b)
    chosen = get_recipe(recipe)
    chosen = chosen.model_copy(update={"facets": None})  # one picture a unit: pairs must be of one kind
    texts = [targets] if isinstance(targets, str) else list(targets)
    wanted = pair_targets(a, b, texts or common_targets(a, b, seed=seed), seed=seed)
    total = 2 * len(wanted) * chosen.steps
    drawn: list[list[Picture]] = []
    for side, network in enumerate((a, b)):

        def report(step: Step, before: int = side * total // 2) -> None:
            if on_step is not None:
                on_step(replace(step, done=before + step.done, total=total))

        own: list[Objective] = [pair[side] for pair in wanted]
        drawn.append(
            list(draw(network, own, chosen, seed=seed, precision=precision, device=device, on_step=report))
        )
    crossed = zip(
        activations_of(a, drawn[0], drawn[1], device=device),
        activations_of(b, drawn[1], drawn[0], device=device),
        strict=True,
    )
    pairs = [Pair(*pair) for pair in zip(*drawn, crossed, strict=True)]
    pairs.sort(key=lambda p: (p.change is None, -(p.change or 0.0), -p.difference))
    return Comparison(pairs, network_names(a, b), (a, b))


def pair_targets(
    a: Network, b: Network, texts: Sequence[str], *, seed: int = 0
) -> list[tuple[Target, Target]]:
    """The same units in both networks: by name where a text names classes, else by number."""
    pairs: list[tuple[Target, Target]] = []
    for text in texts:
        selection = Selection.parse(text)
        first = a.targets(selection, seed=seed)
        named = isinstance(selection.units, tuple) and any(isinstance(u, str) for u in selection.units)
        second = b.targets(selection, seed=seed) if named else _same(b, first)
        if len(first) != len(second):
            raise TargetError(
                f"{text!r} means {len(first)} units of {a.name} and {len(second)} of {b.name}; name one at a time"
            )
        pairs += zip(first, second, strict=True)
    if not pairs:
        raise TargetError(f"{a.name} and {b.name} share no layer with weights; name targets of both")
    return list(dict.fromkeys(pairs))


def common_targets(a: Network, b: Network, *, seed: int = 0) -> list[str]:
    """A few units of every layer with trained weights that both networks have, as target texts."""
    texts = []
    for name, row in a.layers.items():
        other = b.layers.get(name)
        if other is None or not (row.parameters and other.parameters and row.trained and other.trained):
            continue
        try:
            first, second = a.targets(name, seed=seed), b.targets(name, seed=seed)
        except TargetError:
            continue  # behind a layer without weights
        units = [t.unit for t in (first if row.units <= other.units else second)]
        texts.append(f"{name}:{','.join(str(u) for u in units[:: max(1, len(units) // EACH)][:EACH])}")
    return texts


def activations_of(
    network: Network, own: Sequence[Picture], others: Sequence[Picture], *, device: str = "auto"
) -> list[float]:
    """The activation of each own picture's unit for the other's picture, brought to the own one's size."""
    place = choose_device(device)
    found: list[float] = []
    for _, same in groupby(
        zip(own, others, strict=True), key=lambda p: (p[0].target.layers, p[0].image.shape)
    ):
        rows = list(same)
        for begin in range(0, len(rows), TOGETHER):
            some = rows[begin : begin + TOGETHER]
            goals = [mine.target for mine, _ in some]
            images = np.stack([_fitted(other.image, mine.image.shape) for mine, other in some])
            measurer = Measurer.of(network, goals, [None] * len(goals), device=place)
            found += measurer.activations(measurer.taps(images))
    return found


def network_names(a: Network, b: Network) -> tuple[str, str]:
    """What to call the two: their names, with the weights' file or a letter where these are the same."""
    names = [(n.name, f"{n.name} ({n.weights_file})" if n.weights_file else n.name) for n in (a, b)]
    for i in range(2):
        if names[0][i] != names[1][i]:
            return names[0][i], names[1][i]
    return f"{a.name} A", f"{b.name} B"


def _by_weights(a: Network, b: Network) -> bool:
    """Whether the files of their weights alone tell two networks apart."""
    return (
        a.name == b.name and None not in (a.weights_file, b.weights_file) and a.weights_file != b.weights_file
    )


def check_out(folder: Path) -> None:
    """ArgumentError where a comparison would overwrite the pages of an atlas."""
    if (folder / "atlas.json").exists():
        raise ArgumentError(
            f"{folder} holds an atlas; a comparison's pages would replace its own: take another folder"
        )


def _same(network: Network, targets: Sequence[Target]) -> list[Target]:
    for target in targets:
        units = network.layer(target.layer).units
        if target.unit >= units:
            raise TargetError(
                f"{target.layer} of {network.name} has units 0 to {units - 1} (got {target.unit})"
            )
        network.targets(str(target))
    return list(targets)


def _reach(own: Picture, crossed: float) -> float | None:
    start = own.scores.start or 0.0
    gain = own.scores.activation - start
    return (crossed - start) / gain if gain > 0 and math.isfinite(gain) else None


def _fitted(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A picture (H, W, C) in another's height, width and colours."""
    if image.shape == shape:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture = picture.convert("L" if shape[-1] == 1 else "RGB")
    picture = picture.resize((shape[1], shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(shape)


def _tiles(pair: Pair) -> list[Tile]:
    change = "no gain in either" if pair.change is None else f"change {pair.change:.2f}"
    said = [f"{pair.a.target.layers[0]}", change]
    return [Tile(p.to_pil(), p.label, text) for p, text in zip((pair.a, pair.b), said, strict=True)]


def _files(names: tuple[str, str], pair: Pair) -> tuple[str, str]:
    first, second = folders(names)
    return (
        f"{first}/{_layer_folder(pair.a)}/{pair.a.stem}.png",
        f"{second}/{_layer_folder(pair.b)}/{pair.b.stem}.png",
    )


def folders(names: tuple[str, str]) -> tuple[str, str]:
    """The two networks' folders."""
    from filterscope.atlas.gallery.paths import folder_name

    first, second = (folder_name(n) for n in names)
    return (first, second) if first != second else (f"{first}-A", f"{second}-B")


def _layer_folder(picture: Picture) -> str:
    from filterscope.atlas.gallery.paths import folder_name

    return folder_name(picture.target.layers[0])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
