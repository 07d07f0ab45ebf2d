"""Which units of the layers before feed a unit, with sign and strength, as their pictures.

    wires = find_wires("tiny-vgg16", "block4_conv2:7")
    wires.rows[0].unit, wires.rows[0].sign, wires.rows[0].strength
    wires.save("out")                   # pictures, wires.png, report.json, a page

`expanded.py` defines sign and strength.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from PIL import Image

from filterscope.api import Asked, DrawingOptions
from filterscope.errors import ArgumentError, TargetError
from filterscope.networks.network import Network
from filterscope.objective import Objective
from filterscope.pictures import Picture
from filterscope.pictures.kernels import signed_kernel
from filterscope.pictures.sheet import Tile, compose, save_sheet
from filterscope.pictures.shown import Shown
from filterscope.report import add_to_report, stamped
from filterscope.target import Target
from filterscope.wires.expanded import Expanded, expand_weights
from filterscope.wires.page import write_page

COUNT = 8  # of those that excite and of those that inhibit
MOST = 64


@dataclass(frozen=True)
class Wire:
    """One unit that feeds another one.

    sum: of its expanded kernel, whose sign says whether the unit excites or inhibits. strength: the kernel's L2 norm.
    share: of the squares of all weights that reach the unit. kernel: float32 (rows, columns). picture: the unit's own.
    """

    layer: str
    unit: int
    sum: float
    strength: float
    share: float
    kernel: np.ndarray = field(repr=False)
    picture: Picture | None = field(default=None, repr=False)

    @property
    def sign(self) -> str:
        """ "+" of a unit that excites, "-" of one that inhibits."""
        return "+" if self.sum >= 0 else "-"

    @property
    def target(self) -> Target:
        """The unit as a target."""
        return Target(self.layer, self.unit)

    def report(self, feeds: Target) -> dict[str, Any]:
        """For machines."""
        return {
            "feeds": str(feeds), "sign": self.sign, "strength": float(f"{self.strength:.6g}"),
            "sum": float(f"{self.sum:.6g}"), "share": float(f"{self.share:.4g}"),
            "kernel": [[float(f"{value:.4g}") for value in row] for row in self.kernel.tolist()],
        }  # fmt: skip


@dataclass(frozen=True)
class Wires(Shown):
    """What feeds a unit: the strongest of those that excite it, then of those that inhibit it, each strongest first.

    picture: the unit's own. layers: those whose units reach it linearly. units: how many those have in all.
    """

    network: Network
    picture: Picture
    rows: list[Wire]
    layers: tuple[str, ...]
    units: int

    @property
    def target(self) -> Target:
        """The unit that they feed."""
        assert isinstance(self.picture.target, Target)
        return self.picture.target

    @property
    def scale(self) -> float:
        """The largest weight of all kernels, either way: what is full colour in their pictures."""
        return max((float(np.abs(wire.kernel).max()) for wire in self.rows), default=1.0)

    def of(self, sign: str) -> list[Wire]:
        """Those that excite ("+") or inhibit ("-"), strongest first."""
        return [wire for wire in self.rows if wire.sign == sign]

    def to_pil(self) -> Image.Image:
        """The sheet: the unit, then a row of those that excite it and one of those that inhibit it, each over its kernel."""
        scale = self.scale
        columns = 1 + max(1, *(len(self.of(sign)) for sign in "+-"))
        own = self.picture.to_pil()
        blank = Tile(Image.new("RGB", own.size, "white"))
        tiles: list[Tile] = []
        for sign, words in (("+", "excited by"), ("-", "inhibited by")):
            wires = self.of(sign)
            tiles.append(
                Tile(own, self.picture.label, words) if sign == "+" else Tile(blank.image, "", words)
            )
            tiles += [_tile(wire, self.layers) for wire in wires]
            tiles += [blank] * (columns - 1 - len(wires))
            tiles += [blank, *(Tile(signed_kernel(wire.kernel, scale)) for wire in wires)]
            tiles += [blank] * (columns - 1 - len(wires))
        return compose(tiles, columns=columns)

    def report(self) -> list[dict[str, Any]]:
        """The rows of report.json: the unit's own picture, then those of what feeds it."""
        rows = [self.picture.report(f"{self.picture.stem}.png")]
        for wire in self.rows:
            assert wire.picture is not None
            rows.append({**wire.picture.report(f"{wire.picture.stem}.png"), **wire.report(self.target)})
        return stamped(rows)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the pictures, wires.png, report.json and a page into a folder; the page's path."""
        folder = Path(path)
        pictures = [self.picture, *(wire.picture for wire in self.rows if wire.picture is not None)]
        for picture in pictures:
            picture.save(folder / f"{picture.stem}.png")
        shown = [f"{picture.stem}.png" for picture in pictures]
        save_sheet(self.to_pil(), folder / "wires.png", shown)
        add_to_report(folder, self.report())
        return write_page(folder, self._page())

    def _page(self) -> dict[str, Any]:
        """What the page shows."""

        def side(sign: str) -> list[dict[str, Any]]:
            return [
                {
                    "file": f"{wire.picture.stem}.png", "label": wire.picture.label, "layer": wire.layer,
                    "target": str(wire.target), "strength": f"{wire.strength:.3g}", "share": wire.share,
                    "kernel": signed_kernel(wire.kernel, self.scale),
                }
                for wire in self.of(sign)
                if wire.picture is not None
            ]  # fmt: skip

        return {
            "stem": self.picture.stem, "target": str(self.target), "name": self.picture.class_name,
            "file": f"{self.picture.stem}.png", "network": self.network.name, "recipe": self.picture.recipe,
            "layers": self.layers, "units": self.units,
            "sides": [("Excited by", "+", side("+")), ("Inhibited by", "-", side("-"))],
        }  # fmt: skip


