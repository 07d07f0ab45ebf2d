"""Sheet: a labelled grid of pictures, as the blog drew them."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from filterscope.errors import ArgumentError, OutputError
from filterscope.files import held, writing
from filterscope.formats import SHEET
from filterscope.objective import Between, Objective
from filterscope.pictures.html import MOST, SIDE, figure, grid
from filterscope.pictures.picture import Picture
from filterscope.pictures.png import opened
from filterscope.pictures.shown import Shown
from filterscope.report import update_report
from filterscope.target import Sum, Target, terms_of

GAP = 6
APART = 18  # more between groups of columns
BACKGROUND = (255, 255, 255)
SHEET_CHUNK = "filterscope sheet"  # another than a picture's: a sheet is no picture that was drawn
ACROSS = 12  # frames in a row
SMALLEST = 160  # side of a tile in pixels: smaller pictures are enlarged, larger ones keep their size...
WIDEST = 4096  # ...but where the whole sheet would be wider than this
# name, place and facet, verdict: see Picture.label
_LABEL = re.compile(r"(.*?)((?: @\d+(?:,\d+)?)?(?: ~\d+)?)((?: \((?:no gain|dead)\))?)", re.DOTALL)


@dataclass(frozen=True)
class Tile:
    """A picture on a sheet: its image, the label inside its top left corner, a caption under it."""

    image: Image.Image
    label: str = ""
    caption: str = ""


def compose(
    tiles: Sequence[Tile],
    *,
    columns: int | None = None,
    titles: Sequence[str] = (),
    side: int | None = None,
    group: int | None = None,
) -> Image.Image:
    """Tiles row by row on white, `titles` over the columns; about square where `columns` is not given. So many columns
    as `group` says stand closer together than to the next ones."""
    if not tiles:
        raise ArgumentError("a sheet needs at least one picture")
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    side = side or max(SMALLEST, *(t.image.width for t in tiles))
    side = max(24, min(side, (WIDEST - GAP) // columns - GAP - (APART if group else 0)))
    font = _font(side)
    caption = font.size * 1.5 if any(t.caption for t in tiles) else 0
    head = round(font.size * 1.8) if titles else 0
    tall = max(_height(t.image, side) for t in tiles)
    step_x, step_y = side + GAP, tall + GAP + round(caption)
    left = [GAP + i * step_x + (i // group * APART if group else 0) for i in range(columns)]
    sheet = Image.new("RGB", (left[-1] + step_x, GAP + head + rows * step_y), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for x, title in zip(left, titles, strict=False):
        text = _fitting(draw, title, font, side)
        draw.text((x + side / 2, head / 2 + GAP), text, "black", font, anchor="mm")
    for i, tile in enumerate(tiles):
        x, y = left[i % columns], GAP + head + i // columns * step_y
        sheet.paste(_resized(tile.image.convert("RGB"), side), (x, y))
        if tile.label:
            _label(draw, (x, y), tile.label, side)
        if tile.caption:
            text = _fitting(draw, tile.caption, font, side)
            draw.text((x + side / 2, y + tall + caption / 2), text, "black", font, anchor="mm")
    return sheet


class Sheet(Sequence[Picture], Shown):
    """Pictures as a labelled grid; a sequence of its pictures, shows itself in a notebook.

    sheet = visualize(net, "block3_conv1")
    sheet[0]                 # the first Picture
    sheet.save("out")        # the sheet and every picture
    """

    def __init__(self, pictures: Sequence[Picture], *, columns: int | None = None):
        self.pictures = list(pictures)
        self.columns = columns

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.pictures[index]

    def __repr__(self) -> str:
        return f"<Sheet of {len(self)} pictures>"

    def to_pil(self) -> Image.Image:
        """The grid as a Pillow image, the blog's labels top left in each tile; where there are several layers, each
        one's name under its units."""
        several = len({p.target.layers for p in self.pictures}) > 1
        tiles = [Tile(p.to_pil(), p.label, layer_of(p) if several else "") for p in self.pictures]
        return compose(tiles, columns=self._columns() if self.pictures else None)

    def _columns(self) -> int:
        """How many pictures stand in a row: as was asked for, as suits their order, or for a square."""
        own = self.columns or _columns([p.target for p in self.pictures])
        return own or max(1, math.ceil(math.sqrt(len(self))))

    def _repr_html_(self) -> str:
        """The pictures with their scores, for a notebook."""
        shown = [figure(p.to_pil(), p.title, p.verdict, side=SIDE) for p in self.pictures[:MOST]]
        return grid(shown, len(self), columns=self._columns())

    def to_figure(self, *, side: float = 1.6) -> Any:
        """The grid as a matplotlib Figure, each picture in axes of its own under its name; `side` of a picture in inches.

        It belongs to no backend: `figure.savefig(path)` writes it. ArgumentError where matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise ArgumentError("a figure needs matplotlib: pip install 'filterscope[notebook]'") from None
        columns = self._columns()
        rows = max(1, math.ceil(len(self) / columns))
        made = Figure(figsize=(side * columns, (side + 0.3) * rows), layout="constrained")
        places = list(made.subplots(rows, columns, squeeze=False).flat)
        for place in places:
            place.set_axis_off()
        for place, picture in zip(places, self.pictures, strict=False):
            place.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255)
            place.set_title(picture.label, fontsize=8)
        return made

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the grid as a PNG; a folder gets `sheet.png` and every picture besides. A sheet of other pictures that is
        there stays, as `sheet-1.png`; where the folder has a report.json, it is told of the pictures."""
        place = Path(path)
        if place.is_dir() or not place.suffix:
            names = [f"{picture.stem}.png" for picture in self.pictures]
            for picture, name in zip(self.pictures, names, strict=True):
                picture.save(place / name)
            rows = [picture.report(name) for picture, name in zip(self.pictures, names, strict=True)]
            update_report(place, rows)
            place = place / "sheet.png"
            save_sheet(self.to_pil(), place, names)
        else:
            save_image(self.to_pil(), place)
        return place


