"""plan: the chunks of a million units, each unit once, folders that never fall together."""

import random
import tracemalloc
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from filterscope.atlas.plan import Plan, PlannedLayer, choose_folder_names, list_differences, retry_chunks

layers = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=5).map(
    lambda rows: tuple(PlannedLayer(f"l{i}", f"l{i}", u, 64, b) for i, (u, b) in enumerate(rows))
)


@given(layers)
def test_every_unit_once(some):
    """The chunks hold every unit of every layer once, in order, no more than a batch each."""
    chunks = list(Plan(some, seed=3).chunks())
    found = [(chunk.layer, unit) for chunk in chunks for unit in chunk.units]
    assert found == [(layer.name, unit) for layer in some for unit in range(layer.units)]
    assert all(len(chunk.units) <= next(x.batch for x in some if x.name == chunk.layer) for chunk in chunks)
    assert len({chunk.journal for chunk in chunks}) == len(chunks) == sum(layer.chunks for layer in some)


@given(layers, st.randoms(use_true_random=False))
def test_a_chunk_does_not_depend_on_what_is_done(some, rng: random.Random):
    """What is left is a subset of the whole plan: the same chunks, whatever was finished before."""
    plan = Plan(some, seed=0)
    done = {layer.name: {n for n in range(layer.chunks) if rng.random() < 0.5} for layer in some}
    rest = list(plan.chunks(lambda layer: done[layer.name]))
    assert rest == [chunk for chunk in plan.chunks() if chunk.number not in done[chunk.layer]]


def test_a_million_units_are_counted_not_listed():
    """The first chunks of a million units come at once and cost no memory."""
    plan = Plan(tuple(PlannedLayer(f"l{i}", f"l{i}", 1000, 128, 4) for i in range(1000)), seed=0)
    assert plan.units == 1_000_000
    assert sum(layer.chunks for layer in plan.layers) == 250_000
    tracemalloc.start()
    assert sum(1 for _ in islice(plan.chunks(), 20_000)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_retry_chunks_have_one_seed_each():
    """Failed units keep their seed, dead ones have another: they are not drawn in one chunk."""
    layer = PlannedLayer("a", "a", 50, 64, 2)
    chunks = list(retry_chunks(layer, [(1, 0), (5, 1), (7, 0), (9, 0), (30, 1)], turn=2))
    assert [(c.number, c.units, c.seed) for c in chunks] == [(0, (1, 7), 0), (1, (9,), 0), (2, (5, 30), 1)]
    assert chunks[0].journal == "a/retry-002-000000.json"


def test_folder_names_never_fall_together():
    """Names that differ by separators or case alone get folders of their own; none is hidden or leaves its place."""
    names = ["a/b", "a.b", "A.b", "..", "../x", "", "a b"]
    folders = choose_folder_names(names)
    assert len({f.casefold() for f in folders.values()}) == len(names)
    assert not any(f.startswith(".") or "/" in f for f in folders.values())


def test_differences():
    """Each key that differs, with both values; equal settings give nothing."""
    told = {"seed": 0, "recipe": {"steps": 9, "stages": [{"scale": 1}]}}
    assert list_differences(told, told) == []
    asked = {"seed": 0, "recipe": {"steps": 8, "stages": [{"scale": 0.5}], "new": 1}}
    assert list_differences(told, asked) == [
        "recipe.steps is 9 there and 8 here",
        "recipe.stages.0.scale is 1 there and 0.5 here",
        "recipe.new is not set there and 1 here",
    ]
