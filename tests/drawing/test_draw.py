"""drawing/draw.py: one way from objectives to measured pictures, from noise and from photographs."""

import ast
from pathlib import Path

import numpy as np
import pytest

import filterscope
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError
from filterscope.objective import Likeness
from filterscope.photographs.presets import RECIPES
from filterscope.pictures.reading import read_photograph
from filterscope.recipe import get_recipe
from filterscope.target import Target

FLOAT32 = Run(precision="float32")


@pytest.fixture
def photo() -> dict:
    """A photograph of 40 x 24 px."""
    values = np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return {"image": read_photograph(values)}


def test_pictures_are_made_in_one_place():
    """A drawn Picture is assembled by the pipeline alone, one of a file by rerun; the loop is run in the pipeline alone."""
    places = {"Picture": set(), "ascend": set()}
    for path in Path(filterscope.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in places:
                places[node.func.id].add(path.name)
    assert places == {"Picture": {"attempts.py", "rerun.py"}, "ascend": {"attempts.py"}}


def test_several_goals_of_one_photograph(tiny, photo):
    """Each has the photograph's proportions and is drawn as alone; the steps of all are counted together."""
    recipe = get_recipe(RECIPES["invert"], steps=2, size=32)
    goals, steps = [Likeness("match", "block1_conv1"), Likeness("caricature", "block1_conv1")], []
    both = list(draw(tiny, goals, recipe, FLOAT32, photographs=photo, on_step=steps.append))
    assert [p.image.shape for p in both] == [(19, 32, 3)] * 2
    assert [(s.done, s.total) for s in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for goal, picture in zip(goals, both, strict=True):
        (alone,) = draw(tiny, [goal], recipe, FLOAT32, photographs=photo)
        assert np.array_equal(alone.image, picture.image)
        assert (alone.scores, alone.batch) == (picture.scores, 1)


def test_a_unit_from_a_photograph_is_measured_as_any_is(tiny, photo):
    """Its excitation is over the best natural image, its start the photograph's own activation; it has no restarts."""
    goal = Target("block2_conv1", 3)
    recipe = get_recipe(RECIPES["dream"], steps=2).model_copy(update={"stages": RECIPES["dream"].stages[-1:]})
    (picture,) = draw(tiny, [goal], recipe, FLOAT32, photographs=photo)
    pixels = photo["image"].pixels()[None].float()
    own = tiny.part("block2_conv1")(tiny.input.preprocess(pixels)).output[0, 3].mean().item()
    assert picture.scores.start == pytest.approx(own, rel=1e-3)
    assert picture.scores.excitation is not None
    assert (picture.attempt, picture.facet) == (0, 0)
    assert picture.photographs["image"] == photo["image"].identity


def test_a_guide_alone_is_no_photograph(tiny, photo):
    """A picture needs the photograph that it starts from."""
    with pytest.raises(ArgumentError, match=r"an image and, beside it, a guide \(got \['guide'\]\)"):
        next(draw(tiny, [Target("block1_conv1", 1)], RECIPES["dream"], photographs={"guide": photo["image"]}))


def test_a_run_takes_seeds_alone():
    """A seed of NumPy's is a whole number; what is none is refused when the run is made."""
    assert Run(np.int64(3)) == Run(3)
    with pytest.raises(ArgumentError, match="a seed is a whole number"):
        Run(1.5)
