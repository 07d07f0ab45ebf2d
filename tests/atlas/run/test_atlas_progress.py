"""progress: what is left is told by the time that finished chunks took."""

from filterscope.atlas.plan import Chunk, ChunkResult, ChunkRow
from filterscope.atlas.run.estimate import Estimate
from filterscope.atlas.run.progress import Progress


def test_the_estimate_is_put_right_by_finished_chunks():
    """A chunk that took ten times as long as guessed makes the rest take longer; failures are counted."""
    estimate = Estimate({"a": 1.0})
    with Progress(True) as progress:
        progress.begin(300, {"a": 300}, estimate)
        rows = [ChunkRow(unit, 0, "ok" if unit else "failed") for unit in range(100)]
        progress.done(Chunk("a", "a", 0, tuple(range(100)), 0), ChunkResult(rows, seconds=1000.0))
        shown = progress._bar.postfix
    assert estimate.correction == (1000 + 60) / (100 + 60)
    assert shown == "a, about 22 min left, 1 failed"
