"""estimate: what a trial of a few layers says, and what finished chunks teach."""

import pytest

from filterscope.atlas.plan import Chunk, PlannedLayer
from filterscope.atlas.run.estimate import Estimate, format_duration, measure, name_dearest
from filterscope.recipe import Recipe, get_recipe


def of_all(layers: list[PlannedLayer], steps: int) -> dict[str, Recipe]:
    """One recipe for all layers."""
    return {layer.name: get_recipe(steps=steps) for layer in layers}


def test_estimate_finds_what_chunks_cost():
    """Where a chunk costs 2 s once and 0.1 s a step and picture, doubling from layer to layer, a trial says so."""
    some = [PlannedLayer(f"l{i}", f"l{i}", 40, 64, 4) for i in range(3)]

    def trial(chunk: Chunk, steps: int) -> float:
        return 2 + 0.1 * 2 ** int(chunk.layer[1]) * steps * len(chunk.units)

    estimate, basis = measure(some, of_all(some, 100), trial)
    assert basis == "a trial of 8 steps on 3 of 3 layers"
    for i in range(3):
        assert estimate.seconds({f"l{i}": 8}) == pytest.approx(8 * (2 / 4 + 0.1 * 2**i * 100))
    estimate.workers = 4
    assert estimate.seconds({"l0": 8}) == pytest.approx(8 * 10.5 / 4)


def test_estimate_interpolates_and_stops_in_time():
    """A trial that takes long is cut short after its first layer; the others are guessed by their area."""
    some = [PlannedLayer(f"l{i}", f"l{i}", 40, 64 * (1 + i % 2), 4) for i in range(9)]
    tried = []

    def trial(chunk: Chunk, steps: int) -> float:
        tried.append(chunk.layer)
        return 1.0 * steps

    estimate, basis = measure(some, of_all(some, 10), trial, limit=-1.0)
    assert basis.endswith("on 1 of 9 layers")
    assert set(tried) == {"l0", "l4"}  # one to warm up
    assert estimate.guess["l1"] == pytest.approx(4 * estimate.guess["l0"])


def test_estimate_tries_each_recipe():
    """Layers that another recipe suits are guessed by a layer of that recipe, also where time is short."""
    some = [PlannedLayer(f"l{i}", f"l{i}", 40, 64, 4) for i in range(6)]
    recipes = {
        layer.name: get_recipe("sharp" if i < 4 else "robust", steps=10) for i, layer in enumerate(some)
    }
    cost = {"sharp": 1.0, "robust": 8.0}

    def trial(chunk: Chunk, steps: int) -> float:
        return cost[recipes[chunk.layer].name] * steps

    for limit in (-1.0, 100.0):
        estimate, _ = measure(some, recipes, trial, limit=limit)
        assert estimate.guess["l5"] == pytest.approx(8 * estimate.guess["l0"])
    left = {layer.name: 40 for layer in some}
    assert name_dearest(estimate, left, recipes) == "; 80% of it for 2 of 6 layers, which robust suits"
    assert (
        name_dearest(estimate, left | {"l4": 1, "l5": 1}, recipes).startswith("; 91% of it for 4 of 6")
        is True
    )
    assert name_dearest(estimate, {"l0": 3}, recipes) == ""


def test_estimate_learns():
    """Finished chunks that took twice as long as guessed double what is left, in the end."""
    estimate = Estimate({"a": 1.0})
    assert estimate.seconds({"a": 10}) == 10
    estimate.learn("a", 10_000, 20_000.0)
    assert estimate.seconds({"a": 10}) == pytest.approx(20, rel=0.01)
    untried = Estimate({})
    untried.learn("a", 4, 8.0)
    assert untried.seconds({"a": 10}) == 20


def test_format_duration():
    """Durations for a person."""
    assert [format_duration(s) for s in (0.2, 59, 61, 7200, 100_000)] == [
        "1 s",
        "59 s",
        "1 min",
        "2.0 h",
        "1.2 days",
    ]
