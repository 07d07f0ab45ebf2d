"""loop.py: the blog's formulas term by term, pictures kept apart, finite everywhere, every objective raised."""

import math

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from filterscope.ascent.engine.prepare import prepare
from filterscope.ascent.gradient import VGG16_GRADIENT, repeated
from filterscope.ascent.loop import Seeds, _stages, ascend
from filterscope.errors import WorkError
from filterscope.networks import open_network
from filterscope.recipe import (
    PRESETS,
    Fourier,
    LpNorm,
    Optimizer,
    Pixels,
    Recipe,
    Stage,
    TotalVariation,
    get_recipe,
)
from filterscope.target import Target

BLOG = ("naive", "linear", "lp", "tv")
PLAIN = Recipe(name="plain", image=Pixels(), feed="raw", optimizer=Optimizer(name="SGD", lr=1.0), steps=1)


def preset(name, steps, **settings):
    """A preset for a few steps; the one that takes 32 views in each takes two."""
    if name == "maco" and "transforms" not in settings:
        settings["transforms.crop.count"] = 2
    return get_recipe(name, steps=steps, settings=settings)


def run(net, texts, recipe, *, size, seed=0, attempt=0, dtype=torch.float32, **more):
    """The loop on targets of one layer."""
    targets = [t for text in texts for t in net.targets(text)]
    prepared = prepare(net, repeated(targets, recipe), dtype=dtype, softmax=recipe.softmax == "keep")
    return ascend(prepared, targets, recipe, size=size, seeds=Seeds(seed, attempt), **more)


# --- the blog, written plainly ------------------------------------------------------------------------------


def blog(score, target, *, steps, size, seed=0, lp=0.0, tv=0.0):
    """The post's ascent of one picture, in the post's own order; `score` maps (1, 3, H, W) to a number."""
    u = torch.rand(3, size, size, generator=torch.Generator().manual_seed(target.seed(seed)))
    x = (u - 0.5) * 20 + 128
    cache = torch.zeros_like(x)
    n = x.numel()
    for _ in range(steps):
        x.requires_grad_()
        loss = score(x[None])
        loss = loss - lp * (x.abs() ** 6).sum() ** (1 / 6) / n
        down = (x[:, 1:, :-1] - x[:, :-1, :-1]) ** 2
        right = (x[:, :-1, 1:] - x[:, :-1, :-1]) ** 2
        loss = loss - tv / n * (down + right).sum()
        (grads,) = torch.autograd.grad(loss, x)
        grads = grads / ((grads**2).mean().sqrt() + 1e-7)
        cache = 0.95 * cache + (1 - 0.95) * grads**2
        x = (x + 1.0 * grads / (cache + 1e-7).sqrt()).detach()
    return x


WEIGHTS = {"naive": (0.0, 0.0), "linear": (0.0, 0.0), "lp": (10.0, 0.0), "tv": (10.0, 10.0)}


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("stage", BLOG)
def test_blog_on_vgg16(random_vgg16, vgg16_tensors, stage, steps):
    """A filter of VGG16, fed raw pixel values, mean over space after the ReLU: every number of the post's loop."""
    w = {name: torch.from_numpy(value) for name, value in vgg16_tensors.items()}

    def conv(x, layer):
        return F.conv2d(x, w[f"{layer}/kernel"].permute(3, 2, 0, 1), w[f"{layer}/bias"], padding=1).relu()

    def score(x, unit):
        x = conv(conv(x, "block1_conv1"), "block1_conv2")
        return conv(F.max_pool2d(x, 2), "block2_conv1")[0, unit].mean()

    texts = ["block2_conv1:7", "block2_conv1:100"]
    ascent = run(random_vgg16, texts, get_recipe(stage, steps=steps), size=12, seed=3)
    for picture, unit in zip(ascent.pixels, (7, 100), strict=True):
        lp, tv = WEIGHTS[stage]
        target = Target("block2_conv1", unit)
        plain = blog(lambda x, unit=unit: score(x, unit), target, steps=steps, size=12, seed=3, lp=lp, tv=tv)
        assert torch.allclose(picture, plain, atol=0.02)
        assert (picture - plain).abs().mean() < 1e-3


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("stage", ["naive", "linear"])
def test_blog_on_a_class(small, small_keras, stage, steps):
    """A class: after the softmax in `naive`, before it from `linear` on, by Keras' own arithmetic."""
    logits = keras.Model(small_keras.inputs[0], small_keras.get_layer("flatten").output)
    kernel, bias = (torch.from_numpy(np.array(w)) for w in small_keras.get_layer("predictions").get_weights())

    def score(x):
        value = logits(x.permute(0, 2, 3, 1)) @ kernel + bias
        return (value.softmax(1) if stage == "naive" else value)[0, 2]

    lp, tv = WEIGHTS[stage]
    ascent = run(small, ["predictions:2"], get_recipe(stage, steps=steps), size=16)
    plain = blog(score, Target("predictions", 2), steps=steps, size=16, lp=lp, tv=tv)
    assert torch.allclose(ascent.pixels[0], plain, atol=0.02)


