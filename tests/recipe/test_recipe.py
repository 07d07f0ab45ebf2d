"""recipe.py: recipes are data, survive JSON, change by dotted keys; the presets are the blog's numbers."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterscope.cli import main
from filterscope.errors import RecipeError
from filterscope.objective import Direction
from filterscope.photographs.presets import RECIPES as PHOTOGRAPHS
from filterscope.pictures.png import read_metadata
from filterscope.recipe import (
    ALIASES,
    LADDER,
    PRESETS,
    Fourier,
    Jitter,
    LpNorm,
    Noise,
    Optimizer,
    Pad,
    Phase,
    Pixels,
    Recipe,
    Rotate,
    Scale,
    Stage,
    TotalVariation,
    get_recipe,
    parse_settings,
    read_recipe,
    setting_keys,
)
from filterscope.target import Target


@given(st.from_type(Recipe))
def test_recipe_survives_json(recipe):
    """Written as JSON and read back, a recipe is the same, p = inf too."""
    assert read_recipe(recipe.model_dump_json()) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@given(st.from_type(Recipe))
def test_recipe_json_is_strict(recipe):
    """The JSON holds no NaN or Infinity literals, which other readers refuse."""
    json.loads(recipe.model_dump_json(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))


def value_at(data, key: str):
    """The value that a dotted key names; parts by kind, those of a kind that is there twice by kind and number."""
    value = data
    for part in key.split("."):
        if isinstance(value, list):
            kinds = [member.get("kind") if isinstance(member, dict) else None for member in value]
            once = [kind for kind in kinds if kinds.count(kind) == 1]
            numbered = [f"{kind}{kinds[: i + 1].count(kind)}" for i, kind in enumerate(kinds)]
            names = kinds if part in once else numbered
            value = value[names.index(part) if part in names else int(part)]
        else:
            value = value[part]
    return value


EVERY = {**PRESETS, **PHOTOGRAPHS}
SEVERAL = get_recipe("distill").changed(
    {
        "regularizers": [{"kind": "lp_norm"}, {"kind": "natural_spectrum"}, {"kind": "lp_norm", "p": 3}],
        "stages": [{"scale": 0.5}, {"scale": 1}],
    }
)


@pytest.mark.parametrize("recipe", [*EVERY.values(), SEVERAL], ids=[*EVERY, "several"])
def test_parts_go_by_their_kind(recipe):
    """Every kind that is there once is set by its name; those that are there more often by kind and number."""
    data = json.loads(recipe.model_dump_json())
    keys = set(setting_keys(data))
    for field in ("transforms", "regularizers"):
        kinds = [part["kind"] for part in data[field]]
        for i, kind in enumerate(kinds):
            name = kind if kinds.count(kind) == 1 else f"{kind}{kinds[: i + 1].count(kind)}"
            for setting, value in data[field][i].items():
                key = f"{field}.{name}.{setting}"
                assert key in keys
                if setting == "kind":
                    continue
                other = value + 1 if isinstance(value, int) and not isinstance(value, bool) else value * 0.5
                changed = json.loads(recipe.changed({key: other}).model_dump_json())
                assert changed[field][i].pop(setting) == other
                assert changed[field][:i] + changed[field][i + 1 :] == data[field][:i] + data[field][i + 1 :]


@pytest.mark.parametrize("recipe", [*EVERY.values(), SEVERAL], ids=[*EVERY, "several"])
def test_every_key_that_an_error_lists_works(recipe):
    """A wrong key's error names what there is at that place; each of these is a key."""
    data = json.loads(recipe.model_dump_json())
    for wrong in (
        "transforms.unheard.of",
        "regularizers.x",
        "optimizer.rate",
        "image.colour",
        "stages.9.scale",
        "what",
    ):
        with pytest.raises(RecipeError) as caught:
            recipe.changed({wrong: 1})
        known = re.search(r"\(known: (.*)\)$", str(caught.value))[1].split(", ")
        assert known
        for key in known:
            assert recipe.changed({key: value_at(data, key)}) == recipe


