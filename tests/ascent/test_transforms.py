"""transforms.py: hand-computed shifts, zooms and turns of 3 x 3 pictures; random numbers of a picture's own."""

import math

import pytest
import torch
import torch.nn.functional as F

from filterscope.ascent.grids import _matrix, affine_grid
from filterscope.ascent.transforms import GREY, Transforms
from filterscope.recipe import Crop, Jitter, Noise, Pad, RandomResizedCrop, Rotate, Scale

GRID = torch.arange(9.0).view(1, 1, 3, 3)
ALL = (Pad(pixels=2), Jitter(pixels=3), Scale(low=0.8, high=1.2), Rotate(degrees=20))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(s) for s in seeds]


def moved(part, u, x=GRID) -> torch.Tensor:
    """What one transform makes of a picture when its two random numbers are u."""
    matrix = _matrix(part, torch.tensor([u]), tuple(x.shape[-2:]))[:, :2]
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)[0, 0]


@pytest.mark.parametrize("sides", [(1, 1), (3, 5), (64, 31)])
def test_grid(sides):
    """Where to sample is torch's own grid."""
    matrices = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = F.affine_grid(matrices, [4, 3, *sides], align_corners=False)
    assert torch.allclose(affine_grid(matrices, sides), expected, atol=1e-5)


def test_nothing_to_do():
    """Without transforms the very same picture goes through."""
    x = torch.rand(2, 3, 5, 5)
    assert Transforms((), generators(1, 2), 4, (5, 5))(x, 3) is x


def test_pad():
    """What is moved in is grey, and the picture keeps its size; alone a pad changes nothing."""
    assert torch.equal(Transforms((Pad(pixels=2), Pad(pixels=1)), generators(1), 1, (3, 3))(GRID, 0), GRID)
    zoomed = Transforms((Pad(pixels=3), Scale(low=1 / 3, high=1 / 3)), generators(1), 1, (3, 3))(GRID, 0)
    expected = torch.full((1, 1, 3, 3), GREY)
    expected[..., 1, 1] = 4  # the middle, and all around the padding
    assert torch.allclose(zoomed, expected, atol=1e-3)


def test_padded_shift():
    """A shift of a padded picture by whole pixels, with and without resampling, brings in grey."""
    for parts in ((Pad(pixels=8), Jitter(pixels=2)), (Pad(pixels=8), Jitter(pixels=2), Rotate(degrees=0))):
        transforms = Transforms(parts, generators(3), 20, (3, 3))
        moved = torch.cat([transforms(GRID, step) for step in range(20)])
        assert moved.shape == (20, 1, 3, 3)
        assert any(((row - GREY).abs() < 1e-2).any() for row in moved)
        known = torch.cat([GRID.flatten(), torch.tensor([GREY])])
        assert ((moved.flatten()[:, None] - known).abs().min(1).values < 2e-2).all()


