"""selection.py: the grammar both ways, what it refuses, samples, names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterscope.errors import TargetError
from filterscope.selection import SAMPLE, Selection
from filterscope.target import Target

PLACES = st.none() | st.tuples(st.integers(0, 9999), st.integers(0, 9999))
LAYERS = st.from_regex(r"[A-Za-z_][\w./-]{0,20}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z_ '-]{0,15}[a-z]", fullmatch=True)
RANGES = st.tuples(st.integers(0, 999), st.integers(0, 999))
UNITS = st.lists(st.integers(0, 99999) | RANGES | NAMES, min_size=1, max_size=5).map(tuple)
SELECTIONS = st.builds(Selection, LAYERS) | st.builds(Selection, LAYERS, UNITS | st.just("*"), PLACES)
CLASSES = [("goldfish", "n01443537"), ("sea snake", "n01751748"), ("crane", "n1"), ("crane", "n2")]


@given(SELECTIONS)
def test_selection_survives_text(selection):
    """parse(str(s)) == s."""
    assert Selection.parse(str(selection)) == selection


@given(st.builds(Target, LAYERS, st.integers(0, 999), PLACES))
def test_target_survives_text(target):
    """A target's text means that target and no other."""
    assert Selection.parse(str(target)).resolve(1000) == [target]


@pytest.mark.parametrize(
    ("text", "units", "at"),
    [
        ("conv:30", [30], None),
        ("conv:3,7,0-2", [3, 7, 0, 1, 2], None),
        (" conv : 3 , 7-9 ", [3, 7, 8, 9], None),
        ("conv:*", list(range(32)), None),
        ("conv:*@0,0", list(range(32)), (0, 0)),
        ("conv:30@14,15", [30], (14, 15)),
        ("conv:1,2@ 3 , 4 ", [1, 2], (3, 4)),
        ("conv:5,5,4-6,5", [5, 4, 6], None),
        ("conv:0-31", list(range(32)), None),
        ("conv:7-7", [7], None),
    ],
)
def test_forms(text, units, at):
    """Every form of the grammar, in order and without repeats."""
    assert Selection.parse(text).resolve(32) == [Target("conv", u, at) for u in units]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no target; write LAYER"),
        ("   ", "is no target"),
        (":3", "is no target"),
        ("conv:", "is no target"),
        ("conv: ", "is no target"),
        ("conv:3,,4", "empty place between its commas"),
        ("conv:,3", "empty place"),
        ("conv:3,", "empty place"),
        ("conv:@1,2", "empty place"),
        ("conv:-1", r"units are counted from 0 \(got -1\)"),
        ("conv:3@", "after @ comes ROW,COLUMN, as in conv:30@14,14"),
        ("conv:3@1,", r"after @ comes ROW,COLUMN, .*a step's number.*got '1,'"),
        ("conv:3@1,2,3", "after @ comes ROW,COLUMN"),
        ("conv:3@-1,2", "after @ comes ROW,COLUMN"),
        ("conv:3@a,b", "after @ comes ROW,COLUMN"),
        ("conv:3@1,2@3,4", "after @ comes ROW,COLUMN"),
    ],
)
def test_unreadable(text, message):
    """A text outside the grammar is refused with what is expected."""
    with pytest.raises(TargetError, match=message):
        Selection.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv:32", r"conv has units 0 to 31 \(got 32\)"),
        ("conv:0,99", r"units 0 to 31 \(got 99\)"),
        ("conv:30-32", r"units 0 to 31 \(got 30-32\)"),
        ("conv:9-3", r"units 0 to 31, and a range goes upwards \(got 9-3\)"),
        ("conv:0+0.5*conv:1", r"a sum has spaces around its \+ and -: LAYER:1 \+ 0.5"),
        ("conv:0-conv:1", "a sum has spaces"),
        ("conv:goldfish", r"the units of conv have no names \(got 'goldfish'\); use their numbers"),
        ("conv:" + "9" * 5000, "conv"),
    ],
)
def test_not_there(text, message):
    """A unit that the layer has not is refused with the range that it has."""
    with pytest.raises(TargetError, match=message):
        Selection.parse(text).resolve(32)


