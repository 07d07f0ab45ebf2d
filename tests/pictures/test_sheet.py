"""sheet.py: the grid, its labels, legible on any background, saving."""

import io
from itertools import groupby

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from filterscope.errors import ArgumentError, OutputError
from filterscope.pictures import Sheet
from filterscope.pictures.sheet import APART, GAP, SMALLEST, WIDEST, Tile, _fitting_label, compose
from filterscope.target import Target


def flat(value, side: int = 160) -> Image.Image:
    return Image.fromarray(np.full((side, side, 3), value, np.uint8))


def tile_of(sheet: Image.Image, row: int, column: int, side: int = 160, head: int = 0) -> np.ndarray:
    """A tile's pixels."""
    x, y = GAP + column * (side + GAP), GAP + head + row * (side + GAP)
    return np.asarray(sheet, dtype=int)[y : y + side, x : x + side]


@pytest.mark.parametrize(
    ("count", "columns", "grid"),
    [
        (1, None, (1, 1)),
        (2, None, (1, 2)),
        (3, None, (2, 2)),
        (5, None, (2, 3)),
        (16, None, (4, 4)),
        (17, None, (4, 5)),
        (64, None, (8, 8)),
        (6, 2, (3, 2)),
        (3, 5, (1, 5)),
    ],
)
def test_grid(count, columns, grid):
    """About square, or as many columns as asked for."""
    sheet = compose([Tile(flat(100))] * count, columns=columns)
    rows, across = grid
    assert sheet.size == (GAP + across * (160 + GAP), GAP + rows * (160 + GAP))