def _columns(targets: Sequence[Objective]) -> int | None:
    """The columns of what has an order of its own: of frames one row for what lies between each two targets (or several rows
    of equal length), of a grid of sums one row for each first term. None of anything else."""
    first = targets[0] if targets else None
    if isinstance(first, Between) and all(
        isinstance(t, Between) and t.frames == first.frames for t in targets
    ):
        rows = next(n for n in range(-(-first.frames // ACROSS), first.frames + 1) if first.frames % n == 0)
        return first.frames // rows if rows < first.frames else min(ACROSS, first.frames)
    if isinstance(first, Sum) and all(isinstance(t, Sum) and not isinstance(t, Between) for t in targets):
        same = len(list(itertools.takewhile(lambda t: terms_of(t)[0] == terms_of(first)[0], targets)))
        return same if len(targets) % same == 0 and same < len(targets) else None
    return None


def layer_of(picture: Picture) -> str:
    """The layer of a unit, for a caption; nothing for other targets, whose labels name their layers."""
    return picture.target.layer if isinstance(picture.target, Target) else ""


def save_sheet(image: Image.Image, path: str | os.PathLike[str], shown: Sequence[str]) -> Path | None:
    """Write a sheet as a PNG that carries what it shows: its pictures' files in its folder, say.

    A sheet at that place that shows something else as well, or of which nobody knows what it shows, stays beside it
    under a name with a number, which is returned.
    """
    place = Path(path)
    info = PngImagePlugin.PngInfo()
    info.add_text(SHEET_CHUNK, json.dumps(SHEET.stamped({"shows": list(shown)})))
    moved = None
    with held(place.parent):
        if place.exists() and not _shown_on(place) <= {*shown}:
            moved = _free_name(place)
            try:
                place.rename(moved)
            except OSError as error:
                raise OutputError(f"cannot write {moved}: {error.strerror or error}") from error
        with writing(place) as spare:
            image.save(spare, "PNG", pnginfo=info)
    return moved


def _free_name(place: Path) -> Path:
    """The place with the first number behind its name that no file has."""
    numbered = (place.with_stem(f"{place.stem}-{number}") for number in itertools.count(1))
    return next(path for path in numbered if not path.exists())


def _shown_on(path: Path) -> set[str]:
    """What a sheet shows, as it says itself; of any other file its own path, which no sheet shows."""
    with (
        contextlib.suppress(ArgumentError, ValueError, KeyError, TypeError, RecursionError),
        opened(path) as image,
    ):
        told = SHEET.newest(json.loads(getattr(image, "text", {})[SHEET_CHUNK]), str(path))
        return {str(one) for one in told["shows"]}
    return {str(path.absolute())}


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a PNG, whole or not at all."""
    with writing(path) as spare:
        image.save(spare, "PNG")


def _font(side: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(9, round(side / 13)))  # type: ignore[return-value]


def _height(image: Image.Image, side: int) -> int:
    """Of the image at a width of `side`: its aspect is kept."""
    return max(1, round(image.height * side / image.width))


def _resized(image: Image.Image, side: int) -> Image.Image:
    size = (side, _height(image, side))
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _label(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, side: int) -> None:
    """White letters in a black outline: legible on any background."""
    font = _font(side)
    text = _fitting_label(draw, text, font, side - 8)
    edge = max(1, font.size // 7)
    draw.text(
        (corner[0] + 4 + edge, corner[1] + 3), text, "white", font, stroke_width=edge, stroke_fill="black"
    )


def _fitting_label(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """A label whose name is trimmed where it is too long, before its place, facet and verdict are."""
    found = _LABEL.fullmatch(text)
    assert found is not None
    for name, rest in ((found[1], found[2] + found[3]), (found[1] + found[2], found[3])):
        room = width - draw.textlength(rest, font)
        short = _fitting(draw, name, font, room)
        if draw.textlength(short, font) <= room:
            return short + rest
    return _fitting(draw, text.removeprefix(found[1] + found[2]).strip() or text, font, width)


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    while len(text) > 1 and draw.textlength(text, font) > width:
        text = text.rstrip("…")[:-1] + "…"
    return text
