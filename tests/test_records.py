"""records.py: a picture's record says what was done, and is checked whole when it is read."""

import json
from typing import Any

import numpy as np
import pytest

import filterscope as fs
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import ImageError, RecipeError
from filterscope.pictures.png import read_metadata
from filterscope.recipe import PRESETS, get_recipe
from filterscope.recipe.recipe import RESTARTS
from filterscope.records import PictureRecord, read_record
from filterscope.rerun import draw_again

QUICK = {"steps": 3, "size": 32, "precision": "float32", "progress": False}


def saved(picture, tmp_path) -> dict[str, Any]:
    """What the file holds."""
    return read_metadata(picture.save(tmp_path / "x.png")) or {}


@pytest.mark.parametrize("recipe", PRESETS)
@pytest.mark.parametrize(
    "target", ["block2_conv1:7@1,2", "direction(block2_conv1, 3:1 7:-0.5)@2,2", "block1_pool:3"]
)
def test_the_record_lists_what_was_done(tiny, tmp_path, recipe, target):
    """What moves a picture is listed for a channel and not for what has a place, which is drawn without it."""
    settings = {"transforms.crop.count": 2} if recipe == "maco" else {}
    picture = fs.visualize(tiny, target, recipe=recipe, settings=settings, **QUICK)
    told = saved(picture, tmp_path)
    kinds = [part["kind"] for part in told["recipe"]["transforms"]]
    asked = [part.kind for part in PRESETS[recipe].transforms]
    assert kinds == ([kind for kind in asked if kind == "noise"] if "@" in target else asked)
    assert picture.recipe.size == told["recipe"]["size"] == 32
    assert draw_again(tmp_path / "x.png").largest_difference == 0


def test_a_restart(tiny, tmp_path, trapped):
    """A restart's record has the rate that it was drawn at, and `rerun` draws it at that."""
    (picture,) = draw(tiny, tiny.targets("block2_conv1:3"), get_recipe("sharp", steps=32, size=32))
    told = saved(picture, tmp_path)
    assert (told["attempt"], told["recipe"]["optimizer"]["lr"]) == (1, 0.1 / RESTARTS[0])
    assert draw_again(tmp_path / "x.png").largest_difference == 0
    assert [rate for _, rate in trapped] == [0.1, 0.1 / RESTARTS[0], 0.1 / RESTARTS[0]]


def test_a_restart_of_a_facet(tiny, tmp_path, trapped):
    """It is drawn by itself, whichever of the facets it is: its record has no facets, and its number."""
    recipe = get_recipe("sharp", steps=32, size=32, settings={"facets.count": 2})
    pictures = list(draw(tiny, tiny.targets("block2_conv1:3"), recipe, run=Run(precision="float32")))
    done = [(p.attempt, p.facet, p.recipe.facet_count) for p in pictures]
    assert done[0] == (1, 0, 1)
    assert (0, 1, 2) in done
    for picture in pictures:
        told = saved(picture, tmp_path)
        assert (told["recipe"]["facets"] is None) == bool(picture.attempt)
        assert draw_again(tmp_path / "x.png").largest_difference == 0


@pytest.mark.parametrize(
    ("changes", "facets", "message"),
    [
        ({"facet": 7}, None, "facet 7 of a recipe that draws one picture"),
        ({"facet": 2}, 2, "facet 2 of a recipe with 2"),
    ],
)
def test_a_facet_that_no_recipe_draws(tiny, tmp_path, changes, facets, message):
    """A record that was tampered with is refused, with facets in its recipe or without."""
    settings = {"facets.count": facets} if facets else {}
    picture = fs.visualize(tiny, "block2_conv1:7", settings=settings, **QUICK)
    told = saved(picture[0] if facets else picture, tmp_path) | changes
    with pytest.raises(ImageError, match=message):
        read_record(told, "'x.png'")


def test_a_single_facet(tiny, tmp_path):
    """Facets of one picture are none."""
    picture = fs.visualize(tiny, "block2_conv1:7", settings={"facets.count": 1}, **QUICK)
    assert saved(picture, tmp_path)["recipe"]["facets"] is None


def test_one_picture_of_a_photograph(tiny, tmp_path):
    """From a photograph one picture is drawn, and what has a place holds still: the record says so."""
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    picture = fs.dream(
        tiny, image, target="block2_conv1:7@3,3", recipe="sharp", settings={"facets.count": 3}, **QUICK | {"size": 48}
    )  # fmt: skip
    recipe = saved(picture, tmp_path)["recipe"]
    assert (recipe["facets"], recipe["transforms"], recipe["size"]) == (None, [], 48)


