"""Animations: as many frames as given, of one size, whole or not at all."""

import sys

import numpy as np
import pytest
from PIL import Image

from filterscope.errors import ArgumentError
from filterscope.pictures.animation import check_format, save_animation, with_curve


@pytest.fixture
def frames():
    """Five frames of 31 x 21 px, each of one colour."""
    return [Image.new("RGB", (31, 21), (40 * i, 200 - 40 * i, 90)) for i in range(5)]


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_loops(tmp_path, frames, kind):
    """WebP and GIF play the frames given and hold the last one."""
    save_animation(frames, tmp_path / f"a.{kind}", fps=10, hold=1)
    with Image.open(tmp_path / f"a.{kind}") as film:
        assert (film.n_frames, film.size) == (5, (31, 21))
        times = []
        for i in range(5):
            film.seek(i)
            film.load()
            times.append(film.info["duration"])
            assert (
                np.abs(
                    np.asarray(film.convert("RGB"))[10, 10].astype(int) - frames[i].getpixel((10, 10))
                ).max()
                < 12
            )
    assert times == [100, 100, 100, 100, 1100]


@pytest.mark.parametrize(
    ("kind", "fps", "times"), [("gif", 30, [30, 40, 30, 30]), ("webp", 120, [8, 9, 8, 8])]
)
def test_as_fast_as_asked(tmp_path, frames, kind, fps, times):
    """What a format's clock rounds off one frame the next one makes good."""
    save_animation(frames, tmp_path / f"a.{kind}", fps=fps, hold=0)
    with Image.open(tmp_path / f"a.{kind}") as film:
        found = []
        for i in range(4):
            film.seek(i)
            film.load()
            found.append(film.info["duration"])
    assert found == times


def test_gifs_have_a_slow_clock(tmp_path, frames):
    """More than 50 frames a second, of which browsers would show ten, are refused before anything is drawn."""
    assert check_format("gif", 50) == "gif"
    assert check_format("webp", 120) == "webp"
    for act in (
        lambda: check_format("gif", 50.1),
        lambda: save_animation(frames, tmp_path / "a.gif", fps=120),
    ):
        with pytest.raises(ArgumentError, match=r"at most 50 frames a second \(got .*\); webp and mp4"):
            act()


def test_mp4(tmp_path, frames):
    """MP4 has the frames, cut to even sides."""
    iio = pytest.importorskip("imageio.v3")
    pytest.importorskip("av")
    save_animation(frames, tmp_path / "a.mp4")
    films = iio.imread(tmp_path / "a.mp4", plugin="pyav")
    assert films.shape == (5, 20, 30, 3)
    assert np.abs(films[4, 10, 10].astype(int) - frames[4].getpixel((10, 10))).max() < 30


def test_mp4_needs_an_extra(monkeypatch):
    """Without PyAV the message names the extra."""
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ArgumentError, match=r"filterscope\[video\]"):
        check_format("mp4")


def test_refused(tmp_path, frames):
    """Unknown formats, no frames, frames of several sizes; nothing is left behind."""
    with pytest.raises(ArgumentError, match="did you mean 'webp'"):
        check_format("webm")
    with pytest.raises(ArgumentError, match="at least one"):
        save_animation([], tmp_path / "a.gif")
    with pytest.raises(ArgumentError, match="one size"):
        save_animation([*frames, frames[0].resize((8, 8))], tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_curve():
    """The curve lies under the picture, rises with the values, and goes as far as the steps do."""
    picture = Image.new("RGB", (100, 80), (10, 20, 30))
    frame = np.asarray(with_curve(picture, [0, 1, 2, 3], 7))
    assert (frame[:80] == (10, 20, 30)).all()
    red = (frame[80:, :, 0].astype(int) - frame[80:, :, 2]) > 100
    rows, columns = red.nonzero()
    assert columns.max() < 60  # four of seven steps
    assert rows[columns == columns.min()].mean() > rows[columns > 45].mean()
    assert with_curve(picture, [], 5).size == with_curve(picture, [1.0], 5).size == frame.shape[1::-1]
