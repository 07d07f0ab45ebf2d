"""canvas/parametrizations.py: the two canvases: starts, inverses, hand-computed waves, other sizes, pictures kept apart."""

import math

import pytest
import torch

from filterscope.ascent.canvas.parametrizations import COLOUR, FourierCanvas, PixelCanvas, start_canvas
from filterscope.recipe import Fourier, Pixels


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(s) for s in seeds]


def wave(
    row: int, column: int, *, size: int = 8, decay: float = 1.0, value: tuple[float, float] = (1.0, 0.0)
):
    """A one-channel canvas with a single coefficient."""
    parameters = torch.zeros(1, 1, size, size // 2 + 1, 2)
    parameters[0, 0, row, column] = torch.tensor(value)
    return FourierCanvas(parameters, Fourier(decay=decay), (size, size))


def before_sigmoid(canvas) -> torch.Tensor:
    return torch.logit(canvas.pixels().detach().double() / 255) / FourierCanvas.GAIN


def test_blog_start():
    """(u - 0.5) * 20 + 128 with u from the picture's own generator."""
    canvas = PixelCanvas.start(Pixels(), generators(3, 4), 3, (5, 5))
    for picture, seed in zip(canvas.pixels(), (3, 4), strict=True):
        u = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(picture, (u - 0.5) * 20 + 128)
    assert canvas.pixels().min() >= 118
    assert canvas.pixels().max() < 138


@pytest.mark.parametrize("recipe", [Pixels(), Fourier()])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_start(recipe, channels, size):
    """(B, C, H, W) within 0 to 255; a picture's start is the same alone and in a batch."""
    canvas = start_canvas(recipe, generators(1, 2), channels, (size, size), torch.device("cpu"))
    pixels = canvas.pixels().detach()
    assert pixels.shape == (2, channels, size, size)
    assert pixels.dtype == torch.float32
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    alone = start_canvas(recipe, generators(2), channels, (size, size), torch.device("cpu")).pixels()
    assert torch.allclose(pixels[1:], alone, atol=1e-4)
    assert canvas.parameters.requires_grad
    assert canvas.parameters.is_leaf


@pytest.mark.parametrize("recipe", [Pixels(), Fourier(), Fourier(decorrelate=False, decay=0)])
def test_pictures_are_kept_apart(recipe):
    """Picture 0 has no gradient from picture 1."""
    canvas = start_canvas(recipe, generators(1, 2), 3, (6, 6), torch.device("cpu"))
    (gradient,) = torch.autograd.grad(canvas.pixels()[1].square().sum(), canvas.parameters)
    assert not gradient[0].any()
    assert gradient[1].any()


def test_no_coefficients_are_mid_grey():
    """All-zero parameters are 127.5 everywhere."""
    assert torch.allclose(wave(0, 0, value=(0, 0)).pixels(), torch.tensor(127.5))


def test_constant():
    """The coefficient of frequency 0 is a constant."""
    assert torch.allclose(
        before_sigmoid(wave(0, 0, value=(0.5, 9))), torch.tensor(0.5, dtype=torch.double), atol=1e-5
    )


@pytest.mark.parametrize(
    ("row", "column", "frequency"), [(0, 1, 1), (0, 2, 2), (3, 2, math.hypot(3, 2)), (7, 1, math.hypot(1, 1))]
)
@pytest.mark.parametrize("decay", [0, 1, 2])
def test_waves_by_hand(row, column, frequency, decay):
    """A coefficient (a, b) is the wave 2 (a cos - b sin), over its frequency to the power of decay."""
    a, b = 0.3, -0.4
    rows, columns = torch.meshgrid(torch.arange(8).double(), torch.arange(8).double(), indexing="ij")
    angle = 2 * math.pi * (row * rows + column * columns) / 8
    expected = 2 * (a * angle.cos() - b * angle.sin()) / frequency**decay
    found = before_sigmoid(wave(row, column, decay=decay, value=(a, b)))[0, 0]
    assert torch.allclose(found, expected, atol=1e-4)


def test_spectrum_is_the_inverse():
    """The parameters come back from the picture: logit, Fourier transform, times the frequency."""
    canvas = FourierCanvas.start(
        Fourier(sd=0.1), generators(5), 1, (9, 9)
    )  # odd: every coefficient is free but the mean's
    values = torch.fft.rfft2(before_sigmoid(canvas), norm="forward")
    found = torch.view_as_real(values) / canvas.scale
    expected = canvas.parameters.detach().double()
    assert torch.allclose(found[:, :, :, 1:], expected[:, :, :, 1:], atol=1e-3)


def test_decorrelated_colour():
    """Each channel of the parameters moves the picture along its column of COLOUR."""
    for channel in range(3):
        parameters = torch.zeros(1, 3, 4, 3, 2)
        parameters[0, channel, 0, 0, 0] = 1
        found = before_sigmoid(FourierCanvas(parameters, Fourier(), (4, 4)))[0, :, 0, 0]
        assert found.tolist() == pytest.approx([row[channel] for row in COLOUR], abs=1e-4)
        plain = before_sigmoid(FourierCanvas(parameters, Fourier(decorrelate=False), (4, 4)))[0, :, 0, 0]
        assert plain.tolist() == pytest.approx([float(c == channel) for c in range(3)], abs=1e-4)


def test_colour_matrix_inverts():
    """No colour is lost: the matrix has an inverse, its first column (brightness) is the largest."""
    colour = torch.tensor(COLOUR)
    assert torch.linalg.matrix_rank(colour) == 3
    assert colour.norm(dim=0).tolist() == sorted(colour.norm(dim=0).tolist(), reverse=True)


@pytest.mark.parametrize(("small", "large"), [(8, 16), (8, 12), (7, 14), (9, 16), (8, 9)])
def test_fourier_goes_on_at_another_size(small, large):
    """Larger and back is the same picture, but for what only the smaller size calls Nyquist."""
    start = FourierCanvas.start(Fourier(sd=0.1), generators(1), 3, (small, small))
    with torch.no_grad():
        if small % 2 == 0:
            start.parameters[:, :, small // 2] = 0
            start.parameters[:, :, :, small // 2] = 0
    grown = start.resized((large, large))
    assert grown.pixels().shape == (1, 3, large, large)
    assert torch.allclose(grown.resized((small, small)).pixels(), start.pixels(), atol=1e-3)
    if large == 2 * small:
        assert torch.allclose(grown.pixels()[..., ::2, ::2], start.pixels(), atol=1e-3)
    assert grown.parameters.is_leaf
    assert grown.parameters.requires_grad


def test_pixels_go_on_at_another_size():
    """A flat picture stays flat, means stay about."""
    canvas = PixelCanvas(torch.full((1, 3, 4, 4), 100.0)).resized((9, 9))
    assert torch.allclose(canvas.pixels(), torch.full((1, 3, 9, 9), 100.0))
    assert canvas.parameters.requires_grad
    assert canvas.parameters.is_leaf
    noise = PixelCanvas.start(Pixels(), generators(1), 3, (8, 8))
    assert noise.resized((16, 16)).pixels().mean().item() == pytest.approx(
        noise.pixels().mean().item(), abs=0.5
    )
