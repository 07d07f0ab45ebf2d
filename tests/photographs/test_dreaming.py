"""photographs/: pictures that start from a photograph."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import filterscope as fs
from filterscope.drawing.draw import draw
from filterscope.drawing.recording import Recorder
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, FilterscopeError, RecipeError, TargetError
from filterscope.objective import Likeness, WholeLayer
from filterscope.photographs.accentuation import accentuate_goal
from filterscope.photographs.dreaming import dream_goal, dream_recipe, parse_layers
from filterscope.photographs.presets import LAYERS, RECIPES, octaves, photograph_recipe
from filterscope.photographs.zoom import zoom
from filterscope.pictures.picture import Picture
from filterscope.pictures.reading import read_photograph
from filterscope.recipe import Recipe
from filterscope.target import Target

QUICK = {"steps": 4, "octaves": 2, "precision": "float32", "progress": False}
STILL = {"steps": 4, "size": 32, "precision": "float32", "progress": False}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A photograph of 36 x 60 px: soft blobs."""
    rng = np.random.default_rng(5)
    small = Image.fromarray(rng.integers(40, 216, (5, 8, 3), dtype=np.uint8))
    return np.asarray(small.resize((60, 36), Image.Resampling.BICUBIC))


# --- dream ------------------------------------------------------------------------------------------------------


def test_dream(tiny, photo):
    """The photograph's aspect and size, its mean colour, and more of what the layer sees."""
    picture = fs.dream(tiny, photo, layers="block3_conv1", **QUICK)
    assert picture.image.shape == photo.shape
    assert picture.scores.activation > 1.2 * picture.scores.start
    assert picture.status == "ok"
    assert str(picture.target) == "layer(block3_conv1)"
    drift = picture.image.mean((0, 1)) - photo.mean((0, 1))
    assert np.abs(drift).max() < 1
    assert 1 < np.abs(picture.image.astype(int) - photo).mean() < 30  # changed, and still the photograph


def test_usual_layers(tiny, photo):
    """Each preset dreams of its own layers; a network without them is told which it might name."""
    for name, layers in LAYERS.items():
        assert dream_goal(tiny, recipe=name).layers == tuple(layers)
    assert {n: w for w, t in dream_goal(tiny, recipe="bad-trip").terms for n in t.layers} == {
        "block4_conv1": 0.05,
        "block4_conv2": 0.01,
        "block4_conv3": 0.01,
    }


def test_layers_must_be_named(small, photo):
    """A network without VGG16's layers says so, and names layers that it has."""
    with pytest.raises(
        ArgumentError, match=r"small has not the layers that 'dream' dreams of .* layers='conv2'"
    ):
        fs.dream(small, photo, **QUICK)


def test_strength_and_octaves(tiny, photo):
    """Twice the strength changes more; octaves are sizes 1.4 apart, the last the whole."""
    weak, strong = (fs.dream(tiny, photo, layers="block2_conv1", strength=s, **QUICK).image for s in (0.5, 3))
    away = [np.abs(p.astype(int) - photo).mean() for p in (weak, strong)]
    assert away[1] > 2 * away[0]
    assert [round(s.scale, 4) for s in octaves(3)] == [0.5102, 0.7143, 1.0]
    assert dream_recipe("dream", octaves=3, strength=2, steps=9).optimizer.lr == 2


def test_size(tiny, photo):
    """`size` is the longer side; the other follows."""
    assert fs.dream(tiny, photo, layers="block1_conv1", size=40, **QUICK).image.shape == (24, 40, 3)
    tall = photo.transpose(1, 0, 2)
    assert fs.dream(tiny, tall, layers="block1_conv1", size=90, **QUICK).image.shape == (90, 54, 3)


def test_class_and_guide(tiny, photo):
    """A class grows more probable; a guided dream is another than the plain one."""
    picture = fs.dream(tiny, photo, target="predictions:goldfish", **{**QUICK, "steps": 12})
    assert picture.scores.activation > picture.scores.start
    assert picture.class_name == "goldfish"
    assert picture.scores.probability > 0.2
    guide = photo[::-1, :30]
    guided = fs.dream(tiny, photo, layers="block3_conv1", guide=guide, **QUICK)
    assert str(guided.target) == "guide(block3_conv1)"
    assert guided.scores.activation > guided.scores.start
    assert set(guided.photographs) == {"image", "guide"}


