"""pytorch/open.py and its parts: live modules opened, traced or not, right and unchanged."""

import copy
import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import filterscope as fs
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import NetworkError, TargetError
from filterscope.networks import open_network
from filterscope.networks.pytorch.untraced import UntracedNetwork
from filterscope.recipe import get_recipe


class Classifier(nn.Module):
    """Convolutions, batch norm, in-place ReLU used twice, a shortcut, classes."""

    def __init__(self, *, inplace: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=inplace)
        self.pool = nn.MaxPool2d(2)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = self.relu(self.block(x) + x)
        return self.head(x.mean((2, 3)))


class Stubborn(Classifier):
    """The same, with a step that depends on the picture's values: no graph can hold it."""

    def forward(self, x):
        if float(x.detach().sum()) > 1e30:
            x = x * 0
        return super().forward(x)


@pytest.fixture
def model() -> nn.Module:
    return seeded(Classifier())


def seeded(module: nn.Module) -> nn.Module:
    """Seeded weights and statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return module


def pixels(size: int = 32, batch: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(0)) * 255


def by_hooks(module: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every module call's output, cloned at once, by a name of ours: the truth to compare with."""
    module = copy.deepcopy(module).float().eval()
    found: dict[str, torch.Tensor] = {}

    def listen(path):
        def hook(m, args, out):
            n = 1 + sum(k.partition("#")[0] == path for k in found)
            found[path if n == 1 else f"{path}#{n}"] = out.clone()

        return hook

    for path, part in module.named_modules():
        if path:
            part.register_forward_hook(listen(path))
    with torch.no_grad():
        module(x)
    return found


@pytest.mark.parametrize("kind", [Classifier, Stubborn])
def test_every_layer_gives_what_the_module_gives(kind):
    """Each row of the table, further calls of a module too, equals the module's own output at that call."""
    module = seeded(kind())
    net = open_network(module)
    assert isinstance(net, UntracedNetwork) is (kind is Stubborn)
    x = net.input.preprocess(pixels())
    truth = by_hooks(module, x)
    assert [n for n in net.layers if n not in ("input", "output")] == list(truth)
    for name, value in truth.items():
        with torch.no_grad():
            assert torch.allclose(net.part(name)(x).output, value, atol=1e-5), name


@pytest.mark.parametrize("kind", [Classifier, Stubborn])
def test_in_place_activations_hide_nothing(kind):
    """What an in-place ReLU changes is heard as it was before: negative values are there."""
    net = open_network(seeded(kind()))
    with torch.no_grad():
        taps = net.part("relu")(net.input.preprocess(pixels()))
        assert net.part("bn1")(net.input.preprocess(pixels())).output.min() < 0
    assert torch.equal(taps.output, taps.linear.relu())
    assert taps.linear.min() < 0


def test_in_place_on_what_is_used_again():
    """`relu_(x)` followed by another use of x: the second use sees the changed value, as in the module."""

    class Reuses(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            y = self.conv(x)
            F.relu(y, inplace=True)
            z = y.clone()
            z.mul_(2)
            return (y + z).mean((2, 3))

    module = seeded(Reuses())
    net = open_network(module)
    assert not isinstance(net, UntracedNetwork)
    x = net.input.preprocess(pixels())
    with torch.no_grad():
        assert torch.allclose(net.part("output")(x).output, module(x), atol=1e-6)
        assert net.part("conv")(x).output.min() < 0


def test_untraced_is_said_and_stops_early(caplog, model):
    """A network that cannot be traced says so at level INFO, and runs no further than the layer that is heard."""
    ran = []

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x):
            assert float(x.detach().sum()) < 1e30
            x = self.first(x)
            ran.append("behind")
            return self.second(x)

    with caplog.at_level(logging.INFO, logger="filterscope"):
        net = open_network(Counts())
    assert "untraced" in caplog.text
    ran.clear()
    net.part("first")(pixels())
    assert ran == []
    net.part("second")(pixels())
    assert ran == ["behind"]


@pytest.mark.parametrize("kind", [Classifier, Stubborn])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pictures_are_drawn(kind, precision):
    """A picture of a filter and one of a class gain on the noise they start from."""
    net = open_network(seeded(kind()))
    targets = [*net.targets("block.0:3"), *net.targets("head:2")]
    found = list(draw(net, targets, get_recipe(steps=16, size=32), run=Run(precision=precision)))
    assert [p.status for p in found] == ["ok", "ok"]
    assert found[1].scores.probability > 0.2
    assert found[1].scores.activation > found[1].scores.start


