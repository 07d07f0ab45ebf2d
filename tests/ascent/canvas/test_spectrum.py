"""spectrum.py and what rests on it: natural amplitudes, phases under them, the penalty that holds a spectrum."""

import numpy as np
import pytest
import torch
from PIL import Image
from training.spectrum import measure, ring_means

from filterscope.ascent.canvas.parametrizations import FourierCanvas, PhaseCanvas, start_canvas
from filterscope.ascent.canvas.spectrum import frequencies, natural_amplitudes, natural_log_rings
from filterscope.ascent.regularizers import natural_spectrum
from filterscope.recipe import Fourier, Phase


def generators(*seeds):
    return [torch.Generator().manual_seed(s) for s in seeds]


def test_frequencies_by_hand():
    """Cycles per longer side, of rows and columns together."""
    expected = [[0, 1, 2], [1, 2**0.5, 5**0.5], [2, 5**0.5, 8**0.5], [1, 2**0.5, 5**0.5]]
    assert torch.allclose(frequencies((4, 4)), torch.tensor(expected))
    assert frequencies((2, 4))[1].tolist() == pytest.approx([2, 5**0.5, 8**0.5])


def test_natural_amplitudes_fall():
    """Brightness has about 1 / f; larger pictures go on from the same coefficients, beyond what was measured too."""
    rings = natural_amplitudes(1, (512, 512))[0, 0]
    assert (rings[1:].diff() < 0).all()
    assert 5 < rings[2] / rings[16] < 20
    assert torch.allclose(
        natural_amplitudes(3, (64, 64))[:, 3, 5], natural_amplitudes(3, (256, 256))[:, 3, 5]
    )
    assert natural_amplitudes(3, (8, 8), decorrelated=False).unique(dim=0).shape[0] == 1


def test_measured_from_a_folder(tmp_path):
    """A flat picture has no amplitude but its mean's; a wave has its own ring's."""
    flat = np.full((224, 224, 3), 100, np.uint8)
    wave = (100 + 50 * np.cos(2 * np.pi * 8 * np.arange(224) / 224)).round().astype(np.uint8)
    Image.fromarray(flat).save(tmp_path / "flat.png")
    found = measure(tmp_path)
    assert found["brightness"][0] == pytest.approx(100)
    assert np.abs(found["brightness"][1:]).max() < 1e-4
    Image.fromarray(np.broadcast_to(wave[None, :, None], (224, 224, 3)).copy()).save(tmp_path / "flat.png")
    rings = measure(tmp_path)["brightness"]
    assert rings[1:].argmax() == 7
    assert found["images"] == 1


def test_ring_means_by_hand():
    """A ring's mean is over all its coefficients."""
    values = torch.zeros(1, 4, 3)
    values[0, 0, 1] = (
        8.0  # of the ring of one cycle: (0,1), (1,0), (3,0) and, as 2 ** 0.5 rounds to 1, (1,1), (3,1)
    )
    assert ring_means(values, 4)[0].tolist() == pytest.approx([0, 8 / 5, 0])


@pytest.mark.parametrize("size", [(16, 16), (9, 9), (12, 20)])
def test_phases_keep_their_magnitudes(size):
    """Before colour and sigmoid every picture has natural magnitudes, whatever its phases."""
    canvas = PhaseCanvas.start(Phase(decorrelate=False), generators(1, 2), 3, size)
    values = torch.logit(canvas.pixels().detach().double() / 255)
    found = torch.fft.rfft2(values).abs()[:, :, 1 : size[0] // 2, 1 : (size[1] - 1) // 2]
    wanted = canvas.magnitude[:, 1 : size[0] // 2, 1 : (size[1] - 1) // 2].double()
    ratio = found / wanted
    for picture in ratio:  # one factor a picture: it is standardised
        assert torch.allclose(picture, picture.mean(), rtol=1e-3)
    assert values.flatten(1).mean(1).abs().max() < 1e-4
    assert values.flatten(1).std(1, correction=0).tolist() == pytest.approx([1, 1], rel=5e-3)


def test_phases_go_on_at_another_size():
    """What both sizes have keeps its phase, up to the standardisation of all phases; the rest is drawn anew."""
    start = PhaseCanvas.start(Phase(), generators(3), 3, (16, 16))
    grown = start.resized((32, 32))
    assert grown.pixels().shape == (1, 3, 32, 32)
    old, new = start.parameters.detach()[0, :, 1:7, 1:7], grown.parameters.detach()[0, :, 1:7, 1:7]
    assert torch.corrcoef(torch.stack([old.flatten(), new.flatten()]))[0, 1] > 0.999


@pytest.mark.parametrize("recipe", [Phase(), Fourier(spectrum="natural"), Fourier(mean_gain=8)])
def test_starts_and_gradients_are_kept_apart(recipe):
    """In range, the same alone and in a batch, no gradient from one picture to another."""
    canvas = start_canvas(recipe, generators(1, 2), 3, (12, 12), torch.device("cpu"))
    pixels = canvas.pixels()
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    alone = start_canvas(recipe, generators(2), 3, (12, 12), torch.device("cpu")).pixels()
    assert torch.allclose(pixels[1:], alone, atol=1e-3)
    (gradient,) = torch.autograd.grad(pixels[1].square().sum(), canvas.parameters)
    assert not gradient[0].any()
    assert gradient[1].any()


def test_mean_gain_moves_the_mean():
    """The mean's coefficient counts that many times more, and starts where it would without."""
    plain, quick = (FourierCanvas.start(Fourier(mean_gain=g), generators(1), 3, (8, 8)) for g in (1.0, 8.0))
    assert torch.allclose(plain.pixels(), quick.pixels(), atol=1e-4)
    slopes = [torch.autograd.grad(c.pixels().sum(), c.parameters)[0][0, 0, 0, 0, 0] for c in (plain, quick)]
    assert (slopes[1] / slopes[0]).item() == pytest.approx(8, rel=1e-3)


def test_spectrum_penalty():
    """Smallest for natural amplitudes, larger for white noise; one value a picture; twice the contrast costs log 2 ^ 2."""
    rings = natural_amplitudes(1, (64, 64))[0]
    phases = torch.randn(64, 33, generator=generators(5)[0])
    natural = torch.fft.irfft2(torch.polar(rings, phases), s=(64, 64), norm="forward")
    # brightness of 0 to 255 about its mean, to the amplitudes that brightness has
    scale = natural_log_rings(8)[7].exp() / rings[0, 8]
    picture = (natural * scale + 127)[None, None]
    noise = torch.rand(1, 1, 64, 64, generator=generators(6)[0]) * 255
    both = natural_spectrum(torch.cat([picture, noise]))
    assert both[0] < 0.1
    assert both[1] > 1
    flat = torch.full((1, 3, 16, 16), 9.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(natural_spectrum(flat).sum(), flat)
    assert gradient.isfinite().all()
    assert natural_spectrum(torch.zeros(2, 3, 1, 1)).tolist() == [0, 0]
