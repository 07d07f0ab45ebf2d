"""network.py: layer look-up, coverage refusals, parts."""

import re

import numpy as np
import pytest
import torch

from filterscope.errors import TargetError
from filterscope.networks import open_network
from filterscope.networks.layer import safe_attribute
from filterscope.networks.subgraph import cut
from filterscope.selection import Selection
from filterscope.target import Target


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "block3_conv9",
            r"tiny-vgg16 has no layer 'block3_conv9'; did you mean 'block3_conv\d'\? "
            r"\(filterscope layers tiny-vgg16 lists them\)",
        ),
        ("zzz:3", r"tiny-vgg16 has no layer 'zzz' \(filterscope layers"),
        ("input_layer", "input_layer is the network's input: it has no units"),
        ("block1_conv1:32", r"block1_conv1 has units 0 to 31 \(got 32\)"),
        ("predictions:goldfsh", "predictions has no class 'goldfsh'; did you mean 'goldfish'"),
        ("predictions:3@1,2", "predictions has no rows and columns: leave out @1,2"),
        ("block1_conv1:goldfish", "the units of block1_conv1 have no names"),
        ("-block1_conv1:3", r"no layer '-block1_conv1'; a term's own sign is a factor: -1 \* LAYER:UNIT"),
        ("block1_conv1+block1_conv2:3", "a sum has spaces"),
        ("predictions:lion+goldfish", "no class 'lion.goldfish'; a sum has spaces"),
    ],
)
def test_targets_refused(tiny, text, message):
    """Unknown layers, units, classes and places say what was received, what is allowed, the nearest name."""
    with pytest.raises(TargetError, match=message):
        tiny.targets(text)


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("block3_conv1:3,1", [Target("block3_conv1", 3), Target("block3_conv1", 1)]),
        ("predictions:goldfish", [Target("predictions", 0)]),
        ("softmax:goldfish", [Target("softmax", 0)]),
        ("predictions:n01443537", [Target("predictions", 0)]),
        ("block3_conv1:3@2,1", [Target("block3_conv1", 3, (2, 1))]),
        ("block1_pool:0", [Target("block1_pool", 0)]),
    ],
)
def test_targets(tiny, text, targets):
    """Targets of convolutions, pools, classes before and after the softmax."""
    assert tiny.targets(text) == targets


def test_class_names(tiny):
    """Classes have names, filters have none."""
    assert tiny.class_name(Target("predictions", 0)) == tiny.class_name(Target("softmax", 0)) == "goldfish"
    assert tiny.class_name(Target("block1_conv1", 0)) is None
    assert tiny.class_names("global_average_pooling") == ()


@pytest.mark.parametrize(
    ("name", "unit"), [("n01440764", 0), ("sea_snake", 65), ("Sea Snake", 65), ("toilet_tissue", 999)]
)
def test_imagenet_classes_by_name(random_vgg16, name, unit):
    """ImageNet's classes answer to Keras' names and to their WordNet ids."""
    found = Selection("predictions", (name,)).resolve(1000, names=random_vgg16.class_names("predictions"))
    assert found == [Target("predictions", unit)]


def test_two_classes_of_one_name(random_vgg16):
    """ImageNet has two cranes: told apart by number or WordNet id."""
    names = random_vgg16.class_names("predictions")
    with pytest.raises(
        TargetError, match=r"several classes 'crane': 134 \(crane/n02012849\) and 517 \(crane/n03126707\)"
    ):
        Selection("predictions", ("crane",)).resolve(1000, names=names)
    assert Selection("predictions", ("n03126707",)).resolve(1000, names=names) == [Target("predictions", 517)]


# --- only some layers have weights --------------------------------------------------------------------------

COVERED = "covered are: block1_conv1, block1_conv2, block2_conv1"


@pytest.mark.parametrize("text", ["block1_conv1", "block1_conv2:3", "block1_pool:*", "block2_conv1:0-9"])
def test_covered(random_vgg16, text):
    """Targets in covered layers, and in layers without weights behind them, are given."""
    assert random_vgg16.targets(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("block2_conv2:3", r"block2_conv2 has no trained weights in three-layers.safetensors"),
        ("predictions:65", r"predictions has no trained weights in three-layers.safetensors"),
        (
            "block2_pool:3",
            r"block2_pool lies behind block2_conv2, without trained weights in three-layers.safetensors",
        ),
        ("flatten:3", r"flatten lies behind block2_conv2, without trained weights"),
    ],
)
def test_not_covered(random_vgg16, text, message):
    """A target in or behind a layer without trained weights is refused, naming those that are covered."""
    with pytest.raises(TargetError, match=f"^{message}.*; {COVERED}$"):
        random_vgg16.targets(text)
    with pytest.raises(TargetError, match=message):
        random_vgg16.part(text.partition(":")[0])