@pytest.mark.parametrize("name", ["goldfish", "GOLDFISH", " goldfish ", "n01443537"])
def test_class_by_name(name):
    """A class answers to its name in any case and to its WordNet id."""
    assert Selection.parse(f"predictions:{name}").resolve(4, names=CLASSES) == [Target("predictions", 0)]


@pytest.mark.parametrize("name", ["sea snake", "sea_snake", "sea-snake", "Sea  Snake"])
def test_separators_in_class_names_are_alike(name):
    """Blank, dash and underscore mean the same."""
    assert Selection.parse(f"predictions:{name}").resolve(4, names=CLASSES) == [Target("predictions", 1)]


def test_unknown_class_names_the_nearest():
    """An unknown class is refused with the nearest name."""
    with pytest.raises(TargetError, match="predictions has no class 'goldfsh'; did you mean 'goldfish'"):
        Selection.parse("predictions:goldfsh").resolve(4, names=CLASSES)


def test_a_name_of_two_classes_is_refused():
    """Two classes of one name are told apart by their numbers."""
    with pytest.raises(TargetError, match=r"several classes 'crane': 2 \(crane/n1\) and 3 \(crane/n2\)"):
        Selection.parse("predictions:crane").resolve(4, names=CLASSES)


@given(LAYERS, st.integers(1, 500), st.integers(0, 99))
def test_sample(layer, units, seed):
    """A bare layer means up to 16 of its units, sorted, without repeats, the same for the same seed."""
    chosen = [t.unit for t in Selection(layer).resolve(units, seed=seed)]
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(SAMPLE, units)
    assert set(chosen) <= set(range(units))
    assert chosen == [t.unit for t in Selection.parse(layer).resolve(units, seed=seed)]


def test_sample_depends_on_seed_and_layer():
    """Another seed or another layer samples other units."""
    samples = {
        tuple(t.unit for t in Selection(layer).resolve(512, seed=seed))
        for layer in ("block4_conv1", "block4_conv2")
        for seed in range(5)
    }
    assert len(samples) == 10


# --- colons in names, steps of sequences ----------------------------------------------------------------------

ODD_LAYERS = st.from_regex(r"[A-Za-z_][\w./:\\-]{0,20}", fullmatch=True)
ODD_NAMES = st.from_regex(r"[A-Za-z][A-Za-z_ ':\\-]{0,15}[a-z]", fullmatch=True)
ODD_UNITS = st.lists(st.integers(0, 99999) | RANGES | ODD_NAMES, min_size=1, max_size=5).map(tuple)
ALL_PLACES = PLACES | st.tuples(st.integers(0, 9999))


@given(
    st.builds(Selection, ODD_LAYERS) | st.builds(Selection, ODD_LAYERS, ODD_UNITS | st.just("*"), ALL_PLACES)
)
def test_selection_with_colons_survives_text(selection):
    """parse(str(s)) == s, whatever the names hold."""
    assert Selection.parse(str(selection)) == selection


@given(st.builds(Target, ODD_LAYERS, st.integers(0, 999), ALL_PLACES))
def test_target_with_colons_survives_text(target):
    """A target's text means that target, also among layers whose names begin alike."""
    assert Selection.parse(str(target)).resolve(1000) == [target]
    known = [target.layer, target.layer.partition(":")[0] or "x"]
    assert Selection.parse(str(target)).among(known).resolve(1000) == [target]


def test_the_longest_name_that_there_is():
    """A person need not know of backslashes where the layers are known."""
    layers = ["a", "a:b", "a:b:3"]
    assert Selection.parse("a:b:3", layers) == Selection("a:b:3")
    assert Selection.parse("a:b:4", layers) == Selection("a:b", (4,))
    assert Selection.parse("a:c", layers) == Selection("a", ("c",))
    assert Selection.parse("a:b", ["a"]) == Selection("a", ("b",))
    assert Selection.parse("a:sea: snake", ["a"]) == Selection("a", ("sea: snake",))
    assert Selection.parse("a:b").among(layers) == Selection("a:b")
    assert Selection.parse(r"a\:b") == Selection("a:b")


def test_steps():
    """One number behind @ is a step's."""
    assert Selection.parse("head:1@7").resolve(4) == [Target("head", 1, (7,))]