def test_the_classes_are_the_last_linear_layer(model):
    """The logits are the class layer, their softmax the probabilities; a network that ends in one keeps its own."""
    net = open_network(model)
    assert [n for n, row in net.layers.items() if row.softmax] == ["head"]
    x = net.input.preprocess(pixels())
    with torch.no_grad():
        taps = net.part("head", softmax=True)(x)
    assert torch.allclose(taps.softmax, taps.output.softmax(1))
    for ending in (nn.Softmax(1), nn.LogSoftmax(1)):
        other = open_network(nn.Sequential(copy.deepcopy(model), ending))
        row = other.layers["0.head"]
        with torch.no_grad():
            assert torch.allclose(other.part("0.head", softmax=True)(x).softmax, taps.softmax, atol=1e-6)
        assert row.units == 5


# --- the person's own module ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Classifier, Stubborn])
def test_the_module_is_unchanged(kind):
    """Parameters, gradients, statistics, mode, hooks and random numbers are as they were after a picture."""
    module = seeded(kind()).train()
    module.conv1.weight.requires_grad_(False)
    module(pixels() / 255).sum().backward()
    calls = []
    module.conv1.register_forward_hook(lambda m, a, o: calls.append(m))
    before = {n: t.clone() for n, t in module.state_dict().items()}
    gradients = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    needs = {n: p.requires_grad for n, p in module.named_parameters()}
    state = torch.get_rng_state()
    list(draw(open_network(module), open_network(module).targets("block.0:1"), get_recipe(steps=3, size=32)))
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items())
    assert all(torch.equal(p.grad, gradients[n]) for n, p in module.named_parameters() if p.grad is not None)
    assert {n: p.requires_grad for n, p in module.named_parameters()} == needs
    assert all(m.training for m in module.modules())
    assert module.relu.inplace
    assert len(module.conv1._forward_hooks) == 1
    assert calls == []
    assert torch.equal(torch.get_rng_state(), state)


def test_later_changes_do_not_leak_in(model):
    """Training on changes the module and not the network that was opened from it."""
    net = open_network(model)
    x = net.input.preprocess(pixels())
    before = net.part("head")(x).output
    with torch.no_grad():
        model.conv1.weight.zero_()
    assert torch.equal(net.part("head")(x).output, before)


@pytest.mark.parametrize("kind", [Classifier, Stubborn])
def test_train_mode_left_on(kind):
    """Batch norm uses its statistics and dropout does nothing, whatever mode the module is in."""
    module = seeded(nn.Sequential(kind(), nn.Dropout(0.9)))
    asleep = open_network(module.eval())
    awake = open_network(module.train())
    x = asleep.input.preprocess(pixels())
    with torch.no_grad():
        assert torch.equal(awake.part("0.head")(x).output, asleep.part("0.head")(x).output)
        assert torch.equal(awake.part("1")(x).output, asleep.part("1")(x).output)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", [Classifier, Stubborn])
def test_other_number_types_are_read_as_float32(kind, dtype):
    """Half-precision weights give what the same numbers give in float32; the module keeps its type."""
    module = seeded(kind()).to(dtype)
    net = open_network(module)
    x = net.input.preprocess(pixels())
    truth = by_hooks(module.float(), x)
    module.to(dtype)
    with torch.no_grad():
        assert torch.allclose(net.part("head")(x).output, truth["head"], atol=1e-4)
    assert all(p.dtype == dtype for p in module.parameters())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_wrappers_are_seen_through(model):
    """DataParallel and torch.compile: the network inside, under its own names."""
    wrapped = nn.DataParallel(model)
    assert "block.0" in open_network(wrapped).layers
    assert "block.0" in open_network(torch.compile(model)).layers


def test_weight_norm_pruning_and_parametrizations_are_plain_weights(model):
    """Weights that are computed at each call are worked out once, and give the same numbers."""
    from torch.nn.utils import prune
    from torch.nn.utils.parametrizations import weight_norm

    prune.l1_unstructured(model.conv1, "weight", amount=0.5)
    weight_norm(model.block[0])
    net = open_network(model)
    x = net.input.preprocess(pixels())
    with torch.no_grad():
        assert torch.allclose(net.part("head")(x).output, model.eval()(x), atol=1e-5)
    assert "weight_mask" in dict(model.conv1.named_buffers())
    assert "parametrizations" in dict(model.block[0].named_children())