def test_behind_a_gap(vgg16_tensors, tmp_path):
    """A layer with weights behind one without is refused too."""
    from safetensors.numpy import save_file

    save_file(
        {n: v for n, v in vgg16_tensors.items() if "block1_conv2" not in n}, tmp_path / "gap.safetensors"
    )
    net = open_network("vgg16", weights=tmp_path / "gap.safetensors")
    with pytest.raises(
        TargetError,
        match=r"block2_conv1 lies behind block1_conv2, without trained weights in gap.safetensors",
    ):
        net.targets("block2_conv1:3")
    assert net.targets("block1_conv1:3")


def test_the_real_file(vgg16):
    """The real partial file covers the first seven convolutions and refuses the eighth."""
    covered = [n for n, row in vgg16.layers.items() if row.parameters and row.trained]
    assert covered == ["block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"] + [
        f"block3_conv{i}" for i in (1, 2, 3)
    ]
    assert vgg16.targets("block3_pool:7")
    with pytest.raises(TargetError, match=f"covered are: {', '.join(covered)}$"):
        vgg16.targets("block4_conv1:0")
    with pytest.raises(TargetError, match="predictions has no trained weights"):
        vgg16.targets("predictions:sea_snake")


# --- parts --------------------------------------------------------------------------------------------------


def test_part_holds_only_what_the_layer_needs(tiny):
    """Nothing behind the layer, and no branch beside it, is in its part."""
    part = tiny.part("block2_conv1")
    calls = [n.target for n in part.graph.graph.nodes if n.op == "call_module"]
    assert len(calls) == 1 + 3 * 2 + 1  # preprocessing, three convolutions with their ReLU, one pool
    assert not re.search("block2_conv2|block3|predictions", " ".join(calls))
    assert part(torch.rand(2, 3, 32, 32)).output.shape == (2, 64, 16, 16)


def test_taps(small):
    """Before and after the activation; of a class the value before the softmax, the softmax where asked for."""
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    taps = small.part("conv1")(x)
    assert torch.equal(taps.output, taps.linear.relu())
    assert taps.linear.min() < 0
    assert taps.softmax is None
    taps = small.part("predictions")(x)
    assert torch.equal(taps.output, taps.linear)
    assert taps.softmax is None
    taps = small.part("predictions", softmax=True)(x)
    assert torch.allclose(taps.softmax, taps.linear.softmax(1))
    assert torch.equal(taps.output, taps.linear)
    assert small.part("conv1", softmax=True)(x).softmax is None


def test_class_layer_and_softmax_layer_mean_the_same(tiny):
    """`predictions` and the `softmax` behind it have one linear output and one softmax."""
    x = torch.rand(1, 3, 32, 32)
    one, other = tiny.part("predictions", softmax=True)(x), tiny.part("softmax", softmax=True)(x)
    assert torch.equal(one.linear, other.linear)
    assert torch.equal(one.output, other.output)
    assert torch.equal(one.softmax, other.softmax)


def test_probe_runs_once_for_all(small):
    """Several layers at once give what each part gives alone."""
    x = torch.rand(2, 3, 16, 16) * 255
    names = ["conv1", "pool", "conv2", "predictions"]
    for name, value in zip(names, small.probe(names)(x), strict=True):
        assert torch.equal(value, small.part(name)(x).output)


def test_cut_shares_modules(small):
    """A part's modules are the network's own: weights are in memory once."""
    part = cut(small.graph, [small.layers["conv1"].output])
    attribute = safe_attribute("conv1")
    assert part.get_submodule(attribute) is small.graph.get_submodule(attribute)


def test_repr(tiny):
    """A network shows its name, its layers' number and its input on one line."""
    assert repr(tiny) == (
        "<Network tiny-vgg16: 22 layers, 64 x 64 px or other sizes; RGB 0 to 255; "
        "minus mean 123, 117, 104; over std 64, 62, 63>"
    )


def test_numbers_are_reproduced(small):
    """The same picture gives the same numbers to the bit."""
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 255
    assert np.array_equal(small.part("conv2")(x).output.numpy(), small.part("conv2")(x).output.numpy())


def test_weights_that_are_here(random_vgg16, tiny):
    """Those of a file are; those that it does not cover, and those that would be downloaded, are not."""
    from filterscope.networks.keras.source import DownloadedWeights

    assert tiny.is_here("predictions")
    assert random_vgg16.is_here("block2_conv1")
    assert not random_vgg16.is_here("predictions")
    published = DownloadedWeights("vgg16", {"block1_conv1": ("", ()), "predictions": ("", ())})
    published._hidden = frozenset({"block1_conv1"})
    assert [published.is_here(layer) for layer in ("block1_conv1", "predictions", "flatten")] == [
        False,
        False,
        True,
    ]
    published.parts = dict.fromkeys([False])  # type: ignore
    assert [published.is_here(layer) for layer in ("block1_conv1", "predictions")] == [True, False]
