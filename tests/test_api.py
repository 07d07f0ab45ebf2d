"""api.py: pictures and sheets from targets, the same for the same seed, alone or together; failures told first."""

import typing

import keras
import numpy as np
import pytest
import torch
from keras import layers
from PIL import Image

import filterscope as fs
from filterscope import notices
from filterscope.drawing import attempts
from filterscope.drawing.attempts import Attempt
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given, Run
from filterscope.errors import ArgumentError, NetworkError, RecipeError, TargetError
from filterscope.objective import Direction
from filterscope.pictures.picture import Scores
from filterscope.recipe import PRESETS, get_recipe
from filterscope.recipe.recipe import RESTARTS
from filterscope.rerun import draw_again
from filterscope.target import Target

QUICK = {"steps": 2, "size": 32, "precision": "float32", "progress": False}


def test_one_unit_is_a_picture(tiny):
    """A Picture with everything that was asked for inside."""
    picture = fs.visualize(tiny, "block2_conv1:7", recipe="blog", seed=3, **QUICK)
    assert isinstance(picture, fs.Picture)
    assert picture.image.shape == (32, 32, 3)
    assert picture.image.dtype == np.uint8
    assert picture.target == Target("block2_conv1", 7)
    assert (picture.recipe.name, picture.recipe.steps, picture.recipe.size) == ("tv", 2, 32)
    assert (picture.network, picture.seed, picture.batch) == ("tiny-vgg16", 3, 1)
    assert (picture.precision, picture.device) == ("float32", "cpu")
    assert picture.weights_sha256 == tiny.weights.sha256
    assert picture.weights_file == "tiny-vgg16.safetensors"
    assert len(picture.curve) == 2
    assert picture.class_name is None
    assert picture.seconds > 0


def test_a_layer_is_a_sheet_of_sixteen(tiny):
    """A bare layer means 16 units chosen by the seed, without repeats."""
    sheet = fs.visualize(tiny, "block1_conv2", seed=1, **{**QUICK, "steps": 1, "size": 8})
    assert isinstance(sheet, fs.Sheet)
    units = [p.target.unit for p in sheet]
    assert len(set(units)) == 16
    other = tiny.targets("block1_conv2", seed=2)
    assert units == [t.unit for t in tiny.targets("block1_conv2", seed=1)] != [t.unit for t in other]


def test_several_texts(tiny):
    """Several texts, across layers and back, in order and without repeats."""
    texts = ["block1_conv1:3", "predictions:goldfish,5", "block1_conv1:1-3", "block1_pool:0@1,2"]
    sheet = fs.visualize(tiny, texts, **{**QUICK, "steps": 1})
    assert [str(p.target) for p in sheet] == [
        "block1_conv1:3", "predictions:0", "predictions:5", "block1_conv1:1", "block1_conv1:2", "block1_pool:0@1,2",
    ]  # fmt: skip
    assert sheet[1].class_name == "goldfish"
    assert sheet[1].label.startswith("goldfish")
    assert sheet[1].scores.probability is not None


@pytest.mark.parametrize("name", PRESETS)
def test_drawn_alone_and_together(tiny, name):
    """In float32 a picture alone and in a batch differ by at most 2 of 255 levels on average."""
    settings = {**QUICK, "steps": 6}
    if name == "maco":  # 32 views a step
        settings |= {"steps": 3, "settings": {"transforms.crop.count": 2}}
    together = fs.visualize(tiny, "block3_conv1:0-15", recipe=name, **settings)
    for i in (0, 7, 15):
        alone = fs.visualize(tiny, f"block3_conv1:{i}", recipe=name, **settings)
        assert np.abs(alone.image.astype(int) - together[i].image).mean() <= 2
        assert alone.scores.activation == pytest.approx(together[i].scores.activation, rel=0.05, abs=0.01)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["sharp", "blog"])
def test_same_seed_same_bytes(tiny, tmp_path, name, precision):
    """Twice the same command writes the same bytes; another seed others."""
    first, again, other = (
        fs.visualize(tiny, "block2_conv2:5", recipe=name, seed=seed, **{**QUICK, "precision": precision})
        .save(tmp_path / f"{i}.png")
        .read_bytes()
        for i, seed in enumerate([4, 4, 5])
    )
    assert first == again != other