def test_same_seed_same_picture(tiny, photo):
    """The seed alone decides."""
    first, again, other = (
        fs.dream(tiny, photo, layers="block2_conv1", seed=s, **QUICK).image for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_size_network(small_keras, photo):
    """A class that takes one size alone looks at a larger photograph through windows of that size."""
    picture = fs.dream(small_keras, photo, target="predictions:2", settings={"transforms": []}, **QUICK)
    assert picture.image.shape == photo.shape
    assert picture.recipe.tile == 16
    alone = fs.dream(
        small_keras, photo[:16, :16], target="predictions:2", settings={"transforms": []}, **QUICK
    )
    assert alone.scores.activation > alone.scores.start
    small = fs.dream(small_keras, photo[:8, :12], target="predictions:2", **QUICK)  # enlarged until it fits
    assert small.image.shape == (16, 24, 3)


def test_grey_network(keras_with_weights, photo):
    """A network of one channel dreams in grey."""
    from keras import Input, Sequential, layers

    model = keras_with_weights(
        Sequential([Input((16, 16, 1)), layers.Conv2D(4, 3, activation="relu", name="conv1")], name="grey")
    )
    assert fs.dream(model, photo, layers="conv1", **QUICK).image.shape == (36, 60, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": "block9"}, TargetError, "has no layer 'block9'"),
        ({"layers": "block1_conv1=much"}, ArgumentError, "a layer's weight is a number"),
        ({"layers": "block1_conv1,block1_conv1"}, ArgumentError, "named twice"),
        ({"layers": "block1_conv1=0"}, ArgumentError, "other than 0"),
        ({"layers": ""}, ArgumentError, "layers are LAYER=WEIGHT"),
        ({"layers": {}}, ArgumentError, "needs a layer"),
        ({"layers": "block1_conv1", "target": "predictions:0"}, ArgumentError, "give one of them"),
        (
            {"target": "predictions:0", "guide": np.zeros((8, 8, 3), np.uint8)},
            ArgumentError,
            "give one of them",
        ),
        ({"target": "predictions:0-3"}, TargetError, "one target at a time"),
        ({"recipe": "dremy"}, RecipeError, "did you mean 'dreamy'"),
        ({"octaves": 0}, ArgumentError, "1 octave or more"),
        ({"size": 8, "layers": "block5_conv3"}, ArgumentError, "the smallest size that works is 16 px"),
        (
            {"settings": {"image": "phase"}, "layers": "block1_conv1"},
            RecipeError,
            "cannot start from a photograph",
        ),
    ],
)
def test_refused(tiny, photo, arguments, error, message):
    """What cannot be dreamt is refused with what was received."""
    with pytest.raises(error, match=message):
        fs.dream(tiny, photo, **{**QUICK, **arguments})


def test_parse_layers():
    """Text, lists and mappings say the same."""
    wanted = {"a": 0.5, "b": 1.0}
    assert parse_layers("a=0.5, b") == parse_layers(["a=.5", "b"]) == parse_layers(wanted) == wanted


# --- invert, caricature, accentuate -----------------------------------------------------------------------------


def test_invert(tiny, photo):
    """The error falls with every stage; a shallow layer gives the photograph back."""
    picture = fs.invert(tiny, photo, "block1_conv1", steps=80, size=60, precision="float32", progress=False)
    assert picture.image.shape == photo.shape
    curve = np.array(picture.curve)
    quarters = [curve[end - 3 : end].mean() for end in (3, 40, 80)]
    assert quarters == sorted(quarters)
    assert picture.scores.activation > -0.1
    assert np.corrcoef(picture.image.ravel(), photo.ravel())[0, 1] > 0.9


def test_several_layers(tiny, photo):
    """Several layers are a sheet, in order."""
    sheet = fs.invert(tiny, photo, ["block1_conv1", "block2_conv1"], **STILL)
    assert [str(p.target) for p in sheet] == ["match(block1_conv1)", "match(block2_conv1)"]
    assert sheet.to_pil().width > 300


def test_caricature(tiny, photo):
    """Of a caricature the layer says what it says of the photograph, and louder than noise does."""
    picture = fs.caricature(tiny, photo, "block2_conv1", **{**STILL, "steps": 60})
    assert picture.curve[-1] > 1.2 * picture.curve[0]
    assert picture.scores.activation > 0.5


