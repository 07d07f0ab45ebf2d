"""alternatives.py: which photographs are tested, the share of right answers and its ceiling, by hand."""

import numpy as np
import pytest

from filterscope.measure.alternatives import MOST, ceiling, choose_photographs, share_right


def test_which_photographs():
    """Of 100 the best two, the best first, and the two in the middle; of each unit its own."""
    values = np.stack([np.arange(100.0), -np.arange(100.0)], 1)
    best, median = choose_photographs(values)
    assert best.tolist() == [[99, 98], [0, 1]]
    assert median.tolist() == [[50, 49], [49, 50]]


@pytest.mark.parametrize(("count", "tested"), [(50, 1), (149, 3), (1000, 20), (4000, MOST)])
def test_how_many(count, tested):
    """2 % of each half, at most MOST, which reach from the best to the end of the 2 %."""
    best, median = choose_photographs(np.arange(float(count))[:, None])
    assert best.shape == median.shape == (1, tested)
    assert best[0, 0] == count - 1
    if count == 4000:
        assert best[0, -1] == 4000 - 80
    assert abs(median.mean() - (count - 1) / 2) <= 0.5


def test_too_few():
    """Below 50 there is no best 2 %."""
    assert choose_photographs(np.zeros((49, 3))) is None


def test_shares():
    """A picture like the best photographs is always right, one like the others never, one like neither half the time."""
    best, median = np.eye(4)[[0, 0, 0]], np.eye(4)[[1, 1, 1]]
    assert [share_right(one, best, median) for one in np.eye(4)[:3]] == [1.0, 0.0, 0.5]


def test_ceiling():
    """The tested photograph itself is not among the references: one that differs from all others helps none."""
    assert ceiling(np.eye(4)[[0, 0, 0]], np.eye(4)[[1, 1, 1]]) == 1.0
    assert ceiling(np.eye(4)[[0, 0, 3]], np.eye(4)[[1, 1, 1]]) == pytest.approx((1 + 1 + 0.5) / 3)
    assert ceiling(np.eye(4)[[0]], np.eye(4)[[1]]) is None
