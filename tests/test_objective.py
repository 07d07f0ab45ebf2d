"""objective.py: text and data both ways, an algebra that changes nothing, names that files and seeds can bear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterscope.concept import HOWS, Concept, ConceptSelection
from filterscope.errors import TargetError
from filterscope.objective import (
    Between,
    Direction,
    Expression,
    Interpolation,
    WholeLayer,
    parse,
    read_objective,
)
from filterscope.target import Sum, Target, terms_of

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


def units_of(selection):
    """The numbers that a text names, of a thousand."""
    if isinstance(selection, ConceptSelection):
        s = selection
        return [Concept(s.layer, s.file, i, s.how, s.at) for i in s.resolve(10_000)]
    return selection.resolve(1000)


def read(text):
    """The objective of a text, units being their own numbers."""
    parsed = parse(text)
    if isinstance(parsed, Expression | Interpolation):
        (target,) = parsed.resolve(units_of)
    else:
        (target,) = parsed.resolve(1000)
    return target


@given(TERMS | SUMS)
def test_text_reads_back(objective):
    """parse(str(o)) == o, but for a sum of one term of weight 1, which is that term."""
    found = read(str(objective))
    assert terms_of(found) == terms_of(objective)
    assert str(found) == str(objective)


FRAMES = (
    st.tuples(TERMS | SUMS, TERMS | SUMS, st.integers(2, 96), st.integers(0, 95))
    .filter(lambda drawn: str(drawn[0]) != str(drawn[1]))
    .map(lambda drawn: Between.at_frame(drawn[0], drawn[1], 1 + drawn[3] % drawn[2], drawn[2]))
)


@given(FRAMES)
def test_frames_read_back(frame):
    """Of a frame too; its weights are those of its ends, each by how near it is, and its seed is that of all frames."""
    assert str(read(str(frame))) == str(frame)
    if not any(isinstance(term, Concept) for end in (frame.first, frame.second) for _, term in terms_of(end)):
        assert str(read_objective(str(frame))) == str(frame)
    assert sum(w for w, _ in terms_of(frame)) == pytest.approx(
        (1 - frame.share) * sum(w for w, _ in terms_of(frame.first))
        + frame.share * sum(w for w, _ in terms_of(frame.second)),
        abs=1e-3,
    )
    assert len({one.seed(3) for one in frame.group}) == 1
    assert len({one.stem for one in frame.group}) == frame.frames
    assert len(frame.stem) <= 96


def test_pairs():
    """Several targets on a side give each pair; several units in a sum a grid; a text's own number of frames holds."""
    numbers = lambda selection: selection.resolve(99)  # noqa: E731
    found = parse("a:1,2 -> b:3,4 [3]").with_frames(24).resolve(numbers)
    assert [str(one) for one in found[::3]] == [f"a:{i} -> b:{j} [1/3]" for i in (1, 2) for j in (3, 4)]
    assert len(parse("a:1 -> b:3").with_frames(24).resolve(numbers)) == 24
    grid = parse("a:1,2 + b:3,4").resolve(numbers)
    assert [str(one) for one in grid] == ["a:1 + b:3", "a:1 + b:4", "a:2 + b:3", "a:2 + b:4"]


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer(conv, 3:1)", "takes a layer's name alone"),
        ("direction(conv)", "CHANNEL:WEIGHT"),
        ("direction(conv, 3)", "CHANNEL:WEIGHT"),
        ("cosine(conv, 3:1 3:2)", "names a channel twice"),
        ("a:1 + b", "a sum names its units"),
        ("a:1 -> b:2 -> c:3", "has one ->"),
        ("a:1 -> a:1", "nothing lies between a:1 and itself"),
        ("a:1 -> a:2 [1]", r"has 2 to 96 frames \(got 1\)"),
        ("a:1 -> a:2 [9/8]", r"frames are numbered from 1 to 8 \(got 9\)"),
        ("direction(conv, 3:1)@1,2,3", "after @ comes ROW,COLUMN"),
    ],
)
def test_refusals(text, message):
    """What cannot be read says what is allowed."""
    with pytest.raises(TargetError, match=message):
        read(text)


def test_plain_targets_stay_plain():
    """One unit's text is a Selection, as before there were sums."""
    assert str(parse("block3_conv1:3,7-9@1,2")) == "block3_conv1:3,7-9@1,2"


def test_other_things_do_not_add():
    """An objective and a number are no sum."""
    with pytest.raises(TypeError):
        Target("a", 1) + 3
    with pytest.raises(TypeError):
        Target("a", 1) * "x"


def test_direction_of_values():
    """From one value a channel, zeros left out."""
    assert Direction.of("conv", [0, 2, 0, -1]).vector == ((1, 2.0), (3, -1.0))


@pytest.mark.parametrize(
    "text",
    [
        "concept(" + "'" * 101,
        "concept(a, " + "''" * 3000 + ", 3",
        "concept(" * 300,
        "x concept(a, b, 3)",
        "concept(3)",
    ],
)
def test_concepts_that_cannot_be_read(text):
    """Are refused at once, however many quotes and brackets there are."""
    with pytest.raises(TargetError, match=r"concept\(LAYER, FILE, 17\)|concept\(\.\.\.\) alone"):
        parse(text)
