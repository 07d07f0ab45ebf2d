"""Photographs of every kind become upright 8-bit sRGB; what is none is refused."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from filterscope.errors import ImageError
from filterscope.pictures.reading import plain, read_photograph


@pytest.fixture
def colours():
    """A 12 x 20 picture of colours, RGB."""
    values = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    return Image.fromarray(values)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file by hand: bits a sample, colour type, the rows each behind its filter byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def seen(path) -> np.ndarray:
    return np.asarray(read_photograph(path).image.convert("RGB"))


def test_plain_rgb(tmp_path, colours):
    """An ordinary picture is read as it is; its hash is the file's."""
    colours.save(tmp_path / "a.png")
    photograph = read_photograph(tmp_path / "a.png")
    assert np.array_equal(photograph.pixels().permute(1, 2, 0).numpy(), np.asarray(colours))
    assert photograph.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert (photograph.name, photograph.notes) == ("a", ())


@pytest.mark.parametrize(("mode", "name"), [("I;16", "a.png"), ("I;16", "a.tif"), ("I", "a.tif")])
def test_sixteen_bits_are_scaled(tmp_path, mode, name):
    """0 to 65,535 becomes 0 to 255, not clipped at 255."""
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    image = Image.fromarray(ramp) if mode == "I;16" else Image.fromarray(ramp.astype(np.int32))
    image.save(tmp_path / name)
    assert seen(tmp_path / name)[..., 0].flatten().tolist() == list(range(256))


def test_sixteen_bit_colour(tmp_path):
    """Three channels of 16 bits are scaled too."""
    values = np.stack([np.linspace(0, 65535, 64).reshape(8, 8)] * 3, 2).round().astype(">u2")
    (tmp_path / "a.png").write_bytes(png(8, 8, 16, 2, b"".join(b"\0" + row.tobytes() for row in values)))
    found = seen(tmp_path / "a.png").astype(float)
    assert np.abs(found - values / 257).max() <= 1


def test_floats():
    """Floats are 0 to 1, or 0 to 255 where one is larger."""
    assert np.asarray(plain(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)))).tolist() == [
        [0, 128, 255]
    ]
    assert np.asarray(plain(Image.fromarray(np.array([[0.0, 200.0]], np.float32)))).tolist() == [[0, 200]]


def test_cmyk(tmp_path):
    """CMYK without a profile: no ink is white, full black ink is black, cyan ink takes red away."""
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0]]], np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.tif")
    white, black, cyan = seen(tmp_path / "a.tif")[0].tolist()
    assert (white, black, cyan) == ([255] * 3, [0] * 3, [0, 255, 255])


def test_profile(tmp_path, colours):
    """The colours are those that the profile says, in sRGB: a picture in another space looks the same."""
    lab = ImageCms.createProfile("LAB")
    wide = Image.new("RGB", (8, 8), (200, 120, 60))
    stored = ImageCms.profileToProfile(wide, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    stored.save(tmp_path / "a.tif", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert np.abs(seen(tmp_path / "a.tif").astype(int) - (200, 120, 60)).max() <= 3


def test_srgb_profile_changes_nothing(tmp_path, colours):
    """A picture that says it is sRGB keeps its bytes; a damaged profile is passed over."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"damaged"):
        colours.save(tmp_path / "a.png", icc_profile=profile)
        assert np.array_equal(seen(tmp_path / "a.png"), np.asarray(colours))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_lies_on_white(tmp_path, mode):
    """What is transparent is white, what is opaque keeps its colour."""
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((90, 90, 90, 255), (0, 0, 2, 4))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / "a.png")
    found = seen(tmp_path / "a.png")
    assert (found[:, 2:] == 255).all()
    assert np.abs(found[:, :2].astype(int) - 90).max() <= 4


def test_palette(tmp_path, colours):
    """A palette picture has its palette's colours."""
    few = colours.quantize(16)
    few.save(tmp_path / "a.png")
    assert np.array_equal(seen(tmp_path / "a.png"), np.asarray(few.convert("RGB")))


def test_orientation(tmp_path, colours):
    """A rotation that EXIF tells of is carried out."""
    exif = Image.Exif()
    exif[0x0112] = 6
    colours.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(seen(tmp_path / "a.png"), np.asarray(colours.rotate(-90, expand=True)))


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_animation(tmp_path, kind):
    """Of an animation the first frame is taken, and that is said."""
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue", "lime")]
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:])
    photograph = read_photograph(tmp_path / f"a.{kind}")
    assert photograph.notes == (f"a.{kind} has 3 frames; the first one is taken",)
    assert np.asarray(photograph.image)[4, 4, 0] > 200


@pytest.mark.parametrize(
    "content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n", b"P6\n0 0\n255\n", b"GIF89a\0\0\0\0\0\0\0;"]
)
def test_no_picture(tmp_path, content):
    """Files that are no pictures, cut short or without a pixel are refused by name."""
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.jpg.*cannot be read as a picture|has no pixels"):
        read_photograph(tmp_path / "a.jpg")


def test_missing_and_cut_short(tmp_path, colours):
    """A file that is not there, a folder, and half a file."""
    with pytest.raises(ImageError, match="there is no picture"):
        read_photograph(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="there is no picture"):
        read_photograph(tmp_path)
    buffer = io.BytesIO()
    colours.resize((200, 200)).save(buffer, "PNG")
    (tmp_path / "half.png").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        read_photograph(tmp_path / "half.png")


def test_decompression_bomb(tmp_path):
    """A small file of 200 million pixels is refused before it fills the memory; 100 million are a photograph."""

    def bits(width: int, height: int) -> bytes:
        return png(width, height, 1, 0, b"\0" * ((width + 7) // 8 + 1) * height)

    (tmp_path / "bomb.png").write_bytes(bits(20_000, 10_000))
    with pytest.raises(ImageError, match="decompression bomb"):
        read_photograph(tmp_path / "bomb.png")
    (tmp_path / "large.png").write_bytes(bits(10_000, 10_000))
    assert read_photograph(tmp_path / "large.png").image.size == (10_000, 10_000)


def test_objects(colours):
    """Pillow images and arrays are photographs too, known by their pixels."""
    values = np.asarray(colours)
    one, two = read_photograph(colours), read_photograph(values)
    assert one.sha256 == two.sha256
    assert one.path is None
    assert np.array_equal(np.asarray(read_photograph(values / 255).image), values)
    assert read_photograph(values[..., 0]).pixels(1).shape == (1, 12, 20)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4), np.int64),
        np.full((4, 4), 7.0),
    ],
)
def test_wrong_arrays(values):
    """An array that is no picture is refused with what was received."""
    with pytest.raises(ImageError, match="got"):
        read_photograph(values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["array", "image"])
def test_values_that_are_no_numbers(bad, kind):
    """Refused, with how many there are."""
    values = np.full((4, 4) if kind == "image" else (4, 4, 3), 0.5, np.float32)
    values[1, 2] = bad
    with pytest.raises(ImageError, match=r"(1|3) of the picture's (16|48) values are NaN or infinite"):
        read_photograph(values if kind == "array" else Image.fromarray(values))
