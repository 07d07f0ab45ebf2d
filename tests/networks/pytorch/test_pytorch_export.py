"""exported/: torch.export programs read as data; whatever would run code is refused."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from filterscope.drawing.draw import draw
from filterscope.errors import ArgumentError, NetworkError
from filterscope.networks import open_network
from filterscope.recipe import get_recipe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Small(nn.Module):
    """In-place ReLU used twice, a shortcut in place, classes."""

    def __init__(self, *, burns: bool = False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.fc = nn.Linear(6, 4)
        self.burns = burns

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        y = self.block(x)
        y += x
        y = self.relu(y).mean((2, 3))
        return self.fc(y.reshape(x.shape[0], 6) if self.burns else y)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def file(module, tmp_path_factory) -> Path:
    """A program of 16 px pictures, any number and size of them."""
    path = tmp_path_factory.mktemp("programs") / "small.pt2"
    auto = torch.export.Dim.AUTO
    program = torch.export.export(
        module, (torch.randn(2, 3, 16, 16),), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
    )
    torch.export.save(program, path)
    return path


def rewritten(file: Path, place: Path, change) -> Path:
    """A copy of a program whose members went through `change(name, content)`; None leaves one out."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(place / "other.pt2", "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return place / "other.pt2"


def test_layers_give_what_the_modules_give(file, module):
    """Layers are named by the modules they came from, further calls too, and give the modules' own outputs."""
    net = open_network(file)
    assert list(net.layers) == [
        "input",
        "conv1",
        "bn1",
        "relu",
        "block.0",
        "block.1",
        "block",
        "relu#2",
        "fc",
    ]
    assert [r.kind for r in net.layers.values()][1:4] == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert net.layers["block.0"].receptive_field == 7
    assert (net.input.size, net.input.channels, net.input.fixed) == (16, 3, False)
    heard = {}
    for name in ("conv1", "bn1", "block"):
        module.get_submodule(name).register_forward_hook(
            lambda m, a, out, n=name: heard.update({n: out.clone()})
        )
    for size in (16, 24):
        x = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            heard["fc"] = module(x)
            for name, truth in heard.items():
                assert torch.allclose(net.part(name)(x).output, truth, atol=1e-5), name
            taps = net.part("relu#2")(x)
            assert torch.equal(taps.output, taps.linear.relu())


def test_pictures(file):
    """A filter and a class are drawn, with the class's probability."""
    net = open_network(str(file))
    pictures = list(
        draw(net, [*net.targets("block.0:2"), *net.targets("fc:1")], get_recipe(steps=16, size=16))
    )
    assert [p.status for p in pictures] == ["ok", "ok"]
    assert pictures[1].scores.probability is not None
    assert pictures[0].weights_file == "small.pt2"


def test_one_number_of_pictures_alone(tmp_path):
    """A program exported for one picture runs them one after the other."""
    torch.manual_seed(0)
    module = Small(burns=True).eval()
    torch.export.save(torch.export.export(module, (torch.randn(1, 3, 16, 16),)), tmp_path / "one.pt2")
    net = open_network(tmp_path / "one.pt2")
    x = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(net.part("fc")(x).output, module(x), atol=1e-5)
    (picture,) = draw(net, net.targets("block.0:1"), get_recipe(steps=8, size=16))
    assert picture.scores.activation > picture.scores.start


def test_options(file):
    """The input can be said otherwise, but for what the program was made for."""
    assert open_network(file, mean=0.5, std=0.5).input.mean == (0.5,) * 3
    with pytest.raises(ArgumentError, match="was exported for 3 x 16 x 16 pictures"):
        open_network(file, channels=1)
    with pytest.raises(NetworkError, match="has weights of its own"):
        open_network(file, weights="x.pt")
    with pytest.raises(NetworkError, match="there is no model file"):
        open_network("missing.pt2")


# --- untrusted files ------------------------------------------------------------------------------------------


class Evil:
    """Unpickling this makes a folder: proof that code ran."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_pickled_weights_are_refused(file, tmp_path):
    """A tensor that only a pickle holds is not read; torch's own loader would run it."""
    trap = tmp_path / "trap"

    def change(name, content):
        if name.endswith("weights_config.json"):
            config = json.loads(content)
            config["config"]["conv1.weight"]["use_pickle"] = True
            return json.dumps(config)
        return pickle.dumps(Evil(trap)) if "/weights/" in name else content

    with pytest.raises(NetworkError, match=r"refused: reading conv1.weight would run pickled code"):
        open_network(rewritten(file, tmp_path, change))
    assert not trap.exists()


def test_sample_inputs_are_never_unpickled(file, tmp_path):
    """The sample inputs that torch's loader unpickles are left alone."""
    trap = tmp_path / "trap"

    def change(name, content):
        return pickle.dumps(Evil(trap)) if "sample_inputs" in name else content

    assert open_network(rewritten(file, tmp_path, change)).layers
    assert not trap.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.serialization.os.system",
        "_operator.methodcaller",
        "torch.ops.aten.from_file.default",
        "torch.ops.higher_order.cond",
        "math.__import__",
        "#custom.thing",
        "torch.ops.aten.__class__",
    ],
)
def test_operations_that_are_none_are_refused(file, tmp_path, target):
    """Only ATen's operations run, and none that takes a file's name."""

    def change(name, content):
        if not name.endswith("models/model.json"):
            return content
        model = json.loads(content)
        model["graph_module"]["graph"]["nodes"][2]["target"] = target
        return json.dumps(model)

    with pytest.raises(NetworkError, match=r"other.pt2 (is refused: it asks for|asks for)"):
        open_network(rewritten(file, tmp_path, change))


def test_sizes_are_never_evaluated(file, tmp_path):
    """Sizes written as expressions are read as numbers: the text of one, which torch evaluates, is not looked at."""
    trap = tmp_path / "trap"

    def change(name, content):
        if not name.endswith("models/model.json"):
            return content
        return content.decode().replace(
            '"expr_str": "s', f"\"expr_str\": \"__import__('os').mkdir('{trap}') or s"
        )

    open_network(rewritten(file, tmp_path, change))
    assert not trap.exists()


def test_absurd_shapes(file, tmp_path):
    """A tensor of an absurd shape is refused before memory is asked for."""

    def change(name, content):
        if not name.endswith("weights_config.json"):
            return content
        config = json.loads(content)
        config["config"]["conv1.weight"]["tensor_meta"]["sizes"] = [{"as_int": 2**40}]
        return json.dumps(config)

    with pytest.raises(NetworkError, match=r"conv1.weight would have the shape \[1099511627776\]"):
        open_network(rewritten(file, tmp_path, change))


@pytest.mark.parametrize("missing", ["models/model.json", "weights_config.json", "/weight_0"])
def test_members_missing(file, tmp_path, missing):
    """A program without one of its members is refused."""
    with pytest.raises(NetworkError, match=r"other.pt2"):
        open_network(
            rewritten(file, tmp_path, lambda name, content: None if name.endswith(missing) else content)
        )


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_cut_short(file, tmp_path, share):
    """A program cut short is refused."""
    content = file.read_bytes()
    (tmp_path / "cut.pt2").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(NetworkError, match=r"cut.pt2 is no whole torch.export program"):
        open_network(tmp_path / "cut.pt2")


def test_compiled_programs_are_refused(tmp_path):
    """Compiled code is no program that can be read."""
    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as archive:
        archive.writestr("x/data/aotinductor/model/x.so", b"\x7fELF")
    with pytest.raises(NetworkError, match="holds compiled code, which is refused"):
        open_network(tmp_path / "x.pt2")