def test_weights_suit_the_network(tiny):
    """Where the network scales its pixels, both penalties are scaled by its first gradient's size over VGG16's."""
    target, size = Target("block2_conv1", 3), 16
    part = tiny.part("block2_conv1")

    def score(x):
        return part(tiny.input.preprocess(x)).output[0, 3].mean()

    u = torch.rand(3, size, size, generator=torch.Generator().manual_seed(target.seed(0)))
    start = ((u - 0.5) * 20 + 128)[None].requires_grad_()
    (first,) = torch.autograd.grad(score(start), start)
    ratio = first.square().mean().sqrt().item() * (size / 224) ** 2 / VGG16_GRADIENT
    plain = blog(score, target, steps=3, size=size, lp=10 * ratio, tv=10 * ratio)
    found = run(tiny, ["block2_conv1:3"], get_recipe("tv", steps=3), size=size).pixels[0]
    assert torch.allclose(found, plain, atol=0.02)
    assert not torch.allclose(found, blog(score, target, steps=3, size=size, lp=10, tv=10), atol=0.5)


@pytest.mark.parametrize("factor", [0.1, 1e3])
def test_weights_follow_the_scale_of_activations(keras_with_weights, factor):
    """A network whose activations are ten times smaller or a thousand times larger gives the same picture."""

    def make(scale):
        model = keras.Sequential(
            [
                keras.Input((16, 16, 3)),
                layers.Rescaling(1 / 255),
                layers.Conv2D(4, 3, activation="relu", name="conv"),
            ]
        )
        keras_with_weights(model)
        model.set_weights([w * scale for w in model.get_weights()])
        return open_network(model)

    recipe = get_recipe("tv", steps=5)
    one, other = (run(make(s), ["conv:0-3"], recipe, size=16).pixels for s in (1, factor))
    assert (one - other).abs().mean() < 0.2  # of 255 levels; the 1e-7 beside the gradient is all that differs


# --- sums ---------------------------------------------------------------------------------------------------


def moved(net, *regularizers) -> torch.Tensor:
    ascent = run(net, ["block1_conv2:5"], PLAIN.model_copy(update={"regularizers": regularizers}), size=12)
    return ascent.pixels - ascent.start


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LpNorm(p=6, weight=1e5), TotalVariation(weight=1e2)),
        (LpNorm(p=2, weight=1e5), LpNorm(p=float("inf"), weight=1e5)),
        (TotalVariation(beta=1, weight=1e3), TotalVariation(beta=3, weight=10)),
    ],
)
def test_two_penalties_add(random_vgg16, one, other):
    """What two penalties do together is what each does alone, of different families or of one."""
    free = moved(random_vgg16)
    alone = moved(random_vgg16, one) - free, moved(random_vgg16, other) - free
    assert all(a.abs().max() > 0.1 for a in alone)
    assert torch.allclose(moved(random_vgg16, one, other) - free, alone[0] + alone[1], atol=1e-2)


