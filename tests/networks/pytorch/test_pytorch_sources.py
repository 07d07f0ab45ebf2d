"""open.py, factory.py: torchvision, timm, a person's own file; how each is fed; what is said."""

import json
import logging
import sys

import pytest
import torch
from torch import nn

from filterscope.cli import main
from filterscope.errors import ArgumentError, DownloadError, NetworkError, WeightsError
from filterscope.networks import open_network, opens_by_name
from filterscope.networks.pytorch.factory import is_factory
from filterscope.networks.pytorch.open import IMAGENET_MEAN

OWN = """
from torch import nn

CLASSES = ["cat", "dog"]
INPUT = {"size": 12, "range": (-1, 1), "mean": 0.25}


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def needs(depth):
    return net()


def breaks():
    return 1 / 0


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(*net())


def words():
    return "no network"


made = net()
"""


@pytest.fixture
def own(tmp_path):
    """A person's own file with factories."""
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


@pytest.mark.parametrize("factory", ["net", "Net", "made"])
def test_factory(own, factory, tmp_path):
    """A function, a class or a module; classes and input as the file says; a checkpoint with it."""
    state = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).state_dict()
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, tmp_path / "w.pth")
    net = open_network(f"{own}:{factory}", weights=tmp_path / "w.pth")
    assert (net.input.size, net.input.low, net.input.mean) == (12, -1, (0.25,) * 3)
    assert net.name == f"own.py:{factory}"
    assert net.weights_file == "w.pth"
    assert net.targets("4:dog")[0].unit == 1
    assert torch.equal(net.kernel_module("0").weight, state["0.weight"])


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nte", r"has no 'nte'; did you mean 'Net'"),
        ("needs", r"needs in .*own.py needs arguments \(depth\)"),
        ("breaks", r"own.py, line \d+: ZeroDivisionError: division by zero"),
        ("words", "words in .*own.py gives a str, no nn.Module"),
    ],
)
def test_factory_refused(own, factory, message):
    """What is wrong with a person's own code is one line that says where."""
    with pytest.raises(NetworkError, match=message):
        open_network(f"{own}:{factory}")


def test_file_without_a_factory(own, capsys):
    """What to write, with what the file has; the file is read and not run."""
    own.write_text(OWN + "\n\nraise SystemExit('it was run')\n")
    for name in (f"{own}", f"{own}:", f"{own}:a b"):
        with pytest.raises(
            NetworkError,
            match=r"write file.py:factory, .* as .*own.py:net; own.py has net, needs, breaks, Net, words",
        ):
            open_network(name)
    assert main(["layers", str(own)]) == 2
    assert "write file.py:factory" in capsys.readouterr().err
    own.write_text("def (\n")
    with pytest.raises(NetworkError, match=r"write file.py:factory, .* as .*own.py:make_network$"):
        open_network(str(own))
    with pytest.raises(NetworkError, match=r"there is no file 'nowhere.py'"):
        open_network("nowhere.py")