def test_what_the_network_settled(tiny, random_vgg16, tmp_path):
    """Stages in pixels, whether pixel values went in as they are, what the penalties were multiplied by."""
    settings = {"stages": [{"scale": 0.1, "share": 0.5}, {"scale": 1}]}
    picture = fs.visualize(tiny, "block3_conv1:7", recipe="blog", settings=settings, **QUICK)
    done = saved(picture, tmp_path)["carried_out"]
    least = tiny.smallest_size("block3_conv1")
    assert least > 0.1 * 32
    assert done["stages"] == [
        {"height": least, "width": least, "steps": 1},
        {"height": 32, "width": 32, "steps": 2},
    ]
    assert done["feed"] == "network"
    assert 0 < done["penalty_scale"] < 1  # weights for 0 to 255, gradients for 0 to 1
    picture = fs.visualize(random_vgg16, "block2_conv1:7", recipe="blog", **QUICK)
    done = saved(picture, tmp_path)["carried_out"]
    assert done == {
        "stages": [{"height": 32, "width": 32, "steps": 3}], "feed": "raw", "penalty_scale": 1.0,
    }  # fmt: skip
    assert saved(fs.visualize(tiny, "block2_conv1:7", **QUICK), tmp_path)["carried_out"]["penalty_scale"] == 1


def test_each_picture_its_own_penalty_scale(tiny):
    """Drawn among others as alone."""
    goals = tiny.targets("block2_conv1:3,7")
    recipe = get_recipe("blog", steps=2, size=16)
    both = [p.carried_out.penalty_scale for p in draw(tiny, goals, recipe, run=Run(precision="float32"))]
    alone = [
        next(draw(tiny, [goal], recipe, run=Run(precision="float32"))).carried_out.penalty_scale
        for goal in goals
    ]
    assert both == pytest.approx(alone, rel=1e-4)
    assert both[0] != both[1]


def test_every_field_is_in_the_record(tiny, tmp_path):
    """What a PNG carries is what is checked: nothing is written that no reader knows."""
    told = saved(fs.visualize(tiny, "predictions:goldfish", judge=tiny, **QUICK), tmp_path)
    sometimes = {"photographs", "networks", "terms", "concepts", "parameters"}
    assert set(told) - {"format"} == set(PictureRecord.model_fields) - sometimes
    record = read_record(told, "it")
    assert json.loads(record.recipe.model_dump_json()) == told["recipe"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2**70}, "seed must be less than"),
        ({"seed": -1}, "seed must be greater than or equal to 0"),
        ({"seed": True}, "seed must be a valid integer"),
        ({"seed": "3"}, "seed must be a valid integer"),
        ({"facet": 7}, "facet 7 of a recipe with 3, which are numbered from 0"),
        ({"facet": 99}, "facet must be less than 16"),
        ({"attempt": 3}, "attempt must be less than or equal to 2"),
        ({"batch": 0}, "batch must be greater than or equal to 1"),
        ({"batch": 10**9}, "batch must be less than or equal to 4096"),
        ({"target": 3}, "target must be a valid string"),
        ({"network": ""}, "network"),
        ({"network": ["a"]}, "network must be a valid string"),
        ({"scores": [1]}, "scores must be a valid dictionary"),
        ({"curve": "up"}, "curve must be a valid list"),
        ({"photographs": {"third": {"sha256": "ab"}}}, "photographs"),
        ({"photographs": {"image": {"file": "x.png"}}}, "'photographs.image.sha256' is missing"),
        ({"weights_file": 5}, "weights_file must be a valid string"),
        ({"carried_out": {"stages": []}}, "carried_out"),
        ({"recipe": 5}, "recipe must hold a recipe's settings"),
        ({"device": {}}, "device must be a valid string"),
    ],
)
def test_a_tampered_record(tiny, tmp_path, changes, message):
    """Whatever is not allowed is named, with what was found; nothing is drawn."""
    picture = fs.visualize(tiny, "block2_conv1:7", settings={"facets.count": 3}, **QUICK)[1]
    told = {**saved(picture, tmp_path), **changes}
    with pytest.raises(ImageError, match=f"it: its recipe is incomplete: {message}|it: .*{message}"):
        read_record(told, "it")


def test_a_setting_of_the_recipe_is_named(tiny, tmp_path):
    """A recipe keeps its own words."""
    told = saved(fs.visualize(tiny, "block2_conv1:7", **QUICK), tmp_path)
    told["recipe"]["optimizer"]["lr"] = -1
    with pytest.raises(RecipeError, match=r"setting 'optimizer\.lr' must be greater than 0"):
        read_record(told, "it")
