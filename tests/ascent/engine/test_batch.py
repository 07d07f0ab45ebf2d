"""batch.py: the usual number of pictures; for long work the fastest, measured once and kept."""

import json

import pytest
import torch

from filterscope.ascent.engine import batch
from filterscope.ascent.engine.batch import batch_size, choose_batch, usual_count
from filterscope.recipe import get_recipe
from filterscope.target import Target

CPU = torch.device("cpu")
GOALS = [Target("block1_conv1", u) for u in range(40)]


def choose(net, goals=GOALS, steps=1000, recipe="sharp", **how):
    recipe = get_recipe(recipe, steps=steps)
    return choose_batch(net, goals, recipe, **{"size": 64, "dtype": torch.float32, "device": CPU, **how})


@pytest.fixture
def measured(monkeypatch):
    """Seconds by number, as if measured, and the numbers that were."""
    spans, asked = {8: 1.0, 16: 1.0, 32: 1.0}, []

    def seconds(network, goals, *rest):
        asked.append(len(goals))
        return spans[len(goals)]

    monkeypatch.setattr(batch, "_seconds", seconds)
    return spans, asked


@pytest.mark.parametrize("size", [1, 64, 128, 224, 1000])
def test_usual(size):
    """A few pictures at a time: more where they are small; many on a GPU."""
    assert 4 <= batch_size(size) <= 16
    assert batch_size(224) <= batch_size(size) or size > 224
    assert batch_size(size, torch.device("cuda")) >= 16


@pytest.mark.parametrize(("size", "expected"), [(32, 4), (128, 2), (224, 2), (1000, 1)])
def test_usual_with_views(size, expected):
    """Of a recipe with several views of a picture there are eight or more in a pass, unless pictures are large."""
    assert usual_count(size, get_recipe("robust")) == expected
    assert usual_count(size, get_recipe("maco")) == 1
    three = get_recipe("robust", settings={"transforms.random_resized_crop.count": 3})
    assert 3 * usual_count(size, three) >= (8 if size < 1000 else 3)
    assert usual_count(size, get_recipe("sharp")) == batch_size(size)


def test_short_work_measures_nothing(tiny, measured):
    """Up to a sheet or two the usual number is taken."""
    assert choose(tiny, GOALS[:16], 200) == batch_size(64)
    assert measured[1] == []


@pytest.mark.parametrize(("spans", "expected"), [({32: 0.5}, 32), ({8: 0.9}, 8), ({8: 0.97}, 16), ({}, 16)])
def test_long_work_takes_the_fastest(tiny, measured, spans, expected):
    """Another number than the usual one has to be clearly faster."""
    measured[0].update(spans)
    assert choose(tiny) == expected
    assert measured[1] == [8, 16, 32]


def test_measured_once(tiny, measured, own_cache):
    """The answer is kept by layer, size and number type."""
    measured[0][32] = 0.5
    assert choose(tiny) == choose(tiny) == 32
    assert measured[1] == [8, 16, 32]
    choose(tiny, dtype=torch.bfloat16)
    assert len(measured[1]) == 6


@pytest.mark.parametrize(
    "kept", ["", "[]", "{", "[" * 100_000, '{"x": "y"}', '{"KEY": true}', '{"KEY": -4}', '{"KEY": 1e9}']
)
@pytest.mark.parametrize("form", ["HERE", '{"format": 1, "counts": HERE}', '{"format": 1, "HERE": 3}'])
def test_damaged_cache(tiny, measured, kept, form):
    """A damaged cache is measured over, never trusted."""
    choose(tiny)
    place = batch._BATCHES.path
    (key,) = json.loads(place.read_text())["counts"]
    place.write_text(form.replace("HERE", kept.replace("KEY", key)))
    assert choose(tiny) == 16
    assert len(measured[1]) == 6
    assert json.loads(place.read_text())["counts"][key] == 16


def test_few_pictures_measure_nothing(tiny, measured, own_cache):
    """Where there are no pictures for all three numbers nothing is measured, and nothing kept that would bind more."""
    measured[0][32] = 0.5
    assert choose(tiny, GOALS[:20], 10_000) == 16
    assert measured[1] == []
    assert choose(tiny, GOALS, 10_000) == 32


def test_looks_count_as_pictures(tiny, measured):
    """A recipe that takes 32 views of a picture a step draws few together."""
    assert choose(tiny, recipe="maco") == 1
    assert choose(tiny, recipe="maco", device=torch.device("cuda")) == 2
    assert measured[1] == []


def test_real_measurement(tiny):
    """Measured in earnest, one of the three is taken."""
    assert choose(tiny, size=32) in (8, 16, 32)
