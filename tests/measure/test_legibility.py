"""legibility.py: features, the test of a picture against photographs, and what a judge adds to the scores."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.colours import write_colours

import filterscope as fs
from filterscope.cli import main
from filterscope.measure.alternatives import ceiling, share_right
from filterscope.measure.examples import find_examples
from filterscope.measure.legibility import Features, legibility, pair_files
from filterscope.pictures.png import read_image, read_metadata

LAYER = "block2_conv1"


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def features(tiny):
    return Features(tiny)


def test_features(tiny, features, colours):
    """The mean over space of the last maps before the classes, over its length; of files the same, read once."""
    images = [read_image(path) for path in sorted(colours.iterdir())[:3]]
    found = features.of(images)
    pixels = np.stack([np.asarray(image) for image in images])
    part = tiny.part("block5_conv3")
    import torch

    maps = part(tiny.input.preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())).output.detach()
    mean = maps.mean((2, 3)).numpy()
    np.testing.assert_allclose(
        found, mean / np.linalg.norm(mean, axis=1, keepdims=True), rtol=1e-4, atol=1e-6
    )
    again = features.of_files(sorted(colours.iterdir())[:3])
    np.testing.assert_array_equal(again, found)


def test_by_hand(tiny, features, colours):
    """It is the share of the photographs that `natural` names; a best photograph fares better than one of the others."""
    natural = find_examples(tiny, [LAYER], colours, shown=False)[LAYER]
    unit = int(np.argmax(natural.best / np.maximum(natural.mean, 1e-3)))
    best, median = (
        [colours / natural.images[i] for i in some[unit]]
        for some in (natural.tested_best, natural.tested_median)
    )
    one, other = read_image(best[0]), read_image(median[0])
    found = legibility(features, one, pair_files(natural, unit))
    assert found.legibility == share_right(
        features.of([one])[0], features.of_files(best), features.of_files(median)
    )
    assert found.ceiling == ceiling(features.of_files(best), features.of_files(median))
    assert found.legibility > legibility(features, np.asarray(other), pair_files(natural, unit)).legibility


def test_what_cannot_be_known(tiny, features, colours, tmp_path):
    """Few photographs, photographs that are gone, and a unit that all of them excite alike: nothing is said."""
    for path in sorted(colours.iterdir())[:49]:
        shutil.copy(path, tmp_path)
    picture = read_image(tmp_path / "000.png")
    few = find_examples(tiny, [LAYER], tmp_path, shown=False)[LAYER]
    assert few.tested_best is None
    assert legibility(features, picture, pair_files(few, 3)) is None
    shutil.copy(colours / "049.png", tmp_path)
    enough = find_examples(tiny, [LAYER], tmp_path, shown=False)[LAYER]
    alive = int(np.argmax(enough.best))
    assert legibility(features, picture, pair_files(enough, alive)) is not None
    dead = [unit for unit in range(64) if enough.best[unit] == enough.least[unit]]
    assert all(legibility(features, picture, pair_files(enough, unit)) is None for unit in dead)
    features.known.clear()
    shutil.rmtree(tmp_path)
    assert legibility(features, picture, pair_files(enough, alive)) is None


def test_an_older_cache_is_looked_up_again(tiny, colours, monkeypatch):
    """Activations that were kept without the test's photographs are computed anew."""
    import filterscope.measure.natural as module

    monkeypatch.setattr(module, "LATER_ARRAYS", ("top_places", "least", "histogram"))
    find_examples(tiny, [LAYER], colours, shown=False)
    assert module.looked_up(tiny, LAYER).tested_best is None
    monkeypatch.undo()
    assert find_examples(tiny, [LAYER], colours, shown=False)[LAYER].tested_best is not None


def test_a_judge_measures_it(tiny, colours, tmp_path, capsys):
    """`show --judge` after `examples`: in the picture's scores, its PNG and the line that is printed; else not at all."""
    quick = {"steps": 2, "size": 64, "progress": False}
    assert "legibility" not in fs.visualize(tiny, f"{LAYER}:5", judge=tiny, **quick).metadata()["scores"]
    find_examples(tiny, [LAYER], colours, shown=False)
    scores = fs.visualize(tiny, f"{LAYER}:5", judge=tiny, **quick).scores
    assert 0 <= scores.legibility <= 1
    assert scores.legibility_ceiling is not None
    asked = ["show", "tiny-vgg16", f"{LAYER}:5", "--judge", "tiny-vgg16", "--steps", "2", "--size", "64"]
    assert main([*asked, "--out", str(tmp_path)]) == 0
    assert f"legibility {scores.legibility:.0%} of {scores.legibility_ceiling:.0%}" in capsys.readouterr().out
    assert read_metadata(tmp_path / f"{LAYER}-0005.png")["scores"]["legibility"] == pytest.approx(
        scores.legibility
    )
    assert fs.visualize(tiny, f"{LAYER}:5@3,4", judge=tiny, **quick).scores.legibility is None
