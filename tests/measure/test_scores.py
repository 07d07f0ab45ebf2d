"""scores.py: the way to 8 bits by hand, scores of the saved picture, verdicts."""

import numpy as np
import pytest
import torch

from filterscope.ascent.engine.prepare import prepare
from filterscope.measure import scores
from filterscope.measure.scores import Measurer, Measurers, pixels_of, to_bytes, verdict
from filterscope.pictures import Scores
from filterscope.target import Target


def pixels(*values: float) -> torch.Tensor:
    """One picture of one channel and one row."""
    return torch.tensor(values).view(1, 1, 1, -1)


def test_values_are_clipped_and_rounded():
    """0 to 255, to the nearest."""
    assert to_bytes(pixels(-3, 0.4, 0.6, 254.6, 300), "values").flatten().tolist() == [0, 0, 1, 255, 255]


def test_standardized_by_hand():
    """(x - mean) / (std + 1e-5) * 0.1 + 0.5, clipped, times 255: of -1 and 1 that is 0.4 and 0.6."""
    assert to_bytes(pixels(-1, 1), "standardize").flatten().tolist() == [102, 153]
    assert to_bytes(pixels(999, 1001), "standardize").flatten().tolist() == [102, 153]
    assert to_bytes(pixels(0, 3, 4, 5), "standardize").flatten().tolist() == [
        round((0.5 + 0.1 * (v - 3) / (3.5**0.5 + 1e-5)) * 255) for v in (0, 3, 4, 5)
    ]


def test_standardized_clips():
    """One value far from all others ends at white."""
    found = to_bytes(pixels(*[0] * 99, 1), "standardize").flatten()
    assert found[-1] == 255
    assert len(set(found[:-1].tolist())) == 1


def test_standardized_flat_picture():
    """A flat picture is mid-grey, not NaN."""
    assert (
        to_bytes(torch.full((1, 3, 4, 4), 128.0), "standardize").tolist()
        == np.full((1, 4, 4, 3), 128).tolist()
    )


@pytest.mark.parametrize("output", ["values", "standardize"])
def test_layout_and_batch(output):
    """(B, C, H, W) to (B, H, W, C); each picture by its own mean and spread, to the byte as alone."""
    x = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [1, 10, 255.0]
    ).view(3, 1, 1, 1)
    found = to_bytes(x, output)
    assert found.shape == (3, 5, 5, 3)
    assert found.dtype == np.uint8
    for i in range(3):
        assert np.array_equal(found[i : i + 1], to_bytes(x[i : i + 1], output))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


def measurer(net, layer, units, natural=(None, None)) -> Measurer:
    targets = [Target(layer, u) for u in units]
    return Measurer(prepare(net, targets, softmax=True), targets, natural)


def test_scores_are_of_the_saved_picture(small, images):
    """Activation: the mean over space of the layer's output for the 8-bit picture; start: of the noise."""
    noise = np.full_like(images, 128)
    scores = measurer(small, "conv2", [1, 4]).scores(images, pixels_of(noise))

    def plain(values, i, unit):
        x = torch.from_numpy(values[i]).permute(2, 0, 1)[None].float()
        return small.part("conv2")(small.input.preprocess(x)).output[0, unit].mean().item()

    for i, unit in enumerate([1, 4]):
        assert scores[i].activation == pytest.approx(plain(images, i, unit), rel=1e-4)
        assert scores[i].start == pytest.approx(plain(noise, i, unit), rel=1e-4)
        assert scores[i].probability is None
        assert scores[i].excitation is None


