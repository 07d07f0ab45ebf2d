"""expression.py: text and data both ways, grids and frames, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.objectives import SUMS, TERMS

from filterscope.concept import Concept, ConceptSelection
from filterscope.errors import TargetError
from filterscope.expression import Expression, Interpolation, parse, read_objective
from filterscope.objective import Between
from filterscope.target import terms_of


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


@pytest.mark.parametrize(
    "text", ["conv1:3 -> ", "-> conv1:3", "conv1:3->conv1:4", "conv1:3 -> conv1:4 ->", "conv1:3 ->conv1:4"]
)
def test_half_of_what_lies_between(text):
    """An arrow without an end, or without blanks, is refused by its form, and not as a unit's name."""
    with pytest.raises(TargetError, match="is written A -> B, with blanks around ->"):
        parse(text)


def test_arrows_in_names():
    """The name of a class or of a file of concepts may hold an arrow."""
    assert parse("predictions:a->b").units == ("a->b",)
    assert parse("concept(conv1, 'a:->b:', 3)").terms[0][1].file == "a:->b:"


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