def test_what_cannot_be_copied_is_shared(model):
    """An attribute that cannot be copied, a lock say, stands in no one's way."""
    import threading

    model.lock = threading.Lock()
    net = open_network(model)
    with torch.no_grad():
        x = net.input.preprocess(pixels())
        assert torch.allclose(net.part("head")(x).output, model.eval()(x), atol=1e-6)


def test_a_batch_is_its_members(model):
    """Pictures of one batch do not feel each other."""
    net = open_network(model)
    x = net.input.preprocess(pixels(batch=3))
    with torch.no_grad():
        whole = net.part("block.1")(x).output
        for i in range(3):
            assert torch.allclose(net.part("block.1")(x[i : i + 1]).output[0], whole[i], atol=1e-5)


# --- names, sizes, tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "block.O",
            r"Classifier has no layer 'block.O'; did you mean 'block.1'. .its layers are input, conv1, ",
        ),
        ("conv1:8", r"conv1 has units 0 to 7 \(got 8\)"),
        (
            "conv1:3@cls",
            r"conv1 of Classifier has no token 'cls': it has no tokens beside the picture's places",
        ),
        ("head:1@0,0", "head has no rows and columns"),
        ("input", "input is the network's input"),
    ],
)
def test_targets_refused(model, text, message):
    """Unknown layers, units, tokens and places say what is allowed and the nearest name."""
    with pytest.raises(TargetError, match=message):
        open_network(model).targets(text)


def test_layer_table(model):
    """Kinds, shapes, units, parameters and receptive fields."""
    rows = open_network(model).layers
    assert [(r.name, r.kind, r.output_shape, r.parameters, r.receptive_field) for r in rows.values()] == [
        ("input", "InputLayer", (3, 32, 32), 0, 1),
        ("conv1", "Conv2d", (8, 32, 32), 224, 3),
        ("bn1", "BatchNorm2d", (8, 32, 32), 16, 3),
        ("relu", "ReLU", (8, 32, 32), 0, 3),
        ("pool", "MaxPool2d", (8, 16, 16), 0, 4),
        ("block.0", "Conv2d", (8, 16, 16), 584, 8),
        ("block.1", "BatchNorm2d", (8, 16, 16), 16, 8),
        ("block", "Sequential", (8, 16, 16), 600, 8),
        ("relu#2", "ReLU", (8, 16, 16), 0, 8),
        ("head", "Linear", (5,), 45, None),
    ]


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 1), (32, 3), (48, 4)])
def test_size_and_channels_are_found(side, channels):
    """A classifier that flattens its maps says by its weights which pictures it takes, and no other size runs."""
    module = nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * side * side, 3)
    )
    net = open_network(module)
    assert (net.input.size, net.input.channels, net.input.fixed) == (side, channels, True)
    from filterscope.errors import ArgumentError

    with pytest.raises(ArgumentError, match=rf"3 of Sequential runs at {side} x {side} px only \(got 64\)"):
        net.output_shape("3", 64)
    assert net.output_shape("0", 64) == (4, 64, 64)


def test_size_free(model):
    """A network with a global mean takes any size."""
    net = open_network(model)
    assert not net.input.fixed
    assert net.output_shape("block.0", 50) == (8, 25, 25)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.ReLU(), "cannot open a ReLU: it has no weights"),
        (nn.LazyConv2d(3, 3), "has no shape yet"),
        (nn.Conv2d(3, 3, 3, device="meta"), "holds no numbers"),
        (nn.Bilinear(3, 3, 3), r"several inputs are not supported \(Bilinear.forward takes input1, input2\)"),
        (nn.Embedding(3, 3), "takes numbers of words or classes"),
    ],
    ids=["nothing", "lazy", "meta", "two inputs", "words"],
)
def test_refused(module, message):
    """What has no numbers, or takes no picture, is refused with the reason."""
    with pytest.raises(NetworkError, match=message):
        open_network(module)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_is_refused():
    """TorchScript runs where no one listens."""
    with pytest.raises(NetworkError, match="a TorchScript module hides its layers"):
        open_network(torch.jit.script(nn.Conv2d(3, 3, 3)))


