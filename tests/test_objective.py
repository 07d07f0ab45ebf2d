"""objective.py: an algebra that changes nothing, names that files and seeds can bear."""

import pytest
from hypothesis import given
from tests.helpers.objectives import NUMBERS, SUMS, TERMS

from filterscope.objective import Direction
from filterscope.target import Target, terms_of


@given(TERMS | SUMS, TERMS | SUMS, NUMBERS)
def test_algebra(one, other, factor):
    """Sums have the terms of both, factors multiply, and the operands stay as they were."""
    before = (str(one), str(other))
    assert terms_of(one + other) == terms_of(one) + terms_of(other)
    assert terms_of(factor * one) == tuple((factor * w, t) for w, t in terms_of(one))
    assert terms_of(one - other) == terms_of(one + -other)
    assert (str(one), str(other)) == before
    assert set((one + other).layers) == set(one.layers) | set(other.layers)


@given(TERMS | SUMS)
def test_names_for_files_and_seeds(objective):
    """A stem is short and plain; the seed depends on seed, attempt and facet."""
    assert len(objective.stem) <= 96
    assert not set(objective.stem) & set('/\\:*?"<>| ')
    seeds = {objective.seed(0), objective.seed(1), objective.seed(0, 1), objective.seed(0, 0, 1)}
    assert len(seeds) == 4


def test_other_things_do_not_add():
    """An objective and a number are no sum."""
    with pytest.raises(TypeError):
        Target("a", 1) + 3
    with pytest.raises(TypeError):
        Target("a", 1) * "x"


def test_direction_of_values():
    """From one value a channel, zeros left out."""
    assert Direction.of("conv", [0, 2, 0, -1]).vector == ((1, 2.0), (3, -1.0))