def test_pad_of_distill(capsys, tmp_path):
    """From the command line too, and into the PNG."""
    words = [
        "show",
        "tiny-vgg16",
        "block1_conv1:3",
        "--recipe",
        "distill",
        "--steps",
        "2",
        "--size",
        "32",
        "-q",
    ]
    settings = ["--set", "transforms.pad.pixels=4", "--set", "transforms.jitter2.pixels=1"]
    assert main([*words, *settings, "--out", str(tmp_path)]) == 0
    told = read_metadata(tmp_path / "block1_conv1-0003.png")["recipe"]["transforms"]
    assert [part.get("pixels") for part in told] == [4, 4, None, None, 1]


@pytest.mark.parametrize("key", ["transforms.jitter.pixels", "transforms.jitter"])
def test_a_kind_that_is_there_twice(key):
    """Its name alone is not enough: both are named."""
    rest = key.removeprefix("transforms.jitter")
    with pytest.raises(RecipeError) as caught:
        get_recipe("distill").changed({key: 3})
    assert str(caught.value) == (
        f"recipe 'distill' has no setting {key!r}: jitter is there 2 times; name one of them: "
        f"transforms.jitter1{rest}, transforms.jitter2{rest}"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {
            "transforms.jitter1.kind": "rotate",
            "transforms.jitter1.degrees": 3,
            "transforms.jitter2.pixels": 1,
        },
        {"transforms.jitter1": {"kind": "rotate", "degrees": 3}, "transforms.jitter2.pixels": 1},
    ],
)
def test_names_hold_while_kinds_change(settings):
    """One --set does not take a name away that another one uses, in any order."""
    for one in (settings, dict(reversed(settings.items()))):
        parts = get_recipe("distill").changed(one).transforms
        assert [part.kind for part in parts] == ["pad", "rotate", "scale", "rotate", "jitter"]
        assert (parts[1].degrees, parts[4].pixels) == (3, 1)


@pytest.mark.parametrize("name", PRESETS)
def test_changing_nothing_changes_nothing(name):
    """A preset with each of its own settings set again is the same preset."""
    recipe = PRESETS[name]
    data = json.loads(recipe.model_dump_json())
    for key in setting_keys(data):
        assert recipe.changed({key: value_at(data, key)}) == recipe, key


@pytest.mark.parametrize("name", LADDER)
def test_blog_stages(name):
    """The four stages share the blog's start, step, feeding and output."""
    recipe = PRESETS[name]
    assert recipe.image == Pixels(center=128, spread=20)
    assert recipe.feed == "raw"
    assert recipe.gradient == "rms"
    assert recipe.output == "standardize"
    assert recipe.optimizer == Optimizer(name="BlogRMSprop", lr=1, options={"decay": 0.95, "eps": 1e-7})
    assert recipe.transforms == ()
    assert recipe.stages == (Stage(),)
    assert recipe.softmax == ("keep" if name == "naive" else "linear")


def test_blog_penalties():
    """lp adds 10 ||x||_6 / N, tv adds the total variation with beta 2 and weight 10 to it."""
    assert PRESETS["naive"].regularizers == PRESETS["linear"].regularizers == ()
    assert PRESETS["lp"].regularizers == (LpNorm(p=6, weight=10),)
    assert PRESETS["tv"].regularizers == (LpNorm(p=6, weight=10), TotalVariation(beta=2, weight=10))


def test_names():
    """Presets stand under their own names; blog is tv; the default and the ladder exist."""
    assert all(recipe.name == name for name, recipe in PRESETS.items())
    assert get_recipe("blog") == PRESETS["tv"]
    assert all(target in PRESETS and alias not in PRESETS for alias, target in ALIASES.items())
    assert set(LADDER) <= set(PRESETS)