def test_a_penalty_is_subtracted(random_vgg16):
    """A penalty pulls its own value down, and a negative weight pushes it up."""
    for weight, sign in [(1e6, -1), (-1e6, 1)]:
        recipe = PLAIN.model_copy(update={"regularizers": (LpNorm(p=2, weight=weight),)})
        ascent = run(random_vgg16, ["block1_conv2:5"], recipe, size=12)
        assert sign * (ascent.pixels.norm() - ascent.start.norm()) > 0


# --- pictures kept apart ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_batch_equals_its_members(tiny, name):
    """A picture drawn alone and in a batch of five are within 2 of 255 levels on average, by every preset."""
    texts = [f"block2_conv2:{u}" for u in (3, 9, 17, 40, 63)]
    recipe = preset(name, 8)
    together = run(tiny, texts, recipe, size=32)
    for i in (0, 2, 4):
        alone = run(tiny, [texts[i]] * 2, recipe, size=32)  # as a pair: see docs/design.md, "One loop", 2
        assert (together.pixels[i] - alone.pixels[0]).abs().mean() <= 2
        assert together.curves[i] == pytest.approx(alone.curves[0], rel=0.02, abs=1e-3)
        assert torch.allclose(together.start[i], alone.start[0], atol=1e-3)


def test_order_of_a_batch_changes_nothing(tiny):
    """The same targets in another order give the same pictures."""
    recipe = get_recipe("sharp", steps=6)
    one = run(tiny, ["block2_conv1:4", "block2_conv1:8"], recipe, size=32)
    other = run(tiny, ["block2_conv1:8", "block2_conv1:4"], recipe, size=32)
    assert (one.pixels - other.pixels.flip(0)).abs().mean() <= 2


def test_same_seed_same_numbers(tiny):
    """Twice the same is the same to the bit; another seed or attempt starts from other noise."""
    recipe = get_recipe("sharp", steps=4)
    one, again, seed, attempt = (
        run(tiny, ["block2_conv1:4"], recipe, size=32, **more)
        for more in ({}, {}, {"seed": 1}, {"attempt": 1})
    )
    assert torch.equal(one.pixels, again.pixels)
    assert one.curves == again.curves
    assert not torch.equal(one.start, seed.start)
    assert not torch.equal(one.start, attempt.start)


def test_a_picture_that_fails_does_not_spoil_the_others(small):
    """One target asleep in a batch leaves its neighbour's picture as it is."""
    recipe = get_recipe("tv", steps=5)
    alone = run(small, ["conv1:1"], recipe, size=16).pixels[0]
    assert (
        run(small, ["conv1:1", "conv1:0", "conv1:2"], recipe, size=16).pixels[0] - alone
    ).abs().mean() < 0.1


# --- ascent -------------------------------------------------------------------------------------------------

OBJECTIVES = [
    "block1_conv1:3",
    "block3_conv2:7",
    "block3_conv2:7@2,5",
    "block2_pool:5",
    "block4_conv3:200",
    "global_average_pooling:4",
    "predictions:goldfish",
    "softmax:goldfish",
]


@pytest.mark.parametrize("text", OBJECTIVES)
@pytest.mark.parametrize("name", PRESETS)
def test_ascent_raises_every_objective(tiny, name, text):
    """Channel, neuron, pool, mean, class before and after softmax: all end higher than they began."""
    recipe = preset(name, 10, transforms=[], stages=[{"scale": 1}])
    curve = run(tiny, [text], recipe, size=32).curves[0]
    assert len(curve) == 10
    assert curve[-1] > curve[0]