def test_another_opening_same_bytes(tmp_path):
    """A network opened anew draws the same bytes."""
    pictures = [
        fs.visualize("tiny-vgg16", "block2_conv1:5", **QUICK).save(tmp_path / f"{i}.png") for i in range(2)
    ]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_visualize_filter(tiny):
    """The post's function: the same picture as by target."""
    one = fs.visualize_filter(tiny, "block2_conv1", 5, recipe="blog", **QUICK)
    assert np.array_equal(one.image, fs.visualize(tiny, "block2_conv1:5", recipe="blog", **QUICK).image)
    assert fs.visualize_filter(tiny, "predictions", "goldfish", **QUICK).target == Target("predictions", 0)


@pytest.mark.parametrize("unit", ["1,2", "0-3", "*"])
def test_visualize_filter_draws_one(tiny, unit):
    """Several units are refused by the post's function, with the one that draws them."""
    with pytest.raises(
        TargetError, match=f"visualize_filter draws one unit .got '{unit[0]}".replace("*", r"\*")
    ):
        fs.visualize_filter(tiny, "block1_conv1", unit, **{**QUICK, "steps": 1, "size": 4})


@pytest.mark.parametrize(
    ("target", "settings", "error", "message"),
    [
        ("block3_conv9:3", {}, TargetError, "did you mean"),
        ("block3_conv1:128", {}, TargetError, "units 0 to 127"),
        ("block3_conv1:-1", {}, TargetError, "counted from 0"),
        ("predictions:goldfsh", {}, TargetError, "did you mean 'goldfish'"),
        ([], {}, TargetError, "no target"),
        ("block3_conv1:3@8,0", {}, TargetError, "rows 0 to 7 and columns 0 to 7 at 32 px .got 8,0."),
        ("block3_conv1:3", {"recipe": "bloog"}, RecipeError, "did you mean 'blog'"),
        ("block3_conv1:3", {"steps": 0}, RecipeError, "'steps' must be greater than or equal to 1"),
        ("block3_conv1:3", {"steps": -1}, RecipeError, "'steps'"),
        ("block3_conv1:3", {"size": 0}, RecipeError, "'size'"),
        (
            "block3_conv1:3",
            {"size": 2},
            ArgumentError,
            "2 px is too small for block3_conv1: the smallest .* is 4 px",
        ),
        (
            ["block1_conv1:3", "block5_conv3:3"],
            {"size": 15},
            ArgumentError,
            "too small for block5_conv3: .* is 16 px",
        ),
        ("block3_conv1:3", {"settings": {"optimizer.lrr": 1}}, RecipeError, "did you mean 'optimizer.lr'"),
        (
            "block3_conv1:3",
            {"precision": "float64"},
            ArgumentError,
            "precision must be one of auto, float32, bfloat16",
        ),
        ("block3_conv1:3", {"device": "tpu"}, ArgumentError, "device 'tpu' is not to be had"),
        ("block3_conv1:3", {"device": None}, ArgumentError, "one of auto, cpu, cuda, mps .got None"),
        (
            None,
            {},
            TargetError,
            "a target is a text, an Objective or several of these .got None.; write LAYER:UNIT",
        ),
        (5, {}, TargetError, "a target is a text, .* .got 5."),
        ([None], {}, TargetError, "a target is a text, .* .got .None.."),
        (b"block3_conv1:3", {}, TargetError, "a target is a text, .* .got b'block3_conv1:3'."),
        (
            "block3_conv1:3",
            {"recipe": 3},
            RecipeError,
            "a preset's name or a Recipe .got 3; known: naive",
        ),
        ("block3_conv1:3", {"settings": 5}, RecipeError, "a mapping of dotted keys, .* .got 5."),
        ("block3_conv1:3", {"settings": {5: 1}}, RecipeError, "a mapping of dotted keys, .* .got .5: 1.."),
        ("block3_conv1:3", {"size": "a"}, RecipeError, "'size' must be a valid integer"),
        (
            "block3_conv1:3",
            {"seed": "a"},
            ArgumentError,
            "a seed is a whole number from 0 and below 2.62 .got 'a'.",
        ),
        ("block3_conv1:3", {"seed": -1}, ArgumentError, "a seed is a whole number from 0 .* .got -1."),
        ("block3_conv1:3", {"seed": None}, ArgumentError, "a seed is a whole number"),
        ("block3_conv1:3", {"seed": 1.5}, ArgumentError, "a seed is a whole number"),
        ("block3_conv1:3", {"seed": 2**70}, ArgumentError, "a seed is a whole number"),
    ],
)
def test_refused_before_any_work(tiny, monkeypatch, target, settings, error, message):
    """Whatever cannot be drawn as asked is refused before the first step."""
    monkeypatch.setattr(attempts, "ascend", lambda *a, **kw: pytest.fail("the ascent began"))
    with pytest.raises(error, match=message):
        fs.visualize(tiny, target, **{**QUICK, **settings})


