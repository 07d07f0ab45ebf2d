"""training.tail: the last layers alone, on kept maps, with classes kept apart."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from training.errors import TrainingError
from training.folding import fold, half, write_weights
from training.networks import Network

from training import tail

WNIDS = ["n00000001", "n00000002", "n00000003", "n00000004"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes, each of one colour with noise: 32 training and 8 validation pictures, as mosaics."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [160, 160, 30]])
    labels = {"train": [i % 4 for i in range(32)], "val": [i % 4 for i in range(8)]}
    for split, some in labels.items():
        noise = rng.integers(-40, 40, (len(some), 64, 64, 3))
        images = (colours[some][:, None, None] + noise).clip(0, 255).astype(np.uint8)
        sheet = images.transpose(1, 0, 2, 3).reshape(64, -1, 3)  # one row of pictures
        Image.fromarray(sheet).save(root / f"{split}-000.webp", lossless=True)
    (root / "labels.json").write_text(json.dumps(labels))
    (root / "classes.tsv").write_text("".join(f"{wnid}\tclass {wnid}\n" for wnid in WNIDS))
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folded float16 weights of a fresh tiny-vgg16 of four classes."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    write_weights(path, half(fold(Network("tiny-vgg16", 4).eval())), {})
    return path


def run(start: Path, data: Path, out: Path, *more: str) -> Result:
    """Four steps in float32."""
    settings = ["--batch", "16", "--separated", "8", "--epochs", "2", "--data", str(data), "--out", str(out)]
    return CliRunner().invoke(tail.main, [str(start), *settings, *more])


def test_only_the_last_layers_learn(start, data, tmp_path):
    """Everything before block5 stays to the bit; block5 and predictions change."""
    result = run(start, data, tmp_path / "new.safetensors")
    assert result.exit_code == 0, result.output
    before, after = load_file(start), load_file(tmp_path / "new.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) != name.startswith(("block5", "predictions")), name
    told = json.loads((tmp_path / "new.json").read_text())
    assert told["settings"]["layers"] == "block5"
    assert "top-1" in told["result"]


def test_kept_maps_give_the_same_weights(start, data, tmp_path):
    """With the maps computed, kept, and taken from the file; of another seed they are refused."""
    maps = ["--maps", str(tmp_path / "maps.safetensors")]
    results = [
        run(start, data, tmp_path / "a.safetensors"),
        run(start, data, tmp_path / "b.safetensors", *maps),
        run(start, data, tmp_path / "c.safetensors", *maps),
    ]
    assert [r.exit_code for r in results] == [0, 0, 0], results
    a, b, c = (load_file(tmp_path / f"{name}.safetensors") for name in "abc")
    assert all(torch.equal(a[name], b[name]) and torch.equal(a[name], c[name]) for name in a)
    refused = run(start, data, tmp_path / "d.safetensors", *maps, "--seed", "1")
    assert isinstance(refused.exception, SystemExit | TrainingError)
    assert "give another --maps" in str(refused.exception) + refused.output


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--layers", "block9"], "no layer starts with 'block9'"),
        (["--batch", "64"], "--batch 64 is more than the 32"),
    ],
)
def test_impossible_settings_are_refused(start, data, tmp_path, more, said):
    """The message names what there is."""
    result = run(start, data, tmp_path / "new.safetensors", *more)
    assert result.exit_code != 0
    assert said in str(result.exception) + result.output


def test_a_tail_with_a_shortcut_is_refused():
    """A residual block adds an earlier map, which a chain of layers has not."""
    with pytest.raises(TrainingError, match="no plain chain"):
        tail.Tail(Network("tiny-resnet", 4, folded=True), "conv5")


def test_overlap_by_hand():
    """Of two linear classes: gradients (2, 0) and (1, 1) share 2; 2/4 and 2/2, squared and halved."""
    linear = nn.Linear(2, 2, bias=False)
    linear.weight.data = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    maps = torch.zeros(3, 2, requires_grad=True)
    labels = torch.tensor([0, 1, 0])
    value = tail.overlap(linear(maps), maps, labels)
    assert value.item() == pytest.approx(0.5 * (0.25 + 1), rel=1e-5)
    linear.weight.data = torch.tensor([[2.0, 0.0], [-1.0, 1.0]])
    assert tail.overlap(linear(maps), maps, labels).item() == 0


def test_separation_lessens_the_overlap(start, data, tmp_path):
    """Trained with it, the classes' gradients share less than trained without it."""
    values = {}
    for weight in ("0", "10"):
        out = tmp_path / f"{weight}.safetensors"
        more = ["--separate", weight, "--epochs", "10", "--peak-lr", "0.02", "--decorrelate", "0"]
        assert run(start, data, out, *more).exit_code == 0
        network = tail.unfold(load_file(out))
        part = tail.Tail(network, "block5")
        pictures = tail.open_data(data).pictures("train")
        maps = tail.frozen_maps(network, part, pictures, 0, False).float().requires_grad_()
        torch.manual_seed(0)
        values[weight] = tail.overlap(part(maps), maps, pictures.labels).item()
    assert values["10"] < 0.8 * values["0"], values
