"""Objectives of every kind, drawn by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from filterscope.concept import HOWS, Concept
from filterscope.objective import Direction, WholeLayer
from filterscope.target import Sum, Target

LAYERS = st.sampled_from(["block3_conv1", "features/0", "layer4.1.conv2", "a+b"])
NUMBERS = st.floats(-1e6, 1e6).filter(bool)
PLACES = st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99))
VECTORS = st.dictionaries(st.integers(0, 2047), NUMBERS, min_size=1, max_size=4).map(
    lambda d: tuple(d.items())
)
FILES = st.sampled_from(["nmf.npy", "runs/a, b (2)/sae", "it's - here + there.pt", 'a "b" @ c'])
CONCEPTS = st.builds(Concept, LAYERS, FILES, st.integers(0, 9999), st.sampled_from(HOWS), PLACES)
TERMS = (
    st.builds(Target, LAYERS, st.integers(0, 999), PLACES)
    | st.builds(WholeLayer, LAYERS)
    | st.builds(Direction, LAYERS, VECTORS, st.booleans(), PLACES)
    | CONCEPTS
)
SUMS = st.lists(st.tuples(NUMBERS, TERMS), min_size=1, max_size=4).map(lambda t: Sum(tuple(t)))