def _tile(wire: Wire, layers: Sequence[str]) -> Tile:
    assert wire.picture is not None
    where = f" {wire.layer}" if len(layers) > 1 else ""
    return Tile(wire.picture.to_pil(), wire.picture.label, f"{wire.sign}{wire.strength:.3g}{where}")


def find_wires(
    network: Any, target: str | Objective, *, count: int = COUNT, **options: Unpack[DrawingOptions]
) -> Wires:
    """Find which units of the layer before feed a unit, by the weights alone, and draw them.

    The weights between two layers of activations are the product of all that lies between them (convolutions, batch
    norms, pools as means, additions): the expanded weights of Voss et al. 2021, "Visualizing Weights". A unit's strength
    is the L2 norm of its expanded kernel, its sign that of the kernel's sum.

    target: "LAYER:UNIT", one unit. count: how many that excite, and how many that inhibit, the strongest.
    Options as for `visualize`. Raises TargetError where the layer has no linear path before it.

    >>> wires = find_wires("tiny-vgg16", "block1_conv2:3", count=1, steps=1, size=32, progress=False)
    >>> [(wire.layer, wire.sign) for wire in wires.rows]
    [('block1_conv1', '+'), ('block1_conv1', '-')]
    """
    return trace_wires(Asked.read(network, target, options), count)


def trace_wires(asked: Asked, count: int) -> Wires:
    """The wires of the one unit that was asked for; errors as for `find_wires`."""
    if not isinstance(count, int) or not 1 <= count <= MOST:
        raise ArgumentError(f"count is a whole number from 1 to {MOST} (got {count!r})")
    unit = asked.goals[0]
    if len(asked.goals) != 1 or not isinstance(unit, Target):
        words = ", ".join(map(str, asked.goals[:4])) + (", ..." if len(asked.goals) > 4 else "")
        raise TargetError(f"wires takes one unit, LAYER:UNIT (got {words})")
    found = expand_weights(asked.network, unit)
    return _drawn(asked, unit, found, choose_wires(found, count))


def choose_wires(found: Sequence[Expanded], count: int) -> list[Wire]:
    """The strongest that excite, then the strongest that inhibit, `count` of each at most."""
    whole = sum(float((one.strengths**2).sum()) for one in found) or 1.0
    wires = [
        Wire(one.layer, unit, float(total), float(strength), float(strength) ** 2 / whole, kernel)
        for one in found
        for unit, (total, strength, kernel) in enumerate(
            zip(one.sums, one.strengths, one.kernels, strict=True)
        )
        if strength > 0
    ]
    wires.sort(key=lambda wire: -wire.strength)
    return [wire for sign in "+-" for wire in [w for w in wires if w.sign == sign][:count]]


def _drawn(asked: Asked, unit: Target, found: Sequence[Expanded], wires: Sequence[Wire]) -> Wires:
    """The unit and what feeds it, drawn."""
    goals: list[Objective] = list(dict.fromkeys([unit, *(wire.target for wire in wires)]))
    drawn = {
        picture.target: picture for picture in replace(asked, goals=goals).pictures() if not picture.facet
    }
    rows = [replace(wire, picture=drawn[wire.target]) for wire in wires]
    layers = tuple(one.layer for one in found)
    return Wires(asked.network, drawn[unit], rows, layers, sum(len(one.kernels) for one in found))