def test_accentuate(tiny, photo):
    """The unit is excited more; keeping more keeps the picture nearer to the photograph."""
    settings = {**STILL, "steps": 20, "size": 60}
    free, kept = (fs.accentuate(tiny, photo, "block3_conv1:5", keep=k, **settings) for k in (0, 30))
    assert free.scores.activation > free.scores.start
    away = [np.abs(p.image.astype(int) - photo).mean() for p in (free, kept)]
    assert away[1] < 0.8 * away[0]


def test_accentuate_goal(tiny, photo):
    """The unit counts in units of its best natural image; an earlier layer is kept."""
    goal = accentuate_goal(tiny, Target("predictions", 3), read_photograph(photo), keep=2)
    (weight, unit), (keep, near) = goal.terms
    assert (unit, keep, near.how) == (Target("predictions", 3), 2, "match")
    assert tiny.layer(near.layer).spatial
    assert 0.01 < weight < 1
    with pytest.raises(TargetError, match="takes one unit"):
        accentuate_goal(tiny, WholeLayer("block1_conv1"), read_photograph(photo))
    with pytest.raises(TargetError, match="no earlier layer"):
        accentuate_goal(tiny, Target("block1_conv1", 3), read_photograph(photo))


def drawn(net, goal, recipe, photographs, **how) -> Picture:
    """The picture of one goal from photographs."""
    run = Run(precision="float32")
    return next(draw(net, [goal], recipe, run, photographs=photographs, **how))


def test_missing_photograph(tiny, photo):
    """An objective that looks at a guide needs one."""
    with pytest.raises(TargetError, match="the guide"):
        drawn(tiny, Likeness("guide", "block1_conv1"), RECIPES["dream"], {"image": read_photograph(photo)})


def test_large_pictures(tiny):
    """Sides beyond what a recipe can say are refused."""
    wide = read_photograph(np.zeros((4, 9000, 3), np.uint8))
    with pytest.raises(ArgumentError, match="at most 8192 px a side"):
        drawn(tiny, WholeLayer("block1_conv1"), RECIPES["dream"], {"image": wide})


def test_recipes():
    """Every recipe reads back from its JSON; the others start from the photograph when named."""
    for recipe in RECIPES.values():
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert photograph_recipe("sharp").start == "photograph"


# --- while it runs ----------------------------------------------------------------------------------------------


def test_recorder(tiny, photo, tmp_path):
    """As many frames as asked for: the photograph first, the finished picture last."""
    recipe = dream_recipe("dream", steps=10, octaves=2)
    source = read_photograph(photo)
    recorder = Recorder(5, first=source.image)
    picture = drawn(
        tiny,
        WholeLayer("block2_conv1"),
        recipe,
        {"image": source},
        on_step=recorder,
    )
    path = recorder.save(0, tmp_path / "a.webp", finished=picture.to_pil(), curve=False, fps=8)
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (5, (60, 36))
        assert np.abs(np.asarray(film.convert("RGB")).astype(int) - photo).mean() < 4
        film.seek(4)
        assert np.abs(np.asarray(film.convert("RGB")).astype(int) - picture.image).mean() < 6
    assert recorder.curves[0] == pytest.approx(picture.curve)


def test_recorder_of_batches(tiny):
    """Pictures that are drawn in batches each have their own frames and curve."""
    from filterscope.drawing.draw import draw
    from filterscope.drawing.run import Given
    from filterscope.recipe import get_recipe

    recipe = get_recipe("sharp", steps=6, size=16)
    recorder = Recorder(3)
    pictures = list(
        draw(tiny, tiny.targets("block2_conv1:0-4"), recipe, given=Given(batch=2), on_step=recorder)
    )
    assert sorted(recorder.frames) == list(range(5))
    assert all(len(frames) == 2 for frames in recorder.frames.values())
    for number, picture in enumerate(pictures):
        assert recorder.curves[number] == pytest.approx(picture.curve)


