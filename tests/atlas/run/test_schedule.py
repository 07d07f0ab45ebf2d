"""schedule: nothing lost, nothing twice, three deaths and a chunk is given up."""

import random
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from filterscope.atlas.plan import Chunk, Drawn, PlannedLayer
from filterscope.atlas.run.schedule import Alone, Outcome, schedule


class Mortal:
    """A crew of some hands; chunks come back in any order, and some kill the hand that draws them."""

    def __init__(self, rng: random.Random, hands: int, poison: set[int], late: int = 0):
        self.rng, self.hands, self.poison, self.late = rng, hands, poison, late
        self.out: list[Chunk] = []
        self.most = 0

    def room(self) -> bool:
        return not self.late and len(self.out) < self.hands

    def hand(self, chunk: Chunk) -> None:
        assert self.room()
        self.out.append(chunk)
        self.most = max(self.most, len(self.out))

    def wait(self) -> Outcome | None:
        if self.late:
            self.late -= 1
            return None
        chunk = self.out.pop(self.rng.randrange(len(self.out)))
        guilty = chunk.number in self.poison
        if guilty or self.rng.random() < 0.2:
            return Outcome(chunk, None, guilty=guilty, reason="killed")
        return Outcome(chunk, Drawn([{"unit": unit} for unit in chunk.units]))


@given(
    st.integers(0, 40),
    st.integers(1, 9),
    st.sets(st.integers(0, 40), max_size=3),
    st.integers(0, 3),
    st.randoms(),
)
def test_schedule_loses_nothing(units, hands, poison, late, rng):
    """Every chunk comes out once, however many hands die; one that kills three is given up, the innocent never;
    hands that are late are waited for."""
    layer = PlannedLayer("a", "a", units, 64, 1)
    crew = Mortal(random.Random(rng.random()), hands, poison, late)
    chunks = (layer.chunk(n, seed=0) for n in range(layer.chunks))
    lost: list[int] = []

    def give_up(chunk: Chunk, reason: str) -> Drawn:
        assert "3 times" in reason
        lost.append(chunk.number)
        return Drawn([])

    done = [chunk.number for chunk, _ in schedule(chunks, crew, give_up)]
    assert sorted(done) == list(range(units))
    assert sorted(lost) == sorted(poison & set(range(units)))
    assert crew.most <= hands


def test_schedule_is_lazy():
    """No more chunks are asked for than there is room, and no result is held."""
    asked = []

    def endless():
        for number in range(10**9):
            asked.append(number)
            yield Chunk("a", "a", number, (number,), 0)

    results = schedule(endless(), Alone(lambda chunk: Drawn([])), lambda c, r: Drawn([]))
    assert [chunk.number for chunk, _ in islice(results, 3)] == [0, 1, 2]
    assert len(asked) <= 4