@pytest.mark.parametrize(
    ("part", "u", "expected"),
    [
        (Jitter(pixels=1), (0.5, 0.5), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        (Jitter(pixels=1), (1.0, 0.5), [[1, 2, 2], [4, 5, 5], [7, 8, 8]]),
        (Jitter(pixels=1), (0.0, 0.5), [[0, 0, 1], [3, 3, 4], [6, 6, 7]]),
        (Jitter(pixels=1), (0.5, 1.0), [[3, 4, 5], [6, 7, 8], [6, 7, 8]]),
        (Jitter(pixels=2), (1.0, 0.0), [[1, 2, 2], [1, 2, 2], [4, 5, 5]]),
        (Rotate(degrees=180), (1.0, 0.0), [[8, 7, 6], [5, 4, 3], [2, 1, 0]]),
        (Rotate(degrees=180), (0.25, 0.0), [[6, 3, 0], [7, 4, 1], [8, 5, 2]]),
        (Rotate(degrees=180), (0.75, 0.0), [[2, 5, 8], [1, 4, 7], [0, 3, 6]]),
        (Rotate(degrees=90), (0.5, 0.0), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        (Scale(low=1, high=1), (0.3, 0.0), [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        (Scale(low=1, high=2), (1.0, 0.0), [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]),
    ],
)
def test_by_hand(part, u, expected):
    """Shifts by whole pixels, quarter turns and a zoom of two, on 3 x 3 values 0 to 8."""
    assert torch.allclose(moved(part, u), torch.tensor(expected, dtype=torch.float32), atol=1e-4)


def test_zoom_out():
    """At half the size the picture's edge reflects."""
    x = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    found = moved(Scale(low=0.5, high=0.5), (0.0, 0.0), x)
    assert torch.allclose(found[0], torch.tensor([0.5, 0.5, 2.5, 2.5]), atol=1e-4)


@pytest.mark.parametrize("part", [Jitter(pixels=0), Rotate(degrees=0), Scale(low=1, high=1)])
def test_magnitude_zero_is_the_identity(part):
    """A transform of no magnitude leaves the picture as it is, whatever its random numbers."""
    x = torch.rand(2, 3, 6, 6) * 255
    transforms = Transforms((part,), generators(1, 2), 3, (6, 6))
    assert all(torch.allclose(transforms(x, step), x, atol=1e-2) for step in range(3))


def test_order():
    """Transforms are done in their order: first shift, then turn, is not first turn, then shift."""
    x = torch.rand(1, 3, 8, 8)
    shift, turn = Jitter(pixels=3), Rotate(degrees=60)
    one = Transforms((shift, turn), generators(1), 1, (8, 8))
    other = Transforms((turn, shift), generators(1), 1, (8, 8))
    assert not torch.allclose(one(x, 0), other(x, 0))


def test_batch_equals_its_members():
    """A picture is moved alike alone and in a batch, and differently from its neighbour."""
    x = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1, 1) * 255
    together = Transforms(ALL, generators(5, 6, 7), 4, (12, 12))
    for i, seed in enumerate((5, 6, 7)):
        alone = Transforms(ALL, generators(seed), 4, (12, 12))
        for step in range(4):
            assert torch.allclose(together(x, step)[i : i + 1], alone(x[:1], step), atol=1e-3)
    assert not torch.allclose(together(x, 0)[0], together(x, 0)[1])
    assert not torch.allclose(together(x, 0), together(x, 1))


def test_pictures_are_kept_apart():
    """Picture 0 has no gradient from picture 1."""
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(Transforms(ALL, generators(1, 2), 1, (8, 8))(x, 0)[1].sum(), x)
    assert not gradient[0].any()
    assert gradient[1].any()


def test_draws_stay_within_their_bounds():
    """Shifts, zooms and angles are spread over their range and never leave it."""
    u = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0))
    shift = _matrix(Jitter(pixels=8), u, (64, 64))[:, :2, 2] * 64 / 2
    zoom = 1 / _matrix(Scale(low=0.9, high=1.1), u, (64, 64))[:, 0, 0]
    turn = _matrix(Rotate(degrees=5), u, (64, 64))
    angle = torch.atan2(turn[:, 1, 0], turn[:, 0, 0]) * 180 / math.pi
    for values, low, high in [(shift, -8, 8), (zoom, 0.9, 1.1), (angle, -5, 5)]:
        assert values.min() >= low - 1e-4
        assert values.max() <= high + 1e-4
        assert values.max() - values.min() > 0.95 * (high - low)


def test_values_stay_in_range():
    """No transform makes a value outside those of the picture and the grey around it."""
    x = torch.rand(2, 3, 16, 16) * 255
    out = Transforms(ALL, generators(1, 2), 5, (16, 16))
    for step in range(5):
        assert out(x, step).min() >= -1e-3
        assert out(x, step).max() <= 255 + 1e-3
        assert out(x, step).shape == (2, 3, 16, 16)


def test_crops():
    """Looks stand side by side, each of the model's size, a centred crop of half the side being the middle."""
    parts = (Crop(count=3, start=0.5, end=0.5, spread=0, center=0),)
    x = torch.arange(64.0).view(1, 1, 8, 8).repeat(2, 1, 1, 1)
    transforms = Transforms(parts, generators(1, 2), 2, (8, 8), 4)
    assert transforms.views == 3
    views = transforms(x, 0)
    assert views.shape == (6, 1, 4, 4)
    assert torch.allclose(views, x[:1, :, 2:6, 2:6].expand(6, -1, -1, -1), atol=1e-4)


def test_crops_shrink_and_wander():
    """Their share goes from start to end over the steps, about which it varies, as their centres do."""
    part = Crop(count=16, start=0.5, end=0.1, spread=0.05, center=0.15)
    grids = Transforms((part,), generators(1, 2, 3, 4), 50, (64, 64), 8).grids
    shares, centres = grids[:, :, 0, 0], grids[:, :, :, 2] / 2
    assert shares[:5].mean().item() == pytest.approx(0.48, abs=0.02)
    assert shares[-5:].mean().item() == pytest.approx(0.12, abs=0.02)
    assert (shares - shares.mean(1, keepdim=True)).std().item() == pytest.approx(0.05, abs=0.01)
    assert centres.std().item() == pytest.approx(0.15, abs=0.01)
    assert shares.min() >= 0.05


def test_crops_shrink_through_all_stages():
    """A later stage goes on where the one before ended."""
    parts = (Crop(start=0.5, end=0.1, spread=0, center=0),)
    first = Transforms(parts, generators(1), 2, (64, 64), 8, begun=0, total=5).grids
    second = Transforms(parts, generators(1), 3, (64, 64), 8, begun=2, total=5).grids
    shares = torch.cat([first, second])[:, 0, 0, 0]
    assert torch.allclose(shares, torch.tensor([0.5, 0.4, 0.3, 0.2, 0.1]))


def test_random_resized_crops():
    """Sides are uniform from low to high, and each crop lies within the picture, anywhere in it."""
    part = RandomResizedCrop(count=8, low=0.25, high=0.75)
    grids = Transforms((part,), generators(1, 2), 100, (64, 64)).grids
    assert grids.shape == (100, 16, 2, 3)
    shares, centres = grids[:, :, 0, 0], grids[:, :, :, 2]
    assert (shares.min().item(), shares.max().item()) == (
        pytest.approx(0.25, abs=0.01),
        pytest.approx(0.75, abs=0.01),
    )
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    reach = (centres.abs() + shares[..., None]).amax(-1)
    assert reach.max() <= 1 + 1e-5
    assert reach.max() > 0.99


def test_random_resized_crops_are_as_large_as_the_picture():
    """Views stand side by side: of half the side, enlarged; in the first half of all steps as large as `early` says."""
    part = RandomResizedCrop(count=3, low=0.5, high=0.5, early=0.5)
    x = torch.rand(2, 1, 8, 8)
    transforms = Transforms((part,), generators(1, 2), 4, (8, 8))
    assert [transforms(x, step).shape[-1] for step in range(4)] == [4, 4, 8, 8]
    assert transforms(x, 0).shape == (6, 1, 4, 4)
    later = Transforms((part,), generators(1, 2), 2, (8, 8), begun=2, total=4)
    assert [later(x, step).shape[-1] for step in range(2)] == [8, 8]
    large = Transforms((part,), generators(1, 2), 4, (8, 8), least=(6, 6))
    assert large(x, 0).shape[-1] == 6
    padded = Transforms((Pad(pixels=1), part), generators(1, 2), 4, (8, 8))
    assert padded(x, 0).shape[-1] == 8


def test_random_numbers_of_other_parts_stay():
    """A crop's third number is drawn after the others', so that recipes without one keep their pictures."""
    own = Transforms((Jitter(pixels=3), Rotate(degrees=20)), generators(5), 3, (16, 16)).grids
    drawn = torch.rand(3, 1, 2, 2, generator=generators(5)[0])
    turned = Transforms((Jitter(pixels=0), Rotate(degrees=20)), generators(5), 3, (16, 16)).grids
    angle = (2 * drawn[..., 1, 0] - 1) * math.radians(20)
    assert torch.allclose(turned[..., 0, 0], angle.cos(), atol=1e-6)
    assert not torch.equal(own, turned)


def test_a_shift_after_a_crop_is_of_the_crops_pixels():
    """Order is meant: a crop is resized, and what comes after it counts the new pixels."""
    crop = Crop(start=0.5, end=0.5, spread=0, center=0)
    grids = Transforms((crop, Jitter(pixels=4)), generators(1), 200, (64, 64), 32).grids
    pixels = grids[:, 0, :, 2] / 0.5 * 32 / 2  # in the crop's pixels
    assert torch.allclose(pixels, pixels.round(), atol=1e-4)
    assert pixels.abs().max().round() == 4


def test_noise():
    """Of the given spread, a picture's own, another at each step, none without a spread."""
    x = torch.zeros(2, 3, 40, 40)
    transforms = Transforms((Noise(sd=3, uniform=6),), generators(1, 2), 2, (40, 40))
    first, second = transforms(x, 0), transforms(x, 1)
    assert first.std().item() == pytest.approx((9 + 36 / 12) ** 0.5, rel=0.05)
    assert not torch.allclose(first, second)
    alone = Transforms((Noise(sd=3, uniform=6),), generators(2), 2, (40, 40))(x[:1], 0)
    assert torch.equal(alone, first[1:])
    assert not Transforms((Noise(sd=0),), generators(1, 2), 1, (40, 40))(x, 0).any()
