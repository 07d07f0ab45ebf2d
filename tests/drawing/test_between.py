"""What lies between two targets: frames drawn together that align, on the sheet, as an animation, and again."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import filterscope as fs
from filterscope.ascent.canvas.parametrizations import start_canvas
from filterscope.ascent.canvas.shared import PARTS, SharedCanvas
from filterscope.cli import main
from filterscope.drawing.draw import draw
from filterscope.errors import TargetError
from filterscope.objective import Between
from filterscope.photographs.sources import photograph_of
from filterscope.pictures import Sheet
from filterscope.recipe import Cppn, Fourier, Phase, Pixels, get_recipe
from filterscope.rerun import draw_again
from filterscope.target import Target

QUICK = get_recipe("sharp", steps=6, size=16)
ENDS = Target("conv2", 1), Target("conv2", 4)


@pytest.fixture(scope="module")
def frames(small):
    return list(draw(small, Between.frames_of(*ENDS, 4), QUICK))


def test_frames(frames):
    """Each has the scores of its own mixture, from the same noise, and neighbours are more alike than the ends."""
    assert [picture.target.frame for picture in frames] == [1, 2, 3, 4]
    assert {picture.batch for picture in frames} == {4}
    assert (
        len({picture.scores.start for picture in frames}) == 4
    )  # one noise, of which each frame says something else
    apart = [[np.abs(a.image.astype(int) - b.image).mean() for b in frames] for a in frames]
    assert apart[0][1] < apart[0][3]
    assert apart[2][3] < apart[0][3]


def test_ends_are_the_targets(small, frames):
    """A frame's value is (1 - t) times the one's activation plus t times the other's, for its picture."""
    probe = small.probe(["conv2"]).eval()
    pixels = torch.tensor(np.stack([p.image for p in frames])).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        values = probe(small.input.preprocess(pixels))[0].mean((2, 3))[:, [1, 4]]
    for picture, (one, two) in zip(frames, values.tolist(), strict=True):
        share = picture.target.share
        assert picture.scores.activation == pytest.approx((1 - share) * one + share * two, rel=1e-3)


def test_one_frame_is_the_same_again(small, frames, tmp_path, monkeypatch):
    """Alone, and from its file: all frames are drawn with it."""
    (alone,) = draw(small, [frames[2].target], QUICK)
    np.testing.assert_array_equal(alone.image, frames[2].image)
    path = frames[2].save(tmp_path)
    assert path.name == "conv2-0001-to-conv2-0004.3of4.png"
    monkeypatch.setattr("filterscope.rerun._opened", lambda *_: small)
    assert draw_again(path).largest_difference == 0


@pytest.mark.parametrize("image", [Pixels(bounded=True), Fourier(), Phase(), Cppn(layers=2, width=4)])
def test_shared_rows(image):
    """Frames begin alike; a shared row moves all of them, the last two by how near each frame is to its end."""
    goals = Between.frames_of(*ENDS, 3)
    generators = [torch.Generator().manual_seed(1) for _ in range(3 + PARTS)]
    rows = start_canvas(image, generators, 3, (8, 8), torch.device("cpu"))
    canvas = SharedCanvas.start(rows, goals)
    begun = canvas.pixels()
    assert torch.equal(begun[0], begun[1])
    assert torch.equal(begun[0], begun[2])
    with torch.no_grad():
        canvas.parameters[5] += 0.5 * torch.randn(canvas.parameters[5].shape, generator=generators[0])
    moved = (canvas.pixels() - begun).abs().flatten(1).mean(1)
    assert moved[0] == 0
    assert 0 < moved[1] < moved[2]
    assert canvas.resized((12, 12)).pixels().shape == (3, 3, 12, 12)


def test_refused_from_a_photograph(small):
    """Frames begin with noise."""
    photograph = photograph_of(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(TargetError, match="drawn from noise"):
        next(draw(small, Between.frames_of(*ENDS, 4), QUICK, photographs={"image": photograph}))


def test_sheet(frames, picture):
    """A row for each two targets; frames of many are spread over several rows of one length."""
    assert Sheet(frames).to_pil().width > 3 * Sheet(frames).to_pil().height
    many = [picture(target=goal) for goal in Between.frames_of(*ENDS, 24)]
    image = Sheet(many).to_pil()
    assert image.width > 5 * image.height  # twelve beside each other, twice
    pairs = [picture(target=a + b) for a in ENDS for b in (*ENDS, Target("conv1", 0))]
    assert Sheet(pairs).to_pil().width > Sheet(pairs).to_pil().height
    assert frames[1].label == "33%" if frames[1].status == "ok" else "33% (no gain)"


def test_command(tmp_path, capsys):
    """As many frames as are asked for: pictures, a sheet, one animation, noted with each of them."""
    target = "block1_conv1:3 -> block1_conv1:5"
    words = ["show", "tiny-vgg16", target, "block1_conv1:7", "--frames", "3", "--format", "gif"]
    assert main([*words, "--steps", "2", "--size", "32", "--out", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["target"] for row in rows] == [f"{target} [{i}/3]" for i in (1, 2, 3)] + ["block1_conv1:7"]
    film = "block1_conv1-0003-to-block1_conv1-0005.gif"
    assert [row["animation"] for row in rows[:3]] == [film] * 3
    with Image.open(tmp_path / film) as image:
        assert image.n_frames == 3
    assert (tmp_path / "block1_conv1-0007.gif").is_file()  # of the ascent, as ever
    assert (tmp_path / "sheet.png").is_file()


def test_animate(tiny, tmp_path):
    """In Python too; of several pairs it is refused."""
    options = {"steps": 2, "size": 32, "progress": False}
    path = fs.animate(tiny, "block1_conv1:3 -> block1_conv1:5", tmp_path / "x.gif", frames=4, **options)
    with Image.open(path) as image:
        assert image.n_frames == 4
    with pytest.raises(TargetError, match="got 2 pairs"):
        fs.animate(tiny, "block1_conv1:3,4 -> block1_conv1:5", tmp_path / "y.gif", **options)
