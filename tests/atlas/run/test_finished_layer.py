"""layer: likeness and ranks, computed by hand."""

import numpy as np
import pytest

from filterscope.atlas.run.layer import most_alike, unit_ranks, unit_scales


def test_likeness_by_hand():
    """Columns (1,2,3), (2,4,6), (3,2,1), (1,0,1), minus their means: cosines 1, -1 and 0."""
    responses = np.array([[1, 2, 3, 1], [2, 4, 2, 0], [3, 6, 1, 1]], float)
    order, likeness = most_alike(responses)
    assert order.tolist() == [[1, 3, 2], [0, 3, 2], [3, 0, 1], [0, 1, 2]]
    assert likeness == pytest.approx(np.array([[1, 0, -1], [1, 0, -1], [0, -1, -1], [0, 0, 0]]), abs=1e-12)


def test_likeness_of_a_unit_that_never_answers():
    """A column of one value is like no other, and nothing is NaN."""
    order, likeness = most_alike(np.array([[5.0, 1, 2], [5, 2, 4], [5, 3, 6]]))
    assert likeness[0].tolist() == [0, 0]
    assert order[1].tolist() == [2, 0]


def test_likeness_names_ten():
    """Ten others at most, never the unit itself."""
    order, likeness = most_alike(np.random.default_rng(0).normal(size=(40, 30)))
    assert order.shape == likeness.shape == (30, 10)
    assert not any(unit in row for unit, row in enumerate(order.tolist()))
    assert (np.diff(likeness, axis=1) <= 0).all()


def test_scales_and_ranks_by_hand():
    """A unit with a natural best is divided by it, one without by its spread, one that never changes by 1."""
    responses = np.array([[4.0, 1, 7], [2, 3, 7]])
    scales = unit_scales(responses, np.array([2.0, 0, -1]))
    assert scales.tolist() == [2, 1, 1]
    ranks, tops = unit_ranks(responses / scales, [0, 1])
    assert ranks.tolist() == [2, 2]  # 2, 1, 7 and 1, 3, 7
    assert tops.tolist() == [2, 2]