def test_not_finite_weights_are_refused(model):
    """NaN in the weights is named."""
    model.conv1.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(NetworkError, match=r"conv1.weight holds values that are NaN"):
        open_network(model)


def test_kernels(model):
    """A convolution's kernels are its weights, traced or not."""
    from filterscope.pictures.kernels import kernel_weights

    for module in (model, seeded(Stubborn())):
        net = open_network(module)
        assert torch.equal(torch.from_numpy(kernel_weights(net, "conv1")), module.conv1.weight.detach())
        with pytest.raises(TargetError, match=r"pool has no kernels"):
            kernel_weights(net, "pool")


def test_weights_are_known_by_their_numbers(model):
    """The same numbers, the same sha256; other numbers, another."""
    one, two = open_network(model), open_network(copy.deepcopy(model))
    assert one.weights.sha256 == two.weights.sha256
    model.conv1.weight.data += 1
    assert open_network(model).weights.sha256 != one.weights.sha256


def test_control_flow_over_shapes_is_followed():
    """A branch on the picture's size is taken as at the network's own size, and tried at another."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            _, _, h, _ = x.shape
            if h % 2:
                x = F.pad(x, (0, 1, 0, 1))
            for _ in range(len(x.shape) - 3):
                x = self.conv(x)
            return x

    module = seeded(Branches())
    net = open_network(module, size=32)
    for size in (32, 48, 33):
        x = net.input.preprocess(pixels(size))
        with torch.no_grad():
            if size % 2 == 0:
                assert torch.allclose(net.part("conv")(x).output, module(x), atol=1e-6)


def test_len_is_a_value_of_the_graph():
    """`len(x)` is the batch's size, whatever it is when the graph runs; the file's own `len` is left alone."""

    class Flat(Classifier):
        def forward(self, x):
            x = self.pool(self.relu(self.bn1(self.conv1(x))))
            return self.head(x.view(len(x), 4 * len(self.block), -1).mean(2))

    module = seeded(Flat()).eval()
    net = open_network(module)
    assert not isinstance(net, UntracedNetwork)
    x = net.input.preprocess(pixels(batch=3))
    graph = net.part("conv1").graph
    assert torch.equal(graph(x)[0], module.conv1(x))
    assert "len" not in globals()
    with torch.no_grad():
        for batch in (2, 3, 5):
            x = net.input.preprocess(pixels(batch=batch))
            assert torch.allclose(net.part("head")(x).output, module(x), atol=1e-6)


def test_the_mean_of_two_heads_is_the_classes():
    """Untraced: of two matrix products as large as the output neither is the output."""

    class Two(Stubborn):
        def __init__(self):
            super().__init__()
            self.other = nn.Linear(8, 5)

        def forward(self, x):
            if float(x.detach().sum()) > 1e30:
                x = x * 0
            x = self.conv1(x).mean((2, 3))
            return (self.head(x) + self.other(x)) / 2

    module = seeded(Two()).eval()
    net = open_network(module, classes=list("abcde"))
    assert isinstance(net, UntracedNetwork)
    x = net.input.preprocess(pixels())
    ends = [name for name, row in net.layers.items() if row.softmax]
    with torch.no_grad():
        assert torch.allclose(net.part(ends[0])(x).output, module(x), atol=1e-6)


def test_a_size_that_was_burnt_in_runs_untraced():
    """Where a graph holds at the network's own size alone and the module at all, the module itself runs."""

    class Burns(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            x = self.conv(x)
            return F.avg_pool2d(x, int(x.shape[-1])).flatten(1)

    net = open_network(seeded(Burns()), size=32)
    assert isinstance(net, UntracedNetwork)
    assert net.output_shape("output", 64) == (4,)


class Twice(nn.Module):
    """A convolution and its batch norm called twice in one pass."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.first(x)
        for _ in range(2):
            x = self.norm(self.again(x)).relu()
        return self.last(x.mean((2, 3)))


def test_a_module_called_twice():
    """Every target behind the second call is drawn, and says what the model itself says."""
    torch.manual_seed(0)
    model = Twice().eval()
    net = fs.open_network(model)
    picture = fs.visualize(net, "last:1", steps=2, size=32, progress=False)
    pixels = torch.from_numpy(picture.image.copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        assert model(net.input.preprocess(pixels))[0, 1].item() == pytest.approx(
            picture.scores.activation, rel=1e-3
        )