def test_unknown_network():
    """A network is opened by name inside visualize."""
    with pytest.raises(NetworkError, match="did you mean 'tiny-vgg16'"):
        fs.visualize("tiny-vgg61", "block1_conv1:3")


def test_unknown_optimizer(tiny):
    """An optimiser is known only to torch: still refused by name."""
    with pytest.raises(RecipeError, match="did you mean 'Adam'"):
        fs.visualize(tiny, "block1_conv1:3", settings={"optimizer.name": "Adm"}, **QUICK)


@pytest.mark.parametrize(
    ("target", "size", "side"),
    [("block1_conv1:3", None, 128), ("block1_conv1:3", 40, 40), ("predictions:3", None, 64)],
)
def test_size_of_any_size_network(tiny, target, size, side):
    """The recipe's usual size, which is the network's own for a class, or the one asked for."""
    picture = fs.visualize(tiny, target, **{**QUICK, "steps": 1, "size": size})
    assert picture.image.shape == (side, side, 3)
    assert picture.recipe.size == side


def test_size_of_a_network_of_small_pictures():
    """What was made for digits is drawn at their size, not at the recipe's usual one."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    for size, side in ((8, 8), (32, 32), (64, 128)):
        picture = fs.visualize(
            fs.open_network(module, size=size), "3:1", recipe="sharp", **{**QUICK, "steps": 1, "size": None}
        )
        assert picture.image.shape == (side, side, 1)


def test_size_behind_a_flatten(small, caplog):
    """A layer that takes one size alone gets it; where another was asked for, one line says so."""
    notices.forget()
    assert fs.visualize(small, "predictions:3", **{**QUICK, "size": None}).image.shape == (16, 16, 3)
    with caplog.at_level("WARNING", logger="filterscope"):
        for _ in range(2):
            assert fs.visualize(small, "predictions:3", **{**QUICK, "size": 24}).image.shape == (16, 16, 3)
    said = [line for line in caplog.messages if "runs at 16 x 16 px only" in line]
    assert len(said) == 1
    assert "not at 24" in said[0]


def test_the_callers_model_is_untouched(small_keras):
    """Drawing a class, softmax replaced by the linear output, changes nothing of the model passed in."""
    config, weights = small_keras.get_config(), [w.copy() for w in small_keras.get_weights()]
    x = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    before = keras.ops.convert_to_numpy(small_keras(x))
    fs.visualize(small_keras, "predictions:0-4", recipe="linear", **{**QUICK, "size": None})
    assert small_keras.get_config() == config
    assert all(np.array_equal(a, b) for a, b in zip(small_keras.get_weights(), weights, strict=True))
    assert np.array_equal(keras.ops.convert_to_numpy(small_keras(x)), before)
    assert np.allclose(before.sum(1), 1, atol=1e-5)


def test_classes_of_one_sheet_do_not_mix(small):
    """`linear` on a layer with softmax inside: each class climbs by itself, drawn alone or with all others."""
    settings = {**QUICK, "size": None, "steps": 5, "recipe": "linear"}
    together = fs.visualize(small, "predictions:*", **settings)
    for i, picture in enumerate(together):
        assert picture.curve[-1] > picture.curve[0]
        assert (
            np.abs(
                fs.visualize(small, f"predictions:{i}", **settings).image.astype(int) - picture.image
            ).mean()
            <= 2
        )


def mostly_dead():
    """Unit 0 lives; unit 1 answers to nothing; unit 2 answers to green pictures alone, never to the noise."""
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(3, 1, activation="relu", name="conv")])
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[..., 0] = 1
    kernel[0, 0, :, 2] = [-1, 2, -1]
    model.set_weights([kernel, np.array([0, -1, -60], np.float32)])
    return fs.open_network(model)


def test_dead_units_are_told():
    """A unit that nothing excites is `dead` by name; one that is dead on the noise alone comes to life."""
    lives, dead, woken = fs.visualize(mostly_dead(), "conv:*", recipe="sharp", **{**QUICK, "steps": 40})
    assert (lives.status, dead.status, woken.status) == ("ok", "dead", "ok")
    assert dead.label == "filter: 1 (dead)"
    assert dead.scores.activation == 0
    assert not any(dead.curve)
    assert dead.attempt == len(RESTARTS)
    assert woken.curve[0] == 0 < woken.curve[-1]
    assert woken.attempt == 0


def test_what_fails_is_tried_again(tiny, tmp_path, trapped):
    """A picture that ends below the best natural image is drawn from other noise, more slowly; the blog's is not."""
    settings = {**QUICK, "size": 32, "steps": 40}
    again, first = fs.visualize(tiny, ["block2_conv1:3", "block2_conv1:4"], recipe="sharp", **settings)
    assert (again.status, again.attempt, again.batch) == ("ok", 1, 1)
    assert (first.attempt, first.batch) == (0, 2)
    assert [rate for _, rate in trapped] == [0.1, 0.1 / RESTARTS[0]]
    assert draw_again(again.save(tmp_path / "again.png")).largest_difference == 0
    blog = fs.visualize(tiny, "block2_conv1:3", recipe="blog", **{**settings, "steps": 2})
    assert (blog.status, blog.attempt) == ("no-gain", 0)


