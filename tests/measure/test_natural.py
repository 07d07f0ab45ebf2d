"""natural.py and activations.py: against hand-made sums, through the cache, and those shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from filterscope.errors import ImageError, TargetError
from filterscope.measure.activations import natural_activations
from filterscope.measure.examples import example_sheet, find_examples, unit_rows
from filterscope.measure.natural import looked_up, natural_best, recall
from filterscope.measure.units import layers_with_units
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
    """Mean, best, peak and the best pictures equal plain sums over the layer's output."""
    found = find_examples(tiny, [LAYER], photographs, shown=False)[LAYER]
    part = tiny.part(LAYER)
    pixels = torch.stack([load_pixels(p, tiny.input) for p in list_images(photographs)])
    maps = part(tiny.input.preprocess(pixels)).output
    means = maps.mean((2, 3)).numpy()
    np.testing.assert_allclose(found.mean, means.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.best, means.max(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.peak, maps.amax((0, 2, 3)).numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.p99, np.quantile(means, 0.99, axis=0), rtol=1e-4, atol=1e-6)
    assert found.top.shape == (64, 12)
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


def test_what_was_measured_divides_excitation(small, photographs):
    """What `examples` found of a network that ships with none is the divisor from then on."""
    target = small.targets("conv1:3")
    assert natural_best(small, target) == [None]
    found = find_examples(small, ["conv1"], photographs, shown=False)["conv1"]
    assert natural_best(small, target) == [pytest.approx(float(found.best[3]))]


def test_the_shipped_measure_stays(tiny, photographs):
    """A person's own twelve pictures do not replace the ten thousand that the shipped measure is of."""
    target = tiny.targets(f"{LAYER}:3")
    before = natural_best(tiny, target)
    found = find_examples(tiny, [LAYER], photographs, shown=False)[LAYER]
    assert natural_best(tiny, target) == before != [pytest.approx(float(found.best[3]))]


def test_places_and_histograms(tiny, photographs):
    """The place is where the map of that picture is largest; the histogram counts each picture once."""
    found = find_examples(tiny, [LAYER], photographs, shown=False, fresh=True)[LAYER]
    part = tiny.part(LAYER)
    for unit in (0, 7, 40):
        for number, (row, column) in zip(found.top[unit], found.top_places[unit], strict=True):
            pixels = load_pixels(photographs / found.images[number], tiny.input)[None]
            one = part(tiny.input.preprocess(pixels)).output[0, unit]
            assert one[row, column].item() == pytest.approx(one.max().item(), rel=1e-4, abs=1e-6)
    assert (found.histogram.sum(1) == 12).all()
    assert found.edges.shape == (64, 33)
    np.testing.assert_allclose(found.edges[:, [0, -1]], np.stack([found.least, found.best], 1), rtol=1e-6)
    alive = found.best > found.least
    assert (found.histogram[alive, 0] > 0).all()
    assert (found.histogram[alive, -1] > 0).all()


def test_a_batch_of_any_size_gives_the_same(tiny, photographs):
    """The best, their places and the histogram are put together from batches."""
    images = list_images(photographs)
    whole = natural_activations(tiny, [LAYER, "predictions"], images)
    parts = natural_activations(tiny, [LAYER, "predictions"], images, batch=5)
    for layer, found in whole.items():
        np.testing.assert_array_equal(found.top, parts[layer].top)
        np.testing.assert_array_equal(found.top_places, parts[layer].top_places)
        np.testing.assert_allclose(found.top_values, parts[layer].top_values, rtol=1e-4, atol=1e-6)
    assert (whole["predictions"].top_places == 0).all()


def test_a_file_of_an_older_version_is_read(tiny, photographs, monkeypatch):
    """Without the arrays that came later they are None, and so are the edges."""
    import filterscope.measure.natural as module

    monkeypatch.setattr(module, "LATER_ARRAYS", ())
    find_examples(tiny, [LAYER], photographs, shown=False)
    old = looked_up(tiny, LAYER)
    assert (old.top_places, old.histogram, old.edges, old.sparsity) == (None, None, None, None)
    assert old.best.shape == (64,)
    monkeypatch.undo()
    again = find_examples(tiny, [LAYER], photographs, shown=False)[LAYER]  # what is lacking is computed anew
    assert again.sparsity.shape == (64,)


def test_files_in_folders_are_named_with_them(tiny, photographs, tmp_path):
    """Two files of one name in two folders stay apart, in rows and on the sheet."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (64, 64), "red" if name == "a" else "blue").save(tmp_path / name / "one.png")
    found = find_examples(tiny, [LAYER], tmp_path, shown=False)[LAYER]
    assert found.images == ("a/one.png", "b/one.png")
    assert set(unit_rows(found)[0]["top"]) == {"a/one.png", "b/one.png"}
    assert example_sheet(tiny, found, [0], tmp_path).width > 2 * 112


def test_a_file_that_is_no_picture_is_left_out(tiny, photographs, tmp_path):
    """It is named, the others are measured and keep their own names; without a listener there is a warning."""
    (tmp_path / "a.png").write_bytes(b"no picture")
    for path in list_images(photographs)[:3]:
        (tmp_path / f"b{path.name}").write_bytes(path.read_bytes())
    left: list[str] = []
    found = find_examples(
        tiny, [LAYER], tmp_path, shown=False, on_skip=lambda path, why: left.append(path.name)
    )[LAYER]
    assert left == ["a.png"]
    assert found.images == ("bp00.png", "bp01.png", "bp02.png")
    assert example_sheet(tiny, found, [0], tmp_path).height > 112
    with pytest.warns(UserWarning, match="left out: .*a.png"):
        find_examples(tiny, [LAYER], tmp_path, shown=False, fresh=True)


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
    """Rows name up to forty files each; the sheet has a row of nine tiles for each unit."""
    found = find_examples(tiny, [LAYER], photographs, shown=False)[LAYER]
    row = unit_rows(found)[5]
    assert row["unit"] == 5
    assert len(row["top"]) == 12
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
        find_examples(tiny, [LAYER], folder, shown=False, on_skip=lambda path, why: None)


def test_an_unknown_layer_is_refused(tiny, photographs):
    """The nearest layer is named."""
    with pytest.raises(TargetError, match="did you mean 'block2_conv"):
        find_examples(tiny, ["block2_conv9"], photographs, shown=False)