def test_steps_size_and_settings_together():
    """Steps and size are settings like the others."""
    recipe = get_recipe("blog", steps=300, size=96, settings={"optimizer.lr": 0.5})
    assert (recipe.name, recipe.steps, recipe.size, recipe.optimizer.lr) == ("tv", 300, 96, 0.5)
    assert get_recipe(recipe, steps=2).optimizer.lr == 0.5


@pytest.mark.parametrize(
    ("settings", "read", "value"),
    [
        ({"steps": 7}, lambda r: r.steps, 7),
        ({"optimizer.name": "Adam"}, lambda r: r.optimizer.name, "Adam"),
        ({"optimizer.options.decay": 0.9}, lambda r: r.optimizer.options["decay"], 0.9),
        ({"optimizer.options.momentum": 0.9}, lambda r: r.optimizer.options["momentum"], 0.9),
        ({"regularizers.lp_norm.p": "inf"}, lambda r: r.regularizers[0].p, float("inf")),
        ({"regularizers.0.p": 2}, lambda r: r.regularizers[0].p, 2),
        ({"regularizers.1.beta": 1.5}, lambda r: r.regularizers[1].beta, 1.5),
        ({"regularizers": []}, lambda r: r.regularizers, ()),
        ({"transforms": [{"kind": "jitter", "pixels": 3}]}, lambda r: r.transforms, (Jitter(pixels=3),)),
        ({"image": {"kind": "fourier"}}, lambda r: r.image, Fourier()),
        ({"image.spread": 0}, lambda r: r.image.spread, 0),
        ({"stages.0.share": 0.5}, lambda r: r.stages, (Stage(share=0.5),)),
        ({"size": None}, lambda r: r.size, None),
    ],
)
def test_changed(settings, read, value):
    """A dotted key reaches its setting; the recipe it came from is unchanged."""
    before = PRESETS["tv"].model_dump_json()
    assert read(PRESETS["tv"].changed(settings)) == value
    assert PRESETS["tv"].model_dump_json() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stepz": 3}, r"recipe 'tv' has no setting 'stepz'; did you mean 'steps'\? \(known: name, steps"),
        ({"optimizer.learning": 3}, "no setting 'optimizer.learning'"),
        ({"optimiser.lr": 3}, "no setting 'optimiser.lr'; did you mean 'optimizer.lr'"),
        ({"regularizers.lp_nrm.p": 3}, "did you mean 'regularizers.lp_norm.p'"),
        ({"regularizers.2.p": 3}, "no setting 'regularizers.2.p'"),
        ({"regularizers.².p": 3}, "no setting 'regularizers.².p'"),
        ({"steps.more": 3}, "no setting 'steps.more'"),
        ({"": 3}, "no setting ''"),
        ({"steps": 0}, r"setting 'steps' must be greater than or equal to 1 \(got 0\)"),
        ({"steps": -5}, r"'steps'.*\(got -5\)"),
        ({"steps": 1.5}, "'steps'.*integer"),
        ({"steps": "many"}, "'steps'.*got 'many'"),
        ({"size": 0}, r"'size' must be greater than or equal to 1 \(got 0\)"),
        ({"size": -64}, "'size'"),
        ({"size": 10**6}, "'size' must be less than or equal to 8192"),
        ({"optimizer.lr": 0}, "'optimizer.lr' must be greater than 0"),
        ({"optimizer.lr": "nan"}, "'optimizer.lr'"),
        ({"regularizers.lp_norm.p": 0.5}, "p' must be greater than or equal to 1"),
        ({"regularizers.lp_norm.p": float("nan")}, "p' must be"),
        ({"regularizers.lp_norm.weight": "inf"}, "weight' must be a finite number"),
        ({"regularizers.total_variation.beta": 0}, "beta' must be greater than 0"),
        ({"regularizers": [{"kind": "l2"}]}, "'l2'"),
        ({"regularizers": [{"kind": "lp_norm", "q": 1}]}, "q'; did you mean 'p'|q'"),
        ({"feed": "roh"}, "'feed' must be 'network' or 'raw'"),
        ({"stages": []}, "'stages'"),
        (
            {"stages.0.scale": 0.5},
            r"'stages' must end at the full size: the last stage's scale is 1 \(got 0.5\)",
        ),
        ({"stages": [{"scale": 1}, {"scale": 0.5}]}, r"'stages' must end at the full size.*\(got 1, 0.5\)"),
        (
            {"transforms": [{"kind": "jitter", "pixels": 3}, {"kind": "pad", "pixels": 2}]},
            r"'transforms' must have pads first and noise last.*\(got jitter, pad\)",
        ),
        (
            {"transforms": [{"kind": "noise", "sd": 3}, {"kind": "jitter", "pixels": 3}]},
            r"'transforms' must have pads first and noise last.*\(got noise, jitter\)",
        ),
        ({"stages.0.scale": 2}, "scale' must be less than or equal to 1"),
        ({"transforms": [{"kind": "rotate", "degrees": 200}]}, "degrees' must be"),
        ({"image": "oil"}, "'image'"),
    ],
)
def test_wrong_settings(settings, message):
    """An unknown key names the nearest; a value that is not allowed says what is, and what came."""
    with pytest.raises(RecipeError, match=message):
        PRESETS["tv"].changed(settings)