def test_a_picture_of_another_class_is_tried_again():
    """A class's picture that is of another class fails, however much it excites its own; the one rightly named wins."""
    image, curve = np.zeros((2, 2, 3), np.uint8), [1.0]
    wrong = Attempt(image, curve, Scores(30.0, 2.0, 0.4, 0.0, top_unit=False), "ok", 0, 8)
    right = Attempt(image, curve, Scores(20.0, 1.5, 0.9, 0.0, top_unit=True), "ok", 1, 1)
    assert wrong.failed(get_recipe("sharp"))
    assert not wrong.failed(get_recipe("blog"))
    assert not wrong.failed(get_recipe("sharp", steps=8))
    assert not right.failed(get_recipe("sharp"))
    assert right.is_kept_over(wrong)
    assert not wrong.is_kept_over(right)


def test_restarts_are_told():
    """Steps of restarts are told apart from the others, and added to no total."""
    steps, net = [], mostly_dead()
    recipe = get_recipe("sharp", steps=3, size=16)
    list(draw(net, net.targets("conv:*"), recipe, on_step=steps.append))
    first, again = [(0, 1, 3), (0, 2, 6), (0, 3, 9)], [(a, step, 9) for a in (1, 2) for step in (1, 2, 3)]
    assert [(s.attempt, s.step, s.done) for s in steps] == [*first, *again]


def test_a_dead_unit_does_not_change_its_neighbours():
    """A unit drawn beside a dead one is the unit drawn alone."""
    net = mostly_dead()
    settings = {**QUICK, "steps": 5, "recipe": "linear"}
    assert np.array_equal(
        fs.visualize(net, "conv:*", **settings)[0].image, fs.visualize(net, "conv:0", **settings).image
    )


def test_scores_are_of_the_file(tiny, tmp_path):
    """The activation told is that of the saved 8-bit picture through the network's own preprocessing."""
    import torch

    picture = fs.visualize(tiny, "block2_conv2:9", recipe="blog", **{**QUICK, "steps": 5})
    with Image.open(picture.save(tmp_path / "x.png")) as image:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    value = tiny.part("block2_conv2")(tiny.input.preprocess(pixels)).output[0, 9].mean().item()
    assert picture.scores.activation == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("recipe", ["sharp", "natural", "distill", "maco"])
