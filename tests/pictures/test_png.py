"""png.py: metadata there and back, damaged and foreign files."""

import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from filterscope.errors import ImageError
from filterscope.pictures.png import CHUNK, encode_png, read_image, read_metadata

GREY = Image.fromarray(np.full((4, 4, 3), 128, np.uint8))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_metadata_survives(tmp_path_factory, metadata):
    """Whatever JSON can say comes back, umlauts and emoji too."""
    path = tmp_path_factory.getbasetemp() / "x.png"
    path.write_bytes(encode_png(GREY, metadata))
    assert read_metadata(path) == metadata


def test_same_picture_same_bytes():
    """The bytes depend on the picture and the metadata alone."""
    assert encode_png(GREY, {"a": 1}) == encode_png(GREY.copy(), {"a": 1})
    assert encode_png(GREY, {"a": 1}) != encode_png(GREY, {"a": 2})


def test_other_programs_can_read_it(tmp_path):
    """The metadata is plain JSON in a text chunk named filterscope."""
    (tmp_path / "x.png").write_bytes(encode_png(GREY, {"target": "conv:3"}))
    with Image.open(tmp_path / "x.png") as image:
        assert json.loads(image.text["filterscope"]) == {"target": "conv:3"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_numbers_that_json_lacks(value):
    """NaN in the metadata is an error here, not in the program that reads it."""
    with pytest.raises(ValueError, match="JSON"):
        encode_png(GREY, {"activation": value})


def save_with(path, **chunks: str):
    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_text(name, text)
    GREY.save(path, "PNG", pnginfo=info)
    return path


def test_a_picture_of_another_program(tmp_path):
    """A PNG without our chunk, and a JPEG, have no metadata."""
    assert read_metadata(save_with(tmp_path / "x.png", Comment="hello")) is None
    GREY.save(tmp_path / "x.jpg")
    assert read_metadata(tmp_path / "x.jpg") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "text is damaged"),
        ("", "text is damaged"),
        ("[]", "no JSON object"),
        ("3", "no JSON object"),
        ("null", "no JSON object"),
    ],
)
def test_damaged_metadata(tmp_path, text, message):
    """Our chunk with other content is refused."""
    with pytest.raises(ImageError, match=message):
        read_metadata(save_with(tmp_path / "x.png", **{CHUNK: text}))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_not_a_picture(tmp_path, content):
    """A file that is no picture is refused by name."""
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"x\.png' cannot be read as a picture"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_cut_short(tmp_path, share):
    """A picture cut short is refused, never half read."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    content = encode_png(noise, {"a": 1})
    (tmp_path / "x.png").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["missing.png", "."])
def test_no_file(tmp_path, name):
    """A missing file and a folder are refused."""
    with pytest.raises(ImageError, match="there is no picture"):
        read_image(tmp_path / name)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_text_that_unpacks_without_end(tmp_path):
    """A compressed text chunk of gigabytes is refused, not unpacked."""
    bomb = chunk(b"zTXt", CHUNK.encode() + b"\0\0" + zlib.compress(b"\0" * 80_000_000))
    plain = encode_png(GREY, {})
    (tmp_path / "x.png").write_bytes(plain[:33] + bomb + plain[33:])
    with pytest.raises(ImageError):
        read_metadata(tmp_path / "x.png")


def test_a_picture_far_too_large(tmp_path):
    """A header that promises gigapixels is refused before they are made room for."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        read_image(tmp_path / "x.png")