def test_what_a_factory_makes_is_not_called_trained(own, tmp_path, capsys, caplog):
    """Nobody knows whether anything trained it: said, and asked of no layer; with a file of weights it is known."""
    assert main(["layers", f"{own}:net", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["trained"] for row in rows if row["parameters"]} == {None}
    assert "whether anything trained its weights is not known" in caplog.text
    assert main(["layers", f"{own}:net"]) == 0
    assert [line.split()[-2:] for line in capsys.readouterr().out.splitlines() if "Linear" in line] == [
        ["not", "known"]
    ]
    torch.save(open_network(f"{own}:net").graph.net.state_dict(), tmp_path / "w.pt")
    caplog.clear()
    assert main(["layers", f"{own}:net", "--json", "--weights", str(tmp_path / "w.pt")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["trained"] for row in rows if row["parameters"]} == {True}
    assert not caplog.text
    assert main(["layers", f"{own}:net", "--json", "--weights", "random"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["trained"] for row in rows if row["parameters"]} == {False}


def test_a_module_made_as_the_file_is_run_is_the_same_every_time(own):
    """Random numbers are seeded there too."""
    assert open_network(f"{own}:made").weights.sha256 == open_network(f"{own}:made").weights.sha256


def test_own_file_that_does_not_run(tmp_path):
    """A syntax error, a missing module, no file."""
    (tmp_path / "bad.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(NetworkError, match=r"bad.py, line 1: ModuleNotFoundError"):
        open_network(f"{tmp_path}/bad.py:net")
    (tmp_path / "worse.py").write_text("def (\n")
    with pytest.raises(NetworkError, match=r"worse.py: SyntaxError"):
        open_network(f"{tmp_path}/worse.py:net")
    with pytest.raises(NetworkError, match="there is no file"):
        open_network(f"{tmp_path}/none.py:net")


def test_partial_weights_of_a_factory(own, tmp_path):
    """A file without the head: the head's classes are refused with the names of those layers that are covered."""
    torch.save({"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.ones(4)}, tmp_path / "w.pt")
    net = open_network(f"{own}:net", weights=tmp_path / "w.pt")
    assert net.targets("1:3")
    from filterscope.errors import TargetError

    with pytest.raises(TargetError, match=r"4 has no trained weights in w.pt; covered are: 0"):
        net.targets("4:1")


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.ckpt", "x.th", "x.bin"])
def test_a_checkpoint_alone_is_no_network(name):
    """Weights without an architecture: what to write instead."""
    with pytest.raises(
        NetworkError,
        match=r"there is no file 'x.*holds weights and no architecture: give NET as a name .* or as file.py:factory",
    ):
        open_network(name)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a.py:net", True),
        ("d/a.py:Net", True),
        ("a.py", False),
        ("timm:a", False),
        ("a.py:", False),
        ("a.py:x y", False),
    ],
)
def test_is_factory(text, answer):
    """path/to/file.py:factory is told from other names."""
    assert is_factory(text) is answer


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("tiny-vgg16", True),
        ("tiny-vgg16?size=32", True),
        ("efficientnet-lite0", True),
        ("timm:resnet18", True),
        ("torchvision:vgg11?mean=0", True),
        ("own.py:net", False),
        ("timm:../own.py:net", False),
        ("ResNet", False),
    ],
)
def test_opens_by_name(name, answer):
    """A picture's record opens by name only what runs nobody's code."""
    assert opens_by_name(name) is answer


def test_torchvision(caplog):
    """Random weights are the same every time, said loudly, and fed as the published ones."""
    net = open_network("torchvision:resnet18", weights="random")
    assert "RANDOM weights" in caplog.text
    assert net.random
    assert net.weights_file == "random"
    assert (net.input.size, net.input.high, net.input.mean) == (224, 1.0, IMAGENET_MEAN)
    assert net.targets("fc:goldfish")[0].unit == 1
    assert open_network("torchvision:resnet18", weights="random").weights.sha256 == net.weights.sha256


def test_timm(caplog):
    """timm's own preprocessing; a size or a number of channels that the network is made for."""
    caplog.set_level(logging.ERROR)
    net = open_network("timm:vit_tiny_patch16_224", weights="random", size=64)
    assert (net.input.size, net.input.fixed, net.input.mean) == (64, False, (0.5, 0.5, 0.5))
    assert net.layers["blocks.0"].output_shape == (192, 4, 4)
    assert net.targets("blocks.0:3@cls")
    grey = open_network("timm:resnet10t", weights="random", channels=1)
    assert (grey.input.channels, len(grey.input.mean)) == (1, 1)


def test_live_modules_of_known_libraries():
    """A torchvision or timm module passed as an object is fed as its library says."""
    import timm
    import torchvision

    net = open_network(torchvision.models.mobilenet_v3_small(weights=None))
    assert net.input.mean == IMAGENET_MEAN
    assert len(net.classes) == 1000
    other = open_network(torchvision.models.squeezenet1_1(weights=None, num_classes=7))
    assert len(other.class_names("output")) == 0
    net = open_network(timm.create_model("resnet10t", num_classes=5))
    assert (net.input.size, net.classes) == (176, ())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnt18", "torchvision has no network 'resnt18'; did you mean 'resnet18'"),
        ("torchvision:tf_efficientnet_b0", "has no network .*; did you mean 'timm:tf_efficientnet_b0'"),
        ("timm:resnt18", "timm has no network 'resnt18'; did you mean 'resnet18'"),
        ("timm:resnet18.a1_in2k", r"timm's resnet18 has no weights 'a1_in2k'; did you mean 'a1_in1k'"),
    ],
)
def test_unknown_names(name, message):
    """An unknown name gets the nearest."""
    with pytest.raises(NetworkError, match=message):
        open_network(name)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_missing_package(library, monkeypatch):
    """A library that is not installed: the extra that brings it."""
    for name in [n for n in sys.modules if n.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        NetworkError, match=rf"{library} is not installed: pip install 'filterscope\[{library}\]'"
    ):
        open_network(f"{library}:resnet18", weights="random")