def test_a_neurons_picture_holds_still(tiny, tmp_path, recipe):
    """A neuron stands at one place: what moves the picture is left out, and it excites its neuron."""
    targets = ["block1_conv1:3@60,60", "block3_conv1:5@6,7", "0.5 * block3_conv1:5@6,7 + layer(block1_conv1)"]
    settings = {"transforms.crop.count": 4} if recipe == "maco" else {}
    chosen = get_recipe(recipe, steps=24, size=96, settings=settings)
    noise = tuple(part for part in chosen.transforms if part.kind == "noise")
    plain = chosen.model_copy(update={"transforms": noise})
    goals = [tiny.objectives(text)[0] for text in targets]
    moving = list(draw(tiny, goals, chosen, run=Run(precision="float32")))
    still = list(draw(tiny, goals, plain, run=Run(precision="float32")))
    for one, other in zip(moving, still, strict=True):
        assert np.array_equal(one.image, other.image)
        assert one.status == "ok"
        assert one.recipe.transforms == noise
    assert draw_again(moving[1].save(tmp_path / "x.png")).largest_difference == 0


def test_a_neuron_beside_its_channel_leaves_it_moving(tiny):
    """Units of one layer, one with a place and one without, are drawn as each is alone."""
    targets = tiny.targets("block2_conv1:4") + tiny.targets("block2_conv1:4@3,3")
    recipe = get_recipe("sharp", steps=3, size=32)
    together = list(draw(tiny, targets, recipe, run=Run(precision="float32")))
    for target, picture in zip(targets, together, strict=True):
        (alone,) = draw(tiny, [target], recipe, run=Run(precision="float32"))
        assert np.array_equal(alone.image, picture.image)


@pytest.mark.parametrize("recipe", ["distill", "maco"])
def test_moved_pictures_behind_a_flatten(small, recipe):
    """Padding is cropped away: a head of fixed size gets pictures of its own size."""
    settings = {"transforms.crop.count": 2} if recipe == "maco" else {}
    picture = fs.visualize(
        small, "predictions:3", recipe=recipe, settings=settings, **{**QUICK, "size": None}
    )
    assert picture.image.shape == (16, 16, 3)


def test_crops_shrink_over_the_steps_of_all_stages(tiny, monkeypatch):
    """Each stage's transforms are told where in the ascent they stand."""
    from filterscope.ascent import loop

    told, real = [], loop.Transforms
    monkeypatch.setattr(
        loop, "Transforms", lambda *a, **kw: told.append((a[2], kw["begun"], kw["total"])) or real(*a, **kw)
    )
    stages = [{"scale": 0.5, "share": 0.4}, {"scale": 1, "share": 0.6}]
    fs.visualize(tiny, "block1_conv1:3", settings={"stages": stages}, **{**QUICK, "steps": 5})
    assert told == [(2, 0, 5), (3, 2, 5)]


def test_what_is_to_be_silent_is_never_dead(monkeypatch):
    """Less of a silent unit and none of any are drawn once and have no gain; a dead direction is dead."""
    net = mostly_dead()
    goals = ["-1 * conv:1", "0 * conv:1", "direction(conv, 1:1)", "direction(conv, 1:-1)"]
    begun = []
    ascend = attempts.ascend
    monkeypatch.setattr(
        attempts,
        "ascend",
        lambda *a, **kw: begun.append((str(a[1][0]), kw["seeds"].attempt)) or ascend(*a, **kw),
    )
    pictures = fs.visualize(net, goals, **{**QUICK, "steps": 34})
    assert [p.status for p in pictures] == ["no-gain", "no-gain", "dead", "no-gain"]
    assert {goal for goal, attempt in begun if attempt} == {"direction(conv, 1:1)"}


def test_a_direction_at_a_place_wakes(tiny):
    """A direction of living units at one place is not called dead for being silent there at the start."""
    for text in ("direction(block3_conv3, 5:1)@6,7", "cosine(block3_conv3, 5:1 6:1)@6,7"):
        picture = fs.visualize(tiny, text, **{**QUICK, "steps": 24, "size": 64})
        assert (picture.status, picture.attempt) == ("ok", 0)


def test_a_misnamed_class_is_tried_again_without_natural_activations(small, monkeypatch):
    """Which class a picture is of is known from the values alone."""
    ascend, numbers = attempts.ascend, []

    def trapped(*args, **settings):
        numbers.append(settings["seeds"].attempt)
        found = ascend(*args, **settings)
        if settings["seeds"].attempt == 0:
            found.pixels[:] = 127.0
        return found

    monkeypatch.setattr(attempts, "ascend", trapped)
    grey = small.part("predictions")(torch.full((1, 3, 16, 16), 127.0)).output.argmax()
    target = f"predictions:{(int(grey) + 1) % 5}"
    picture = fs.visualize(small, target, recipe="sharp", **{**QUICK, "size": None, "steps": 40})
    assert 1 in numbers
    assert picture.attempt > 0
    assert picture.scores.top_unit is not None