@pytest.mark.parametrize("name", ["bloog", "BLOG!", "blgo"])
def test_unknown_preset_names_the_nearest(name):
    """An unknown preset is refused with the nearest name and all names."""
    with pytest.raises(RecipeError, match=r"did you mean 'blog'.*known: naive, linear, lp, tv, .*blog"):
        get_recipe(name)


@pytest.mark.parametrize(
    ("texts", "settings"),
    [
        ([], {}),
        (["steps=3"], {"steps": 3}),
        (["a.b = 0.1"], {"a.b": 0.1}),
        (["p=inf"], {"p": "inf"}),
        (["name=a=b"], {"name": "a=b"}),
        (["size=null"], {"size": None}),
        (["regularizers=[]", "steps=4"], {"regularizers": [], "steps": 4}),
        (["name="], {"name": ""}),
        (["steps=1", "steps=2"], {"steps": 2}),
    ],
)
def test_parse_settings(texts, settings):
    """KEY=VALUE, the value as JSON where it is JSON."""
    assert parse_settings(texts) == settings


@pytest.mark.parametrize("text", ["steps", "=3", " =3", ""])
def test_settings_that_are_none(text):
    """A setting without a key or a sign is refused with an example."""
    with pytest.raises(RecipeError, match=r"a setting is KEY=VALUE, as in optimizer.lr=0.1"):
        parse_settings([text])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", b"\xff", "{}", '{"name": "x", "steps": []}'])
def test_read_recipe_refuses(text):
    """What is no recipe is refused as a RecipeError, never a traceback."""
    with pytest.raises(RecipeError):
        read_recipe(text)


