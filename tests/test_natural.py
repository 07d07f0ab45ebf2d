"""Natural activations: against hand-made sums, through the cache, and those shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from filterscope.errors import ImageError, TargetError
from filterscope.measure.examples import example_sheet, find_examples, unit_rows
from filterscope.measure.natural import layers_with_units, natural_best, recall
from filterscope.pictures.reading import list_images, load_pixels

LAYER = "block2_conv1"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small pictures of noise at several sizes and brightnesses."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(12):
        values = rng.integers(0, 20 * (i + 1), (64 + i, 80, 3)).astype(np.uint8)
        Image.fromarray(values).save(folder / f"p{i:02d}.png")
    return folder


def test_statistics_are_those_of_the_layer_itself(tiny, photographs):
    """Mean, best, peak and the nine best equal plain sums over the layer's output."""
    found = find_examples(tiny, [LAYER], photographs, shown=False)[LAYER]
    part = tiny.part(LAYER)
    pixels = torch.stack([load_pixels(p, tiny.input) for p in list_images(photographs)])
    maps = part(tiny.input.preprocess(pixels)).output
    means = maps.mean((2, 3)).numpy()
    np.testing.assert_allclose(found.mean, means.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.best, means.max(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.peak, maps.amax((0, 2, 3)).numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.p99, np.quantile(means, 0.99, axis=0), rtol=1e-4, atol=1e-6)
    assert found.top.shape == (64, 9)
    assert (found.top[:, 0] == means.argmax(0)).all()
    assert (np.diff(found.top_values, axis=1) <= 0).all()


def test_all_layers_in_one_pass_equal_each_alone(tiny, photographs):
    """`*` measures every layer as it would be measured alone."""
    everything = find_examples(tiny, ["*"], photographs, shown=False, fresh=True)
    assert list(everything) == layers_with_units(tiny)
    alone = find_examples(tiny, [LAYER], photographs, shown=False, fresh=True)[LAYER]
    np.testing.assert_allclose(everything[LAYER].best, alone.best, rtol=1e-5)


def test_the_cache_answers_for_these_images_only(tiny, photographs, tmp_path, monkeypatch):
    """A second call reads the cache; a changed folder or size computes anew."""
    import filterscope.measure.examples as module

    calls = []
    real = module.natural_activations
    monkeypatch.setattr(module, "natural_activations", lambda *a, **k: calls.append(1) or real(*a, **k))
    find_examples(tiny, [LAYER], photographs, shown=False)
    find_examples(tiny, [LAYER], photographs, shown=False)
    assert len(calls) == 1
    find_examples(tiny, [LAYER], photographs, size=48, shown=False)
    assert len(calls) == 2
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (64, 64), "red").save(other / "red.png")
    find_examples(tiny, [LAYER], other, shown=False)
    assert len(calls) == 3


def test_excitation_uses_what_was_measured_last(tiny, photographs):
    """What `examples` found is the divisor of excitation from then on; before, the shipped one is."""
    target = tiny.targets(f"{LAYER}:3")
    shipped = natural_best(tiny, target)[0]
    found = find_examples(tiny, [LAYER], photographs, shown=False)[LAYER]
    assert natural_best(tiny, target)[0] == pytest.approx(float(found.best[3]))
    assert shipped != pytest.approx(float(found.best[3]))


def test_a_neuron_is_compared_with_the_largest_value_at_any_place(tiny):
    """A neuron's natural best is the peak of its channel."""
    known = recall(tiny, LAYER)
    assert natural_best(tiny, tiny.targets(f"{LAYER}:3@1,1")) == [float(known.peak[3])]


def test_shipped_activations_cover_every_layer_and_unit(tiny):
    """Every layer that can be drawn has natural activations in the package, in the right number."""
    for layer in layers_with_units(tiny):
        known = recall(tiny, layer)
        assert known is not None, layer
        assert len(known.best) == tiny.layer(layer).units
        assert known.top.shape == (tiny.layer(layer).units, 9)
        assert (known.best >= known.p99 - 1e-6).all()
        assert len(known.images) == 10_000


def test_shipped_activations_are_those_of_the_real_pictures(tiny, shared):
    """The best picture that is shipped as such gives the best activation, fed anew."""
    from training.data import open_data

    known = recall(tiny, "block3_conv1")
    images = open_data(shared / "data" / "tiny-imagenet").pictures("val").images
    part = tiny.part("block3_conv1")
    for unit in (0, 17, 100):
        pixels = images[int(known.top[unit, 0])].permute(2, 0, 1)[None].float()
        value = part(tiny.input.preprocess(pixels)).output[0, unit].mean().item()
        assert value == pytest.approx(float(known.best[unit]), rel=1e-3)


def test_rows_and_sheet(tiny, photographs):
    """Rows name nine files each; the sheet has a row of nine tiles for each unit."""
    found = find_examples(tiny, [LAYER], photographs, shown=False)[LAYER]
    row = unit_rows(found)[5]
    assert row["unit"] == 5
    assert len(row["top"]) == 9
    assert row["top_activations"][0] == pytest.approx(row["best"])
    sheet = example_sheet(tiny, found, [5, 6], photographs)
    assert sheet.width > 9 * 112
    assert 2 * 112 < sheet.height < 3 * 112


@pytest.mark.parametrize("make", ["missing", "empty", "broken"])
def test_folders_that_hold_no_pictures_are_refused(tiny, tmp_path, make):
    """A missing folder, an empty one, and a file that is no picture."""
    folder = tmp_path / "f"
    if make != "missing":
        folder.mkdir()
    if make == "broken":
        (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError):
        find_examples(tiny, [LAYER], folder, shown=False)


def test_an_unknown_layer_is_refused(tiny, photographs):
    """The nearest layer is named."""
    with pytest.raises(TargetError, match="did you mean 'block2_conv"):
        find_examples(tiny, ["block2_conv9"], photographs, shown=False)