def test_tiles_stand_in_reading_order():
    """Row by row, each where it belongs, white between and behind them."""
    sheet = compose([Tile(flat(20 * i)) for i in range(5)], columns=3)
    for i in range(5):
        assert (tile_of(sheet, i // 3, i % 3) == 20 * i).all()
    assert (tile_of(sheet, 1, 2) == 255).all()
    assert (np.asarray(sheet)[:GAP] == 255).all()
    assert (np.asarray(sheet)[:, :GAP] == 255).all()


@pytest.mark.parametrize("background", [0, 64, 128, 200, 255])
def test_label_is_legible_on_any_background(background):
    """White letters in a black outline, top left, the rest of the tile untouched."""
    tile = tile_of(compose([Tile(flat(background), "filter: 34")]), 0, 0)
    corner = tile[:40, :120]
    assert corner.min() == 0
    assert corner.max() == 255
    assert (tile[40:] == background).all()
    assert (tile[:, 140:] == background).all()


def test_labels_differ():
    """Each number is drawn."""
    shown = {compose([Tile(flat(128), f"filter: {n}")]).tobytes() for n in range(20)}
    assert len(shown) == 20


@pytest.mark.parametrize("side", [64, 160, 320])
@pytest.mark.parametrize("tail", [" (no gain)", " (dead)", " @3,4 ~1 (no gain)", " ~1"])
@pytest.mark.parametrize("name", ["European_fire_salamander" * 3, "filter: 34"])
def test_a_long_labels_verdict_is_always_shown(side, tail, name):
    """What is too long is the name: verdict, facet and place stay whole where there is room for them."""
    draw, font = ImageDraw.Draw(flat(0)), ImageFont.load_default(max(9, round(side / 13)))
    shown = _fitting_label(draw, name + tail, font, side - 8)
    assert draw.textlength(shown, font) <= side - 8
    verdict = tail[tail.find("(") :] if "(" in tail else tail
    assert shown.endswith(tail if side > 64 else verdict)
    assert shown == name + tail or "…" in shown


@pytest.mark.parametrize("side", [24, 64, 160, 512])
def test_a_long_label_stays_in_its_tile(side):
    """A long class name is shortened, not drawn over its neighbour."""
    long = Tile(flat(128, side), "black-and-tan coonhound " * 5)
    sheet = compose([long, Tile(flat(128, side))], side=side)
    assert (tile_of(sheet, 0, 1, side) == 128).all()
    assert (np.asarray(sheet)[:, GAP + side : 2 * GAP + side] == 255).all()


def test_small_pictures_are_enlarged_and_large_kept():
    """Tiles are at least 160 px, larger where the pictures are, never beyond a sheet of 4096."""
    assert compose([Tile(flat(9, 32))]).width == 2 * GAP + SMALLEST
    assert compose([Tile(flat(9, 300)), Tile(flat(9, 32))]).width == 3 * GAP + 2 * 300
    assert compose([Tile(flat(9, 300))] * 1024).width <= WIDEST


def test_groups_stand_apart():
    """Between groups of columns there is more room; all tiles are there, in their order."""
    shades = (10, 60, 110, 160)
    sheet = np.asarray(compose([Tile(flat(v)) for v in shades], columns=4, group=2))
    row = sheet[GAP + SMALLEST // 2, :, 0]
    assert [v for v in dict.fromkeys(row.tolist()) if v != 255] == list(shades)
    widths = [len(list(same)) for white, same in groupby(row == 255) if white]
    assert widths == [GAP, GAP, GAP + APART, GAP, GAP]


def test_long_titles_are_shortened():
    """A title is no wider than its column, so that two never run into each other."""
    tiles = [Tile(flat(0)), Tile(flat(0))]
    dark = [
        np.asarray(compose(tiles, columns=2, titles=["W" * 99, right]))[: GAP + 20, :, 0].min(0) < 128
        for right in ("", "W" * 99)
    ]
    assert not dark[0][GAP + SMALLEST :].any()
    assert not dark[1][GAP + SMALLEST : 2 * GAP + SMALLEST].any()
    assert dark[1][2 * GAP + SMALLEST :].any()


def test_titles_and_captions():
    """Titles stand over the columns, captions under the tiles; the pictures themselves stay whole."""
    plain = compose([Tile(flat(50)), Tile(flat(90))], columns=2)
    titled = compose([Tile(flat(50)), Tile(flat(90))], columns=2, titles=["naive", "tv"])
    head = titled.height - plain.height
    assert head > 10
    assert (tile_of(titled, 0, 0, head=head) == 50).all()
    assert (tile_of(titled, 0, 1, head=head) == 90).all()
    assert np.asarray(titled)[: head + GAP].min() < 100
    captioned = compose([Tile(flat(50), caption="99.9% goldfish"), Tile(flat(90))], columns=2)
    assert captioned.height > plain.height
    assert (tile_of(captioned, 0, 0) == 50).all()
    assert np.asarray(captioned)[GAP + 160 :, : GAP + 160].min() < 100


def test_grey_pictures():
    """Grey pictures are tiles like others."""
    sheet = compose([Tile(Image.fromarray(np.full((160, 160), 77, np.uint8)))])
    assert (tile_of(sheet, 0, 0) == 77).all()


def test_nothing_to_show():
    """A sheet of nothing is refused."""
    with pytest.raises(ArgumentError, match="at least one picture"):
        compose([])


@pytest.fixture
def pictures(picture):
    """A function that makes so many pictures of one layer."""
    return lambda count: [
        picture(target=Target("conv", i), image=np.full((8, 8, 3), i, np.uint8)) for i in range(count)
    ]


def test_sheet_is_a_sequence_of_pictures(picture, pictures):
    """Length, order, slices."""
    sheet = Sheet(pictures(5))
    assert len(sheet) == 5
    assert [p.target.unit for p in sheet] == [0, 1, 2, 3, 4]
    assert sheet[-1].target.unit == 4
    assert [p.target.unit for p in sheet[1:3]] == [1, 2]
    assert repr(sheet) == "<Sheet of 5 pictures>"
    assert sheet.index(sheet[3]) == 3
    assert sheet[3] in sheet
    assert picture() not in sheet


def test_sheet_shows_itself(pictures):
    """A notebook gets the grid as a PNG, the post's labels in it."""
    sheet = Sheet(pictures(4), columns=4)
    with Image.open(io.BytesIO(sheet._repr_png_())) as image:
        assert image.size == sheet.to_pil().size == (GAP + 4 * (SMALLEST + GAP), 2 * GAP + SMALLEST)
    labelled = compose([Tile(p.to_pil(), f"filter: {i}") for i, p in enumerate(sheet)], columns=4)
    assert sheet.to_pil().tobytes() == labelled.tobytes()


def test_save_into_a_folder(pictures, tmp_path):
    """A folder gets sheet.png and every picture."""
    assert Sheet(pictures(3)).save(tmp_path / "out") == tmp_path / "out" / "sheet.png"
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["conv-0000.png", "conv-0001.png", "conv-0002.png", "sheet.png"]


def test_save_as_a_file(pictures, tmp_path):
    """A file's path gets the grid alone."""
    assert Sheet(pictures(3)).save(tmp_path / "grid.png") == tmp_path / "grid.png"
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


def test_save_where_nothing_can_be_written(pictures, tmp_path):
    """A place that cannot be written is an OutputError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        Sheet(pictures(2)).save(tmp_path / "file" / "x.png")