def test_frozen():
    """A recipe and its parts cannot be changed in place."""
    with pytest.raises(
        RecipeError, match=r"a recipe is never changed in place; .*changed\({'steps': VALUE}\)"
    ):
        PRESETS["tv"].steps = 3
    with pytest.raises(RecipeError, match="LpNorm is never changed in place"):
        PRESETS["tv"].regularizers[0].weight = 0
    with pytest.raises(RecipeError, match="never changed in place"):
        del PRESETS["tv"].steps


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Recipe(steps=0), "needs the setting 'name'; setting 'steps' must be greater.*got 0"),
        (lambda: Recipe("x"), "Recipe takes its settings by name .got 'x'"),
        (lambda: Recipe(name="x", stepz=3), "a recipe has no setting 'stepz'; did you mean 'steps'"),
        (lambda: Recipe(name="x", steps="y" * 1000), r"setting 'steps' .{,300}$"),
        (lambda: Recipe(name="x", image={"kind": "pixls"}), "no kind 'pixls'; did you mean 'pixels'"),
        (lambda: Recipe(name="x", image=Jitter(pixels=1)), "setting 'image'"),
        (lambda: Recipe(name="x", transforms=[{"kind": "pad"}]), "needs the setting 'transforms.0.pixels'"),
        (lambda: Recipe(name="x", transforms=(Noise(sd=1), Pad(pixels=1))), "pads first.*got noise, pad"),
        (lambda: LpNorm(p=0), "setting 'p' must be greater than or equal to 1 .got 0"),
        (lambda: Jitter(), "Jitter needs the setting 'pixels'"),
        (lambda: Pixels(decorrelate=True), "takes decorrelate only where its values are bounded"),
        (lambda: Optimizer(options={"a": "b"}), "'options.a' must be a number, true or false, or a pair"),
        (lambda: Recipe.model_validate(3), "a recipe: must be a valid dictionary"),
        (lambda: Recipe.model_validate({"name": 3}), "setting 'name' must be a valid string"),
        (lambda: Recipe.model_validate_json("{"), "a recipe: Invalid JSON"),
        (lambda: Recipe.model_validate_json('{"name": "x", "steps": 0}'), "setting 'steps' must be"),
    ],
)
def test_construction_refuses_in_words(make, said):
    """A recipe or a part made from Python says what is wrong as one made by settings does."""
    with pytest.raises(RecipeError, match=said):
        make()


@pytest.mark.parametrize("key", ["image", "image.kind"])
def test_another_kind_begins_at_its_own_defaults(key):
    """A parametrization is changed by its name alone, whatever settings the one before had."""
    assert get_recipe("sharp").changed({key: "phase"}).image == Phase()
    assert get_recipe("sharp").changed({"image": {"kind": "pixels"}}).image == Pixels()


@pytest.mark.parametrize("key", ["image", "image.kind"])
def test_pixels_of_a_recipe_of_ours(key):
    """Named alone they are bounded and decorrelated, which the rates of ours suit; the blog's stay plain."""
    other = {key: "fourier"}
    assert get_recipe("sharp").changed({key: "pixels"}).image == Pixels(bounded=True, decorrelate=True)
    assert get_recipe("blog").changed(other).changed({key: "pixels"}).image == Pixels()
    assert get_recipe("sharp").changed({key: "pixels", "feed": "raw"}).image == Pixels()
    assert get_recipe("sharp").changed({key: "pixels", "start": "photograph"}).image == Pixels()


def test_decorrelated_pixels_are_bounded():
    """Colour that would be left out without a word is refused."""
    with pytest.raises(RecipeError, match="'image' takes decorrelate only where its values are bounded"):
        get_recipe("sharp").changed({"image": {"kind": "pixels", "decorrelate": True}})


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer.options.momentum": 0.9, "optimizer.name": "SGD"},
        {"optimizer.options": {"momentum": 0.9}, "optimizer.name": "SGD"},
        {"image.sd": 0.5, "image": "phase"},
        {"image.sd": 0.5, "image.kind": "phase"},
        {"transforms.0.pixels": 9, "transforms": [{"kind": "jitter", "pixels": 3}]},
        {"image": "pixels", "feed": "raw"},
        {"facets.count": 3, "facets": {"count": 2}},
    ],
)
def test_the_order_of_settings_does_not_matter(settings):
    """What is asked for last takes away nothing of what was asked for before it."""
    one = get_recipe("sharp").changed(settings)
    assert one == get_recipe("sharp").changed(dict(reversed(settings.items())))
    assert one.optimizer.options or "optimizer.name" not in settings
    assert getattr(one.image, "sd", 0.5) == 0.5 or "image.sd" not in settings