@pytest.mark.parametrize("size", [1, 2])
def test_a_picture_of_one_pixel_of_a_natural_spectrum(tiny, size):
    """A picture too small for a cycle is drawn like any other."""
    settings = {"image.spectrum": "natural"}
    picture = fs.visualize(tiny, "block1_conv1:3", settings=settings, **{**QUICK, "size": size})
    assert picture.image.shape == (size, size, 3)


def test_grey_network():
    """A network of one channel gets grey pictures."""
    model = keras.Sequential([keras.Input((16, 16, 1)), layers.Conv2D(3, 3, name="conv")])
    for recipe in ("sharp", "blog"):
        picture = fs.visualize(model, "conv:1", recipe=recipe, **QUICK)
        assert picture.image.shape == (32, 32, 1)
        assert picture.to_pil().mode == "L"


def test_progress_counts_every_step(tiny):
    """Steps of all pictures, ever more, up to the total, with the layer at work."""
    steps = []
    targets = tiny.targets("block1_conv1:0-5") + tiny.targets("block1_conv2:1")
    list(draw(tiny, targets, get_recipe("blog", steps=3, size=8), given=Given(batch=4), on_step=steps.append))
    steps = [s for s in steps if not s.attempt]
    assert [s.done for s in steps] == [4, 8, 12, 14, 16, 18, 19, 20, 21]
    assert {s.total for s in steps} == {21}
    assert [s.target.layer for s in steps] == ["block1_conv1"] * 6 + ["block1_conv2"] * 3
    assert all(np.isfinite(s.activation) for s in steps)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_listener_is_shown_what_was_asked_for(tiny, trapped, precision):
    """Of a picture drawn alone one value and one picture a step, at the first noise and at restarts; the curve's own."""
    steps = []
    recipe = get_recipe("sharp", steps=40, size=16)
    (picture,) = draw(
        tiny, tiny.targets("block2_conv1:3"), recipe, Run(precision=precision), on_step=steps.append
    )
    first, again = [s for s in steps if not s.attempt], [s for s in steps if s.attempt]
    assert [s.done for s in first] == list(range(1, 41))
    assert picture.attempt == 1
    for step in (*first, *again):
        assert step.activations.shape == (1,)
        assert step.images().shape == (1, 3, 16, 16)
    assert [s.activation for s in again] == picture.curve


def test_pictures_come_as_they_are_finished(tiny):
    """The first picture is there before the last is begun."""
    steps = []
    drawing = draw(
        tiny,
        tiny.targets("block1_conv1:0-7"),
        get_recipe("blog", steps=1, size=8),
        given=Given(batch=4),
        on_step=steps.append,
    )
    next(drawing)
    assert steps[-1].done == 4
    drawing.close()


@pytest.mark.parametrize(("recipe", "size"), [("tv", 64), ("sharp", 96)])
def test_a_picture_alone_equals_the_one_in_a_batch(tiny, recipe, size):
    """In float32, at sizes where oneDNN rounds a batch of one otherwise, within 2 of 255 levels on average."""
    chosen = get_recipe(recipe, steps=24, size=size)
    together = list(draw(tiny, tiny.targets("block3_conv1:5,9,20"), chosen, run=Run(precision="float32")))
    (alone,) = draw(tiny, tiny.targets("block3_conv1:5"), chosen, run=Run(precision="float32"))
    assert np.abs(together[0].image.astype(int) - alone.image).mean() <= 2