def test_zoom(tiny, photo):
    """Each frame steps into the one before and dreams on; all have one size."""
    recipe = dream_recipe("dream", steps=4, octaves=1)
    source = {"image": read_photograph(photo)}
    first = drawn(tiny, WholeLayer("block2_conv1"), recipe, source)
    frames = list(zoom(tiny, first.target, recipe, source, first, frames=3, run=Run(precision="float32")))
    assert [f.size for f in frames] == [(60, 36)] * 3
    arrays = [np.asarray(f).astype(int) for f in frames]
    assert np.array_equal(arrays[0], first.image)
    assert all(np.abs(a - b).mean() > 1 for a, b in pairwise(arrays))


def test_rerun(tiny, photo, tmp_path):
    """A dream is drawn again, identical, from its PNG and the photograph; without that it says where to look."""
    from filterscope.rerun import draw_again, remember_photograph

    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "blobs.png")
    picture = fs.dream(tiny, folder / "blobs.png", layers="block2_conv1=2,block3_conv1", **QUICK)
    path = picture.save(tmp_path / "out" / "dream.png")
    assert str(tmp_path).encode() not in path.read_bytes()  # its folder is nobody's business
    with pytest.raises(fs.ImageError, match=r"'blobs.png' \(sha256 .*image=FILE"):
        draw_again(path)
    again = draw_again(path, image=folder / "blobs.png")
    assert (again.largest_difference, again.same_photographs) == (0, True)
    remember_photograph(read_photograph(folder / "blobs.png"))
    assert draw_again(path).describe() == f"{picture.target}: identical"
    Image.fromarray(photo[::-1]).save(folder / "other.png")
    other = draw_again(path, image=folder / "other.png")
    assert other.describe().endswith("(drawn from another photograph than the file's)")
    assert not other.summary()["same_photographs"]
    plain = fs.visualize(tiny, "block1_conv1:3", steps=1, size=16, progress=False).save(
        tmp_path / "plain.png"
    )
    with pytest.raises(fs.ImageError, match="was drawn without a photograph: leave out image="):
        draw_again(plain, image=folder / "blobs.png")


def test_rerun_of_the_others(tiny, photo, tmp_path):
    """Inversions and accentuations come out identical too, and guided dreams find their guide."""
    from filterscope.rerun import draw_again

    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(photo[::-1, :20]).save(tmp_path / "b.png")
    source = tmp_path / "a.png"
    pictures: list[Picture] = [
        fs.invert(tiny, source, "block1_conv2", **STILL),
        fs.accentuate(tiny, source, "block3_conv1:5", **STILL),
        fs.dream(tiny, source, layers="block2_conv1", guide=tmp_path / "b.png", **QUICK),
    ]
    for number, picture in enumerate(pictures):
        assert draw_again(picture.save(tmp_path / f"{number}-drawn.png")).largest_difference == 0


def test_damaged_photographs(tiny, photo, tmp_path):
    """A PNG whose photographs are no such thing is refused."""
    import json

    from filterscope.pictures.png import encode_png
    from filterscope.rerun import draw_again

    picture = fs.dream(tiny, photo, layers="block2_conv1", **QUICK)
    for damage in ([], {"image": 3}, {"image": {}}):
        told = {**json.loads(json.dumps(picture.metadata())), "photographs": damage}
        (tmp_path / "x.png").write_bytes(encode_png(picture.to_pil(), told))
        with pytest.raises(FilterscopeError):
            draw_again(tmp_path / "x.png")


@pytest.mark.parametrize(
    "call",
    [
        lambda net, photo: fs.dream(net, photo, layers="block2_conv1", recipe=None, **QUICK),
        lambda net, photo: fs.dream(net, photo, layers=5, **QUICK),
        lambda net, photo: fs.dream(net, photo, layers="block2_conv1", **{**QUICK, "octaves": "a"}),
        lambda net, photo: fs.dream(net, photo, layers="block2_conv1", settings=5, **QUICK),
        lambda net, photo: fs.dream(net, 5, layers="block2_conv1", **QUICK),
        lambda net, photo: fs.dream(net, photo, layers="block2_conv1", guide=[1], **QUICK),
        lambda net, photo: fs.invert(net, photo, None, **STILL),
        lambda net, photo: fs.accentuate(net, photo, "block2_conv1:1", keep="a", **STILL),
    ],
)
def test_odd_arguments(tiny, photo, call):
    """Arguments of another kind are refused in words."""
    with pytest.raises(FilterscopeError, match=r"got|not a"):
        call(tiny, photo)