def test_options_that_are_pairs():
    """Adam's betas are set, written as JSON and read back."""
    recipe = get_recipe("natural").changed({"optimizer.options": {"betas": [0.5, 0.9]}})
    assert recipe.optimizer.options == {"betas": (0.5, 0.9)}
    assert read_recipe(recipe.model_dump_json()) == recipe == recipe.changed({"steps": recipe.steps})
    assert recipe.changed({"optimizer.options.betas.0": 0.7}).optimizer.options == {"betas": (0.7, 0.9)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image.sd": -1}, r"setting 'image\.sd' must be greater than 0"),
        ({"transforms.0.pixels": -1}, r"setting 'transforms\.0\.pixels' must be"),
        ({"transforms.jitter.pixels": "x"}, r"setting 'transforms\.0\.pixels' must be"),
        (
            {"image": "phases"},
            r"'image' has no kind 'phases'; did you mean 'phase'\? \(known: pixels, fourier",
        ),
        ({"image": "Fourier"}, "no kind 'Fourier'; did you mean 'fourier'"),
        ({"image": {"sd": 1}}, "'image' needs a kind: one of pixels, fourier, phase"),
        (
            {"transforms": [{"kind": "jitr", "pixels": 1}]},
            r"'transforms\.0' has no kind 'jitr'; did you mean 'jitter'",
        ),
        ({"transforms": [{"kind": "jitter"}]}, r"'transforms\.0\.pixels'"),
        ({"transforms": [{"kind": "jitter", "pixel": 1}]}, r"'transforms\.0\.pixel"),
        ({"image": {"kind": "phase", "sdd": 1}}, r"no setting 'image\.sdd'; did you mean 'sd'"),
        (
            {"optimizer.options.betas": [1, 2, 3]},
            r"'optimizer\.options\.betas' must be a number, .* or a pair",
        ),
        ({"optimizer": {"rate": 1}}, "no setting 'optimizer.rate'"),
        ({"image": 5}, "'image' must be"),
        ({"image": {"kind": 5}}, "'image'"),
    ],
)
def test_wrong_settings_are_named_as_they_are_set(settings, message):
    """The key is the one that --set takes, and a kind that there is not has a nearest one."""
    with pytest.raises(RecipeError, match=message):
        get_recipe("sharp").changed(settings)


def test_distill_is_lucids_defaults():
    """512 steps of Adam at 0.05 and 128 px; lucid's jitter(8) and jitter(4) crop: shifts by up to 4 and 2 either way."""
    recipe = PRESETS["distill"]
    optimizer = recipe.optimizer
    assert (recipe.steps, recipe.usual_size, optimizer.name, optimizer.lr) == (512, 128, "Adam", 0.05)
    assert recipe.transforms == (
        Pad(pixels=12), Jitter(pixels=4), Scale(low=0.9, high=1.1), Rotate(degrees=10), Jitter(pixels=2),
    )  # fmt: skip


def test_what_moves_the_picture_is_left_out_for_a_place():
    """Of a goal with a place, and of a sum with one, only noise is done; views follow."""
    recipe = PRESETS["maco"]
    place = Target("conv1", 3, at=(1, 2))
    for goal in (place, 2 * place + Target("conv1", 4), Direction("conv1", ((3, 1.0),), at=(0, 0))):
        still = recipe.carried_out_for(goal)
        assert [part.kind for part in still.transforms] == ["noise"]
        assert (recipe.views, still.views) == (32, 1)
    assert recipe.carried_out_for(Target("conv1", 3)) is recipe


def test_settings_by_key():
    """Facets begin at their defaults; another optimiser leaves the former one's options behind."""
    assert get_recipe("sharp", settings={"facets.count": 3}).facets.count == 3
    assert get_recipe("sharp", settings={"optimizer.name": "SGD"}).optimizer.options == {}
    assert get_recipe("sharp", settings={"image": "pixels", "image.bounded": True}).image.bounded