@pytest.mark.parametrize("text", ["block3_conv1:3@7,7", "block3_conv1:3@0,0", "block2_pool:9@3,6"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_draws_one_neuron(tiny, name, text):
    """A neuron's place is on the final picture's map, whatever sizes the ascent goes through."""
    assert run(tiny, [text], preset(name, 6), size=32).pixels.isfinite().all()


def test_neuron_changes_only_what_it_sees(small):
    """By plain ascent only the pixels in a neuron's receptive field move."""
    recipe = PLAIN.model_copy(update={"optimizer": Optimizer(name="SGD", lr=100.0)})
    ascent = run(small, ["conv1:1@8,4"], recipe, size=16)
    moved = (ascent.pixels - ascent.start)[0].abs().amax(0)
    assert moved[7:10, 3:6].any()
    moved[7:10, 3:6] = 0
    assert not moved.any()


def test_curve_is_the_activation(small):
    """The curve begins with the activation of the starting noise, and has one value a step."""
    ascent = run(small, ["conv1:1", "conv1:2"], get_recipe("tv", steps=3), size=16)
    first = small.part("conv1")(ascent.start).output[[0, 1], [1, 2]].mean((1, 2))
    assert [curve[0] for curve in ascent.curves] == pytest.approx(first.tolist(), rel=1e-4)
    assert all(len(curve) == 3 for curve in ascent.curves)


def test_curve_of_a_class_is_linear(small):
    """A class's curve is its value before the softmax in every stage, naive too."""
    for name in BLOG:
        ascent = run(small, ["predictions:1", "predictions:3"], preset(name, 2), size=16)
        first = small.part("predictions")(ascent.start).linear[[0, 1], [1, 3]]
        assert [curve[0] for curve in ascent.curves] == pytest.approx(first.tolist(), rel=1e-4)


def test_on_step(small):
    """Told after each step: which, and each picture's activation."""
    told = []
    ascent = run(
        small,
        ["conv1:1", "conv1:2"],
        get_recipe("tv", steps=3),
        size=16,
        on_step=lambda step, values, _: told.append((step, values)),
    )
    assert [step for step, _ in told] == [1, 2, 3]
    assert torch.stack([values for _, values in told], 1).tolist() == ascent.curves


# --- finite -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOG)
def test_blog_presets_are_finite_on_the_real_block1_conv1(vgg16, name):
    """The figure that gave the post NaN: all 64 filters, regularizers on."""
    ascent = run(vgg16, ["block1_conv1:*"], preset(name, 10), size=24)
    assert ascent.pixels.shape == (64, 3, 24, 24)
    assert ascent.pixels.isfinite().all()
    assert np.isfinite(ascent.curves).all()
    assert ((ascent.pixels - ascent.start).abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_finite_on_every_layer(tiny, name):
    """No preset on any layer gives NaN or inf."""
    for layer, row in tiny.layers.items():
        if row.kind != "InputLayer":
            ascent = run(tiny, [f"{layer}:0,1"], preset(name, 2), size=16, smallest=tiny.smallest_size(layer))
            assert ascent.pixels.isfinite().all(), layer


@pytest.mark.parametrize("center", [0.0, 1e-8, 128.0, 1e6])
@pytest.mark.parametrize("p", [1, 1.5, 6, 40, "inf"])
@pytest.mark.parametrize("beta", [0.5, 2])
def test_finite_from_flat_pictures(small, center, p, beta):
    """Flat pictures, black ones too, stay finite under every norm and total variation."""
    settings = {
        "image.center": center, "image.spread": 0, "regularizers.lp_norm.p": p, "regularizers.total_variation.beta": beta,
    }  # fmt: skip
    ascent = run(small, ["conv1:0-3"], get_recipe("tv", steps=3, settings=settings), size=16)
    assert ascent.pixels.isfinite().all()


def overflowing() -> object:
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(2, 3, name="a"), layers.Conv2D(2, 3, name="b")]
    )
    model.set_weights([np.full_like(w, 1e30) for w in model.get_weights()])
    return open_network(model)


def test_a_network_that_overflows_is_an_error():
    """A network that gives inf for ordinary pictures is reported by the target, never as a grey tile."""
    with pytest.raises(WorkError, match=r"b:1 is (inf|nan) at step 1: .* NaN or infinity"):
        run(overflowing(), ["b:1"], get_recipe("linear", steps=3), size=8)


@pytest.mark.parametrize("name", PRESETS)
def test_bfloat16(tiny, name):
    """With the network in bfloat16 the picture, its penalties and the optimiser stay float32 and it still climbs."""
    ascent = run(tiny, ["block2_conv1:0-3"], preset(name, 24), size=32, dtype=torch.bfloat16)
    assert ascent.pixels.dtype == torch.float32
    assert ascent.pixels.isfinite().all()
    assert np.mean([c[-1] for c in ascent.curves]) > np.mean([c[0] for c in ascent.curves])


def test_dead_on_arrival(small_keras):
    """A unit that is 0 on the starting noise is woken by the same recipe, as the post's grey tiles were not."""
    net = open_network(small_keras)
    net.part("conv1")
    conv = net.graph.layer_conv1.conv
    with torch.no_grad():
        conv.bias[1] = -1.05 * (conv.weight[1].sum() * 128 + 20 * conv.weight[1].abs().sum()).abs()
    ascent = run(net, ["conv1:1"], get_recipe("linear", steps=60), size=16)
    assert ascent.curves[0][0] == 0
    assert ascent.curves[0][-1] > 0


# --- stages -------------------------------------------------------------------------------------------------

STAGES = st.lists(st.builds(Stage, scale=st.floats(0.05, 1), share=st.floats(0.01, 1)), max_size=4).map(
    lambda stages: (*stages, Stage(share=0.3))
)


@given(STAGES, st.integers(1, 2000), st.integers(1, 512), st.integers(1, 32))
def test_stages_add_up(stages, steps, size, smallest):
    """Steps add up to the recipe's, none is negative, sizes lie between the smallest that works and the final one."""
    found = _stages(Recipe(name="x", steps=steps, stages=stages), (size, 2 * size), smallest)
    assert sum(stage.steps for stage in found) == steps
    assert min(stage.steps for stage in found) >= 0
    assert all(min(smallest, size) <= stage.height <= max(size, smallest) for stage in found)
    assert all(min(smallest, 2 * size) <= stage.width <= max(2 * size, smallest) for stage in found)


@pytest.mark.parametrize("image", [Pixels(), Fourier()])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_stages_end_at_the_full_size(small, image, steps):
    """However few the steps, the picture has its full size at the end, and one curve through all stages."""
    stages = (Stage(scale=0.5, share=0.4), Stage(scale=0.75, share=0.3), Stage(scale=1, share=0.3))
    recipe = Recipe(name="x", steps=steps, image=image, stages=stages)
    ascent = run(small, ["conv1:1", "conv1:2"], recipe, size=16)
    assert ascent.pixels.shape == (2, 3, 16, 16)
    assert all(len(curve) == steps for curve in ascent.curves)
    assert all(math.isfinite(v) for curve in ascent.curves for v in curve)


def test_a_neurons_place_scales_with_the_stage(small):
    """At half the size half the row and column are looked at, so that the picture grows where the neuron sees."""
    stages = (Stage(scale=0.5, share=0.5), Stage(scale=1, share=0.5))
    recipe = PLAIN.model_copy(
        update={"optimizer": Optimizer(name="SGD", lr=100.0), "stages": stages, "steps": 1}
    )
    recipe = recipe.model_copy(update={"image": Pixels(spread=0.0), "steps": 2})
    ascent = run(small, ["conv1:1@12,4"], recipe, size=16)
    changed = (ascent.pixels[0] - 128).abs().sum(0)
    rows, columns = torch.arange(16.0), torch.arange(16.0)
    weight = changed / changed.sum()
    assert (weight.sum(1) @ rows).item() == pytest.approx(12.5, abs=1.5)
    assert (weight.sum(0) @ columns).item() == pytest.approx(4.5, abs=1.5)