def test_library_that_does_not_import(monkeypatch):
    """A build for another torch: what it said."""
    import importlib

    def fails(name, *rest):
        if name.startswith("torchvision"):
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *rest)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(
        NetworkError, match=r"torchvision is installed but does not import .operator torchvision::nms"
    ):
        open_network("torchvision:resnet18")


def test_download_failure(monkeypatch, capsys):
    """No network: exit status 1, a reason and what to do, no traceback."""
    import torchvision

    def fails(*args, **kw):
        raise OSError("<urlopen error Name or service not known>")

    monkeypatch.setattr(torchvision.models, "get_model", fails)
    with pytest.raises(
        DownloadError, match=r"weights of torchvision:resnet18 could not be downloaded .* weights=FILE"
    ):
        open_network("torchvision:resnet18")
    assert main(["layers", "torchvision:resnet18"]) == 1
    assert "could not be downloaded" in capsys.readouterr().err


def test_layers_shows_the_input_and_takes_it_otherwise(own, capsys):
    """`filterscope layers`: the spec in its first line and in JSON; flags change it and stay in the name."""
    assert (
        main(["layers", f"{own}:net", "--mean", "0.5", "--std", "0.5", "--range", "0,1", "--size", "16"]) == 0
    )
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(
        "own.py:net?mean=0.5&std=0.5&range=0,1&size=16: 16 x 16 px or other sizes; RGB 0 to 1"
    )
    assert main(["layers", f"{own}:net", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert row["input"] == {
        "size": 12, "fixed": False, "channels": 3, "range": [-1, 1], "mean": [0.25] * 3, "std": [1] * 3, "bgr": False,
    }  # fmt: skip
    assert main(["layers", f"{own}:net", "--mean", "1,2"]) == 2
    assert "mean takes one number, or one for each of the 3 channels (got 2)" in capsys.readouterr().err


def test_class_names_of_an_object(own):
    """Names are given where the network is opened; their number must fit."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert open_network(module, classes=["a", "b"]).targets("3:b")[0].unit == 1
    with pytest.raises(ArgumentError, match=r"tells 2 classes apart \(got 3 names\)"):
        open_network(module, classes=["a", "b", "c"])


def test_weights_for_a_live_module(tmp_path):
    """A checkpoint goes into the copy, never into the person's module."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    before = module[0].weight.clone()
    torch.save({n: torch.ones_like(t) for n, t in module.state_dict().items()}, tmp_path / "w.pt")
    net = open_network(module, weights=tmp_path / "w.pt")
    assert torch.equal(net.kernel_module("0").weight, torch.ones(4, 3, 3, 3))
    assert torch.equal(module[0].weight, before)
    with pytest.raises(NetworkError, match="has weights of its own"):
        open_network(module, weights="random")
    with pytest.raises(WeightsError, match="there is no weights file"):
        open_network(module, weights="none.pt")


def test_keras_model_of_a_factory(tmp_path):
    """A factory may give a Keras model too."""
    (tmp_path / "k.py").write_text(
        "import keras\n\n\ndef net():\n"
        "    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name='c')])\n"
    )
    net = open_network(f"{tmp_path}/k.py:net")
    assert net.layers["c"].units == 2
    assert not net.vouched