def test_scores_of_a_class(small, images):
    """A class's activation is before its softmax, its probability after it."""
    scores = measurer(small, "predictions", [1, 4]).scores(images, pixels_of(images))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    taps = small.part("predictions", softmax=True)(x)
    for i, unit in enumerate([1, 4]):
        assert scores[i].activation == pytest.approx(taps.linear[i, unit].item(), rel=1e-4)
        assert scores[i].probability == pytest.approx(taps.softmax[i, unit].item(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(("best", "excitation"), [(2.0, True), (None, None), (0.0, None), (-1.0, None)])
def test_excitation(small, images, best, excitation):
    """Activation over the best natural image's; none where that is unknown or nothing."""
    found = measurer(small, "conv2", [1, 4], (best, best)).scores(images, pixels_of(images))[0]
    assert found.excitation == (pytest.approx(found.activation / best) if excitation else None)


@pytest.mark.parametrize(
    ("scores", "curve", "natural", "status"),
    [
        (Scores(5.0, None, None, 1.0), [1, 5], None, "ok"),
        (Scores(1.0, None, None, 1.0), [1, 1], None, "no-gain"),
        (Scores(0.5, None, None, 1.0), [1, 2], None, "no-gain"),
        (Scores(0.0, None, None, 0.0), [0, 0], None, "dead"),
        (Scores(0.0, None, None, 0.0), [0, 0.1], None, "no-gain"),
        (Scores(0.0, 0.0, None, 0.0), [0, 0], 3.0, "no-gain"),
        (Scores(0.0, None, None, 0.0), [0, 0], 0.0, "dead"),
        (Scores(6.0, 2.0, None, 1.0), [1, 6], 3.0, "ok"),
        (Scores(3.0, 1.0, None, 1.0), [1, 6], 3.0, "ok"),
        (Scores(2.0, 0.7, None, 1.0), [1, 6], 3.0, "no-gain"),
        (Scores(2.0, None, 0.9, None), [1, 6], None, "ok"),
        (Scores(-1.0, None, 0.1, -5.0), [-5, -1], None, "ok"),
    ],
)
def test_verdict(scores, curve, natural, status):
    """dead: nothing excites it; no-gain: no more than the best natural image, or than the noise; else ok."""
    assert verdict(scores, curve, natural) == status


def test_what_was_to_be_silent_is_not_dead():
    """Less of a silent unit, or none of any, has no gain; dead is said of what was wanted more of alone."""
    assert verdict(Scores(0.0, None, None, 0.0), [0, 0], None, may_be_dead=False) == "no-gain"


def test_a_neuron_is_compared_by_the_measure_of_its_excitation(small, images):
    """A neuron's value over each unit's largest value at any place, a channel's mean over its best mean."""
    neuron, channel = Target("conv2", 1, at=(2, 3)), Target("conv2", 1)
    prepared = prepare(small, [neuron, channel], softmax=True, narrow=False)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    maps = small.part("conv2")(small.input.preprocess(x)).output
    values, means = maps[0, :, 2, 3], maps[1].mean((1, 2))
    peak, best = (values.abs() + 1).detach(), (means.abs() + 1).detach()
    peak[1], best[1] = 1e-6, 1e-6  # by its own measure each is far ahead of the others
    assert values[1] > 0, "the unit must be awake for this picture"
    assert means[1] > 0

    def tops(layer_best, layer_peak):
        found = Measurer(prepared, [neuron, channel], [1.0, 1.0], layer_best, layer_peak)
        return found.top_units(found.taps(images))

    assert tops(torch.full_like(best, 1e6), peak)[0]
    assert tops(best, torch.full_like(peak, 1e6))[1]
    huge = torch.full_like(peak, 1e6)
    huge[0] = 1e-9
    assert tops(best, huge) == [bool(values[1] / 1e6 >= values[0] / 1e-9), True]


def test_a_class_needs_no_natural_images_to_be_compared(small, images):
    """Classes are compared by their values; other units without natural activations are not."""
    units = small.part("predictions")(torch.from_numpy(images).permute(0, 3, 1, 2).float()).output.argmax(1)
    top = int(units[0])
    targets = [Target("predictions", top), Target("predictions", (int(units[1]) + 1) % 5)]
    found = Measurers(small, torch.device("cpu")).of(targets)
    assert [score.top_unit for score in found.scores(images, pixels_of(images))] == [True, False]
    assert measurer(small, "conv2", [1, 4]).scores(images, pixels_of(images))[0].top_unit is None


def test_prepared_once_a_layer(tiny, images, monkeypatch):
    """Batches of one layer share a measuring network and what is known of its units; the scores stay the same."""
    prepared, recalled = [], []
    real = scores.prepare, scores.recall
    monkeypatch.setattr(scores, "prepare", lambda *a, **k: prepared.append(k) or real[0](*a, **k))
    monkeypatch.setattr(scores, "recall", lambda *a, **k: recalled.append(a) or real[1](*a, **k))
    shared = Measurers(tiny, torch.device("cpu"))
    for units in ((0, 1), (2, 3), (1, 2)):
        targets = [Target("block1_conv1", unit) for unit in units]
        alone = Measurers(tiny, torch.device("cpu")).of(targets).scores(images, pixels_of(images))
        prepared.clear()
        assert shared.of(targets).scores(images, pixels_of(images)) == alone
        assert all(score.excitation is not None for score in alone)
        assert len(prepared) == (units == (0, 1))
    assert len(recalled) == 1 + 3


def test_measured_by_what_is_given(tiny, images):
    """What an atlas was begun with takes the place of what is known of the network, also where that is nothing."""
    targets = [Target("block1_conv1", unit) for unit in (0, 1)]
    best = np.full(32, 2.0, np.float32)
    found = (
        Measurers(tiny, torch.device("cpu"), {"block1_conv1": best})
        .of(targets)
        .scores(images, pixels_of(images))
    )
    assert [score.excitation for score in found] == [score.activation / 2 for score in found]
    none = Measurers(tiny, torch.device("cpu"), {}).of(targets).scores(images, pixels_of(images))
    assert [score.excitation for score in none] == [None, None]


@pytest.mark.parametrize(
    ("activation", "best", "curve", "status"),
    [
        (-1e-8, None, [-1, -1e-8], "dead"),
        (0.01, None, [-1, 0.2], "no-gain"),
        (0.2, None, [-1, 0.2], "ok"),
        (0.01, 0.005, [-1, 0.01], "ok"),
    ],
)
def test_verdict_behind_a_smooth_activation(activation, best, curve, status):
    """What beats a start below zero excites no unit yet; what natural images reach does."""
    scores = Scores(activation, None if best is None else activation / best, None, -1.0)
    assert verdict(scores, curve, best, bound=0.1) == status
    assert verdict(scores, curve, best) == "ok"
