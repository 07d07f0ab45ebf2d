"""Which units two networks are compared by, and how much each has changed.

**How much a unit changed** is asked of the networks, not of the pixels: two pictures of one texture share no pixel
and excite a unit alike. Each network is shown both pictures of the unit, its own and the other's:

    reach_A = (a_A(picture of B) - a_A(noise)) / (a_A(picture of A) - a_A(noise))
    change  = 1 - (clip(reach_A, 0, 1) + clip(reach_B, 0, 1)) / 2

a_A is the unit's activation in network A; the noise is what A's picture began from. `change` is 0 where each network
is excited by the other's picture as far as by its own, 1 where it excites the unit no more than noise. Dividing by the own
picture's gain takes away the scale of the activations, which training may change though the unit detects the same.
That units of two networks are compared by their responses to the same images follows Li et al. 2015, "Convergent
Learning"; the images here are the units' preferred stimuli (Erhan et al. 2009). A unit that only one network can
excite has changed by 1; one that neither can has no number and stands last.

`difference`, the root mean square between the two pictures' values over 255, measures how different they look; it counts
shifts too and orders nothing but ties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from filterscope.atlas.gallery.paths import folder_name
from filterscope.errors import TargetError
from filterscope.networks import Network
from filterscope.objective import Objective
from filterscope.pictures import Picture
from filterscope.target import Target

UNITS_PER_LAYER = 4  # units of every layer, where no target is named


@dataclass(frozen=True)
class Pair:
    """One unit's pictures from both networks, and how far each excites the other network: `crossed` is A's
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
        return reach_of(self.a, self.crossed[0]), reach_of(self.b, self.crossed[1])

    @property
    def change(self) -> float | None:
        """From 0 (each network is excited by the other's picture as far as by its own) to 1; None where neither can be
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
        first, second = self.a.image, fit_to(self.b.image, self.a.image.shape)
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


def pair_units(a: Network, b: Network, texts: Sequence[str], *, seed: int = 0) -> list[tuple[Target, Target]]:
    """The same units in both networks: by name where a text names classes, else by number."""
    pairs: list[tuple[Target, Target]] = []
    for text in texts:
        selection = a.selection(text)
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


def select_units(a: Network, b: Network, *, seed: int = 0) -> list[str]:
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
        texts.append(
            f"{name}:{','.join(str(u) for u in units[:: max(1, len(units) // UNITS_PER_LAYER)][:UNITS_PER_LAYER])}"
        )
    return texts


def name_networks(a: Network, b: Network) -> tuple[str, str]:
    """What to call the two: their names, with the weights' file or a letter where these are the same."""
    names = [(n.name, f"{n.name} ({n.weights_file})" if n.weights_file else n.name) for n in (a, b)]
    for i in range(2):
        if names[0][i] != names[1][i]:
            return names[0][i], names[1][i]
    return f"{a.name} A", f"{b.name} B"


def _same(network: Network, targets: Sequence[Target]) -> list[Target]:
    for target in targets:
        units = network.layer(target.layer).units
        if target.unit >= units:
            raise TargetError(
                f"{target.layer} of {network.name} has units 0 to {units - 1} (got {target.unit})"
            )
        network.targets(str(target))
    return list(targets)


def reach_of(own: Picture, crossed: float) -> float | None:
    """How much of the own picture's gain over noise another picture gives, whose activation is `crossed`; None where the
    own picture gains nothing."""
    start = own.scores.start or 0.0
    gain = own.scores.activation - start
    return (crossed - start) / gain if gain > 0 and math.isfinite(gain) else None


def fit_to(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A picture (H, W, C) in another's height, width and colours."""
    if image.shape == shape:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture = picture.convert("L" if shape[-1] == 1 else "RGB")
    picture = picture.resize((shape[1], shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(shape)


def name_files(names: tuple[str, str], a: Objective, b: Objective) -> tuple[str, str]:
    """Where the two pictures of a pair's targets lie in a comparison's folder."""
    first, second = name_folders(names)
    return (
        f"{first}/{folder_name(a.layers[0])}/{a.stem}.png",
        f"{second}/{folder_name(b.layers[0])}/{b.stem}.png",
    )


def name_folders(names: tuple[str, str]) -> tuple[str, str]:
    """The two networks' folders."""
    first, second = (folder_name(n) for n in names)
    return (first, second) if first != second else (f"{first}-A", f"{second}-B")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
