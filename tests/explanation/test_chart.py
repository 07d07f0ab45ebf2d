"""explanation/chart.py: round numbers on both scales, and lines that lie between them."""

import pytest

from filterscope.explanation.chart import chart_of, scale
from filterscope.explanation.removal import Removal


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-6.1, 14.2, [-10, -5, 0, 5, 10, 15]),
        (0.012, 0.034, [0.01, 0.015, 0.02, 0.025, 0.03, 0.035]),
        (5.0, 5.0, [5, 5.2, 5.4, 5.6, 5.8, 6]),
        (1200.0, 1202.0, [1200, 1200.5, 1201, 1201.5, 1202]),
    ],
)
def test_scale(low, high, ticks):
    """From below the smallest value to above the largest, in a few round steps."""
    found = scale(low, high)
    assert found == pytest.approx(ticks)
    assert found[0] <= low
    assert high <= found[-1]


def test_chart():
    """A value that a tick names lies at that tick; a real minus; the last count is that of all channels."""
    chart = chart_of(Removal((0, 1, 4, 9), (4.0, 2.0, -2.0, 0.0), (4.0, 3.5, 2.0, 0.0), 1.0, 5))
    at = {tick["label"]: tick["at"] for tick in chart["values"]}
    assert list(at) == ["\N{MINUS SIGN}2", "0", "2", "4"]
    points = [point.split(",") for point in chart["top"].split()]
    assert [down for _, down in points] == [at["4"], at["2"], at["\N{MINUS SIGN}2"], at["0"]]
    assert [tick["label"] for tick in chart["counts"]] == ["0", "2", "4", "7", "9"]
    assert points[-1][0] == chart["counts"][-1]["at"] == f"{chart['right']:.1f}"
