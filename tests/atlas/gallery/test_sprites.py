"""sprites: thumbnails in order, holes where there is no picture."""

import io

import numpy as np
from PIL import Image

from filterscope.atlas.gallery.sprites import (
    COLUMNS,
    THUMBNAIL_SIDE,
    THUMBNAILS_PER_SHEET,
    locate_thumbnail,
    make_sprites,
)


def flat(value: int, size=(40, 40)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 255 - value, 60)).save(buffer, "PNG")
    return buffer.getvalue()


def tile(sheets: list[bytes], index: int) -> np.ndarray:
    at = locate_thumbnail(index)
    with Image.open(io.BytesIO(sheets[at.sheet])) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    return pixels[
        at.row * THUMBNAIL_SIDE : (at.row + 1) * THUMBNAIL_SIDE,
        at.column * THUMBNAIL_SIDE : (at.column + 1) * THUMBNAIL_SIDE,
    ]


def test_every_picture_has_its_place():
    """Each thumbnail lies where `locate_thumbnail` says, on as many sheets as needed, the last one short."""
    count = THUMBNAILS_PER_SHEET + COLUMNS + 1
    sprites = make_sprites([str(i) for i in range(count)], lambda name: flat(int(name) % 200))
    assert len(sprites.sheets) == 2
    assert sprites.rows == [COLUMNS, 2]
    assert sprites.shown == [True] * count
    for i in (0, 1, COLUMNS, THUMBNAILS_PER_SHEET - 1, THUMBNAILS_PER_SHEET, count - 1):
        middle = tile(sprites.sheets, i)[THUMBNAIL_SIDE // 2, THUMBNAIL_SIDE // 2]
        assert abs(middle[0] - i % 200) <= 8, i
        assert abs(middle[1] - (255 - i % 200)) <= 8, i


def test_holes():
    """None, a damaged and a missing picture leave their places empty and move no other."""
    files = {"good": flat(200), "cut": flat(10)[:30], "text": b"no picture"}
    sprites = make_sprites(
        [None, "cut", "text", "gone", "good"], lambda n: files[n] if n in files else missing(n)
    )
    assert sprites.shown == [False, False, False, False, True]
    assert abs(tile(sprites.sheets, 4)[9, 9][0] - 200) <= 8


def missing(name: str) -> bytes:
    raise FileNotFoundError(name)


def test_shapes():
    """A picture that is not square shows its middle; grey and transparent ones are shown too."""
    buffer = io.BytesIO()
    wide = Image.new("L", (120, 40), 0)
    wide.paste(255, (40, 0, 80, 40))
    wide.save(buffer, "PNG")
    sprites = make_sprites(["wide"], lambda _: buffer.getvalue())
    assert tile(sprites.sheets, 0)[4:-4, 4:-4].min() > 240


def test_none():
    """No picture, no sheet."""
    assert make_sprites([], missing).sheets == []
