"""prepare.py: only the target's channels, another precision, the caller's network untouched, refusals."""

import gc
import re
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterscope.ascent.engine import prepare as prepare_module
from filterscope.ascent.engine.prepare import (
    PRECISIONS,
    choose_device,
    choose_precision,
    precision_for,
    prepare,
)
from filterscope.errors import ArgumentError
from filterscope.networks import open_network
from filterscope.target import Target

CPU = torch.device("cpu")


def pictures(count: int, size: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0)) * 255


def taps_of(prepared, x, **how):
    """The one layer's taps."""
    (taps,) = prepared(x, **how).values()
    return taps


def own(taps, prepared) -> torch.Tensor:
    return taps.output[torch.arange(len(taps.output)), prepared.units]


@pytest.mark.parametrize(
    "layer",
    ["block1_conv1", "block2_pool", "block3_conv2", "global_average_pooling", "predictions", "softmax"],
)
@pytest.mark.parametrize("units", [[5], [7, 2, 11], [3, 3]])
def test_the_targets_channels_alone_say_the_same(tiny, layer, units):
    """What a target's channel says is what it says in the whole layer."""
    prepared = prepare(tiny, [Target(layer, u) for u in units])
    x = pictures(len(units))
    with torch.no_grad():
        whole = tiny.part(layer)(tiny.input.preprocess(x)).output
        found = own(taps_of(prepared, x), prepared)
    assert torch.allclose(found, whole[torch.arange(len(units)), units], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", ["block3_conv2", "predictions", "block2_pool"])
def test_last_product_is_narrowed(tiny, layer):
    """The last convolution or matrix product gives each picture its own channel and no other."""
    prepared = prepare(tiny, [Target(layer, 9), Target(layer, 4)])
    assert taps_of(prepared, pictures(2)).linear.shape[1] == 1
    assert prepared.units.tolist() == [0, 0]


def test_softmax_needs_every_class(tiny, small):
    """A class's probability is over all classes, in a network with the softmax as a layer and in one with it inside."""
    for net, size in [(tiny, 32), (small, 16)]:
        prepared = prepare(net, [Target("predictions", 3)], softmax=True)
        taps = taps_of(prepared, pictures(1, size))
        assert taps.linear.shape == (1, net.layers["predictions"].units)
        assert torch.allclose(taps.softmax, taps.linear.softmax(1))
        assert prepared.units.tolist() == [3]


@pytest.mark.parametrize("softmax", [True, False])
def test_class_value_is_linear_whoever_is_in_the_batch(small, softmax):
    """A class's value is before the softmax and does not depend on the other targets."""
    x = pictures(1, 16).repeat(2, 1, 1, 1)
    alone = prepare(small, [Target("predictions", 1)], softmax=softmax)
    both = prepare(small, [Target("predictions", 1), Target("predictions", 4)], softmax=softmax)
    values = own(taps_of(both, x), both)
    assert own(taps_of(alone, x[:1]), alone).item() == pytest.approx(values[0].item(), rel=1e-5)
    assert not 0 < values[0].item() < 1


def test_raw_skips_the_preprocessing(random_vgg16):
    """Raw pixel values reach the network as they are: no mean subtracted, no channels swapped."""
    prepared = prepare(random_vgg16, [Target("block1_conv1", u) for u in range(64)][:2])
    x = pictures(2)
    conv = random_vgg16.part("block1_conv1").graph.layer_block1_conv1.conv
    raw = nn.functional.conv2d(x, conv.weight[:2], conv.bias[:2], padding=1)
    swapped = x.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    fed = nn.functional.conv2d(swapped, conv.weight[:2], conv.bias[:2], padding=1)
    for found, expected in ((taps_of(prepared, x, raw=True), raw), (taps_of(prepared, x), fed)):
        assert torch.allclose(found.linear[:, 0], expected[[0, 1], [0, 1]], atol=1e-2)


def test_the_network_is_untouched(small):
    """Preparing copies what it changes: the network's own parameters keep their type, size and values."""
    small.part("predictions")
    before = {n: (p, p.dtype, p.detach().clone()) for n, p in small.graph.named_parameters()}
    prepare(small, [Target("conv2", 1)], dtype=torch.bfloat16)(pictures(1, 16))
    prepare(small, [Target("predictions", 1)])(pictures(1, 16))
    for name, parameter in small.graph.named_parameters():
        same, dtype, values = before[name]
        assert parameter is same
        assert parameter.dtype == dtype
        assert torch.equal(parameter, values)


@pytest.mark.parametrize("layer", ["block3_conv1", "predictions"])
def test_bfloat16(tiny, layer):
    """In bfloat16 the layer says about the same, and the picture stays float32."""
    whole = prepare(tiny, [Target(layer, 5)])
    half = prepare(tiny, [Target(layer, 5)], dtype=torch.bfloat16)
    x = pictures(1).requires_grad_()
    taps = taps_of(half, x)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    scale = taps_of(whole, x).linear.abs().max()
    assert torch.allclose(taps.linear.float(), taps_of(whole, x).linear, atol=0.05 * scale.item())
    (gradient,) = torch.autograd.grad(taps.linear.float().sum(), x)
    assert gradient.dtype == torch.float32


def test_no_gradient_for_weights(tiny):
    """Weights need no gradient: only the picture is changed."""
    prepared = prepare(tiny, [Target("block2_conv1", 0)])
    assert not any(p.requires_grad for p in prepared.parameters())
    assert not prepared.parts.training


def test_pictures_are_kept_apart(tiny):
    """Picture 0 has no gradient from picture 1 anywhere in a network."""
    prepared = prepare(tiny, [Target("predictions", 0), Target("predictions", 1)], softmax=True)
    x = pictures(2).requires_grad_()
    (gradient,) = torch.autograd.grad(taps_of(prepared, x).softmax[1].square().sum(), x)
    assert not gradient[0].any()
    assert gradient[1].any()


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_by_name(precision, dtype):
    """What is asked for is what is taken."""
    assert choose_precision(precision, CPU) == dtype


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "avx2": True}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_precision(monkeypatch, capabilities, dtype):
    """auto takes bfloat16 where the processor has the instructions for it."""
    monkeypatch.delenv("FILTERSCOPE_PRECISION", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision("auto", CPU) == dtype


def test_auto_precision_on_old_torch(monkeypatch):
    """A torch that cannot tell means float32."""
    monkeypatch.delenv("FILTERSCOPE_PRECISION", raising=False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto", CPU) == torch.float32


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize(
    ("said", "dtype"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("auto", None), ("", None)],
)
def test_auto_precision_by_the_variable(monkeypatch, has, said, dtype):
    """FILTERSCOPE_PRECISION says what auto is; where it says nothing the processor decides."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has}, raising=False)
    monkeypatch.setenv("FILTERSCOPE_PRECISION", said)
    assert choose_precision("auto", CPU) == (dtype or (torch.bfloat16 if has else torch.float32))
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("said", "hint"),
    [("float23", "; did you mean 'float32'?"), ("FLOAT32", "; did you mean 'float32'?"), ("7", "")],
)
def test_a_wrong_variable(monkeypatch, said, hint):
    """Said with the list and the nearest name where it would count, and only there."""
    monkeypatch.setenv("FILTERSCOPE_PRECISION", said)
    told = f"FILTERSCOPE_PRECISION must be one of auto, float32, bfloat16 (got {said!r}){hint}"
    with pytest.raises(ArgumentError, match=re.escape(told)):
        choose_precision("auto", CPU)
    assert choose_precision("float32", CPU) == torch.float32


@pytest.mark.parametrize("precision", ["float16", "", "BFLOAT16", "half"])
def test_unknown_precision(precision):
    """Another precision is refused with the list."""
    with pytest.raises(
        ArgumentError, match=f"precision must be one of {', '.join(PRECISIONS)} .got {precision!r}."
    ):
        choose_precision(precision, CPU)


def test_devices():
    """cpu is always to be had; auto takes what there is."""
    assert choose_device("cpu") == CPU
    assert choose_device().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("device", ["gpu", "", "cpu0", "xpu:99", "meta", "hpu"])
def test_unknown_device(device):
    """A device that is not there is refused with the list, not with a traceback."""
    with pytest.raises(ArgumentError, match=r"is not to be had here .*; auto, cpu, cuda or mps"):
        choose_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_no_cuda():
    """cuda on a machine without is refused."""
    with pytest.raises(ArgumentError, match="device 'cuda' is not to be had here"):
        choose_device("cuda")


@pytest.mark.parametrize(
    "layer", ["block1_conv1", "block2_pool", "block3_conv3", "block4_conv2", "predictions"]
)
def test_prepared_is_the_network(tiny, layer):
    """Values and gradients are those of the network as it stands, within rounding of float32."""
    prepared, part = prepare(tiny, [Target(layer, 3), Target(layer, 8)]), tiny.part(layer)
    x = pictures(2).requires_grad_()
    found = own(taps_of(prepared, x), prepared)
    expected = part(tiny.input.preprocess(x)).output[[0, 1], [3, 8]]
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    (ours,) = torch.autograd.grad(found.sum(), x)
    (theirs,) = torch.autograd.grad(expected.sum(), x)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


@pytest.mark.parametrize("layer", ["block3_conv1", "predictions"])
def test_batch_equals_its_members(tiny, layer):
    """A picture's value and gradient are the same whoever else is drawn with it."""
    x, units = pictures(4), [3, 8, 1, 8]
    prepared = prepare(tiny, [Target(layer, u) for u in units])
    together = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(own(taps_of(prepared, together), prepared).sum(), together)
    for i, unit in enumerate(units):
        alone = x[i : i + 1].clone().requires_grad_()
        single = prepare(tiny, [Target(layer, unit)])
        (found,) = torch.autograd.grad(own(taps_of(single, alone), single).sum(), alone)
        assert torch.allclose(found[0], gradient[i], rtol=1e-4, atol=1e-5 * gradient[i].abs().max().item())


@pytest.mark.parametrize("layer", ["block3_conv1", "predictions"])
def test_narrowed_pictures_are_kept_apart(tiny, layer):
    """Nor has picture 0 a gradient from picture 1 where each has only its own unit."""
    prepared = prepare(tiny, [Target(layer, 2), Target(layer, 5)])
    x = pictures(2).requires_grad_()
    (gradient,) = torch.autograd.grad(own(taps_of(prepared, x), prepared)[1].sum(), x)
    assert not gradient[0].any()
    assert gradient[1].any()


class Moody(nn.Module):
    """A network that no graph can hold: what it does depends on what it sees."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(8, 5)
        self.parts = [self.conv, self.act]

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return self.head(x.mean((2, 3)) * (2 if float(x.sum()) > 0 else 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_untraced_runs_unprepared(dtype, caplog):
    """What cannot be traced runs as it is, in any number type, and the log says so."""
    torch.manual_seed(0)
    net = open_network(Moody().eval(), size=32)
    caplog.set_level("INFO", logger="filterscope")
    prepare_module._logged.clear()
    prepared = prepare(net, [Target("conv", 1), Target("conv", 4)], dtype=dtype)
    x = pictures(2).requires_grad_()
    found = own(taps_of(prepared, x), prepared).float()
    expected = net.part("conv")(net.input.preprocess(x)).output[[0, 1], [1, 4]]
    assert torch.allclose(found, expected, atol=1e-5 if dtype == torch.float32 else 0.05)
    assert torch.autograd.grad(found.sum(), x)[0].any()
    assert "cannot be traced, so it runs unprepared" in caplog.text


def test_log_says_what_was_prepared(tiny, caplog):
    """The log names what the network was made of, once."""
    caplog.set_level("INFO", logger="filterscope")
    prepare_module._logged.clear()
    for _ in range(2):
        prepare(tiny, [Target("block2_conv2", 1)])
    (line,) = caplog.messages
    assert (
        line
        == "tiny-vgg16, block2_conv2: prepared as 3 Convolution, 1 MaxPool, 1 OwnConvolution, 1 ReLU (float32 on cpu)"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer", ["block2_conv1", "predictions"])
def test_nothing_outlives_its_use(tiny, dtype, layer):
    """A prepared part holds no cycle: its weights go with it, not when Python next looks for cycles."""
    gc.collect()
    gc.disable()
    try:
        prepared = prepare(tiny, [Target(layer, 0), Target(layer, 1)], dtype=dtype)
        x = pictures(2).requires_grad_()
        own(taps_of(prepared, x), prepared).sum().backward()
        known = [weakref.ref(module) for module in prepared.modules()]
        del prepared, x
        assert [type(module()) for module in known if module() is not None] == []
    finally:
        gc.enable()


class Mixed(nn.Module):
    """A network whose own code mixes in something of float32."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, x):
        y = F.relu(self.first(x))
        if self.how == "cast":
            y = y.float() * 0.5
        elif self.how == "transformed":  # bfloat16 has no Fourier transform
            y = torch.fft.fft2(y).abs()
        elif self.how == "made":
            y = y + torch.linspace(-1, 1, y.shape[-1])
        elif self.how == "untraced" and y.sum() > 0:
            y = y + torch.zeros(1, 8, 1, 1)
        return self.second(y)


@pytest.mark.parametrize("how", ["cast", "made", "transformed", "untraced"])
def test_own_code_of_another_type(how, capsys):
    """A network that does not run in bfloat16 runs in float32 by itself; bfloat16 asked for by name is refused. Nothing is
    printed of what torch raised."""
    net = open_network(Mixed(how).eval(), size=32)
    goals = [Target("second", 0)]
    assert net.layer("second").output_shape == (6, 32, 32)
    assert precision_for(net, goals, "auto", CPU) == torch.float32
    with pytest.raises(ArgumentError, match=r"does not run in bfloat16 .*; use precision='float32'"):
        precision_for(net, goals, "bfloat16", CPU)
    assert precision_for(net, goals, "float32", CPU) == torch.float32
    plain = open_network(Mixed("plain").eval(), size=32)
    assert precision_for(plain, goals, "bfloat16", CPU) == torch.bfloat16
    assert not capsys.readouterr().err


def test_a_cast_of_keras():
    """Likewise of a Keras network whose bare operations cast: they ask for float32 by name."""
    keras = pytest.importorskip("keras")
    entry = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3)(entry)
    x = x * keras.ops.cast(x > 0, "float32")
    net = open_network(keras.Model(entry, keras.layers.Conv2D(4, 1, name="end")(x)), range=(0, 1))
    assert precision_for(net, [Target("end", 0)], "auto", CPU) == torch.float32
    with pytest.raises(ArgumentError, match="does not run in bfloat16"):
        precision_for(net, [Target("end", 0)], "bfloat16", CPU)


class PlusSize(nn.Module):
    """Adds a size to a convolution, before and behind a ReLU."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)

    def forward(self, x):
        return self.second(F.relu(self.first(x) + x.shape[1])) + x.shape[1]


@pytest.mark.parametrize("layer", ["first", "second", "output"])
def test_a_size_added(layer):
    """A number that stands where a shortcut might is added, not taken for one."""
    module = PlusSize().eval()
    net = open_network(module, size=32)
    prepared = prepare(net, [Target(layer, 1), Target(layer, 4)])
    x = pictures(2)
    fed = net.input.preprocess(x)
    with torch.no_grad():
        first = module.first(fed)
        whole = {"first": first, "second": module.second(F.relu(first + 3)), "output": module(fed)}[layer]
        found = own(taps_of(prepared, x), prepared)
    assert torch.allclose(found, whole[[0, 1], [1, 4]], rtol=1e-4, atol=1e-4)