def test_classes_behind_a_pool_after_a_rectifier_are_the_softmax_input():
    """Conv(relu), GlobalAveragePooling, Softmax: the class's value is what goes into the softmax."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            keras.layers.Conv2D(5, 3, activation="relu", name="conv"),
            keras.layers.GlobalAveragePooling2D(name="gap"),
            keras.layers.Softmax(name="softmax"),
        ]
    )
    from filterscope.networks import open_network

    net = open_network(model)
    pixels = torch.rand(2, 3, 12, 12) * 255
    wanted = keras.Model(model.inputs, model.get_layer("gap").output).predict(
        pixels.permute(0, 2, 3, 1).numpy(), verbose=0
    )
    for layer in ("gap", "softmax"):
        found = net.part(layer, softmax=True)(net.input.preprocess(pixels))
        torch.testing.assert_close(found.output, torch.from_numpy(wanted), rtol=1e-4, atol=1e-3)
        assert found.softmax.shape == (2, 5)


def test_a_damaged_cache_is_no_cache(tiny, own_cache):
    """A cut natural-activations file falls back to the shipped ones."""
    from filterscope.measure.natural import _cached, recall

    place = _cached(tiny, "block1_conv1")
    place.parent.mkdir(parents=True, exist_ok=True)
    for content in (b"", b"PK\x03\x04 cut short"):
        place.write_bytes(content)
        assert recall(tiny, "block1_conv1") is not None


def test_the_weights_hash_is_asked_for_after_they_are_loaded(monkeypatch):
    """Asking earlier would download the hidden layers' file for a class that comes from the other file."""
    from filterscope.networks import open_network

    net = open_network("tiny-vgg16")
    loaded_when_asked = []
    real = type(net.weights).sha256

    def sha256(weights):
        loaded_when_asked.append("block1_conv1" in net.loaded)
        return real.func(weights)  # of a cached property

    monkeypatch.setattr(type(net.weights), "sha256", property(sha256))
    list(draw(net, net.targets("block1_conv1:0"), get_recipe("linear", steps=1, size=16)))
    assert loaded_when_asked
    assert all(loaded_when_asked)


def test_a_direction_out_of_a_dead_unit(tiny):
    """A direction along one channel becomes active behind a dead ReLU as that channel's own picture does."""
    one = fs.visualize(tiny, "direction(block3_conv1, 3:1)", steps=40, size=64, progress=False)
    assert one.status == "ok"
    assert one.scores.activation > 0


@pytest.mark.parametrize("option", ["capturable", "maximize"])
def test_options_that_are_not_for_pictures(tiny, option):
    """Refused by name."""
    with pytest.raises(RecipeError, match=option):
        fs.visualize(
            tiny,
            "block1_conv1:1",
            recipe="distill",
            settings={f"optimizer.options.{option}": True},
            steps=2,
            size=32,
            progress=False,
        )


@pytest.mark.parametrize(
    "goal",
    [
        Target("block1_conv1", -1),
        Target("block1_conv1", 1.5),
        Target("block1_conv1", 1, at=(-1, 0)),
        Direction("block1_conv1", ()),
        Direction("block1_conv1", ((3, 0.0),)),
    ],
)
def test_objectives_that_cannot_be(tiny, goal):
    """Refused before any work."""
    with pytest.raises(TargetError):
        fs.visualize(tiny, goal, steps=2, size=32, progress=False)


@pytest.mark.parametrize("function", [fs.draw, fs.visualize_one, fs.draw_ladder, fs.visualize_sheet])
def test_unknown_option(tiny, function):
    """The nearest name is told."""
    with pytest.raises(ArgumentError, match="no option 'stepz'; did you mean 'steps'"):
        function(tiny, "block1_conv1:3", stepz=3)


def test_one_or_a_sheet(tiny):
    """What type checkers are told is what comes: a Picture of one, a Sheet of any number."""
    assert isinstance(fs.visualize_one(tiny, fs.Target("block1_conv1", 3), **QUICK), fs.Picture)
    assert isinstance(fs.visualize_sheet(tiny, "block1_conv1:3", **QUICK), fs.Sheet)
    with pytest.raises(
        TargetError, match=r"one picture .got block1_conv1:3,5, which is 2.; visualize draws several"
    ):
        fs.visualize_one(tiny, "block1_conv1:3,5", **QUICK)
    assert typing.get_type_hints(fs.visualize_one)["return"] is fs.Picture
    assert typing.get_type_hints(fs.visualize_sheet)["return"] is fs.Sheet


def test_errors_come_at_once(tiny):
    """`draw` gives pictures one by one, but refuses before the first is asked for."""
    with pytest.raises(TargetError, match="block1_conv1 has units 0 to 31"):
        fs.draw(tiny, "block1_conv1:32", **QUICK)
    assert [str(p.target) for p in fs.draw(tiny, ["block1_conv1:3", "block1_conv1:5"], **QUICK)] == [
        "block1_conv1:3",
        "block1_conv1:5",
    ]
