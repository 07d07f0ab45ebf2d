"""checkpoint.py: checkpoints of every wrapping fit; code, bombs and absurd shapes are refused."""

import argparse
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from filterscope.errors import WeightsError
from filterscope.networks.pytorch.checkpoint import load_checkpoint


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Flatten(), nn.Linear(4, 2)
    ).eval()


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[n]) for n, v in a.state_dict().items() if v.is_floating_point())


def prefixed(state, prefix):
    return {prefix + n: t for n, t in state.items()}


WRAPPINGS = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{}]},
    },
    "net": lambda s: {"net": s, "acc": 91.2},
    "ema alone": lambda s: {"ema": s},
    "DataParallel": lambda s: prefixed(s, "module."),
    "state_dict of DataParallel": lambda s: {"state_dict": prefixed(s, "module."), "best_prec1": 91.7},
    "compiled": lambda s: prefixed(s, "_orig_mod."),
    "compiled DataParallel": lambda s: {"model": prefixed(s, "module._orig_mod.")},
    "Lightning": lambda s: {
        "state_dict": {**prefixed(s, "model."), "criterion.weight": torch.ones(2)},
        "hyper_parameters": {"lr": 0.1, "args": argparse.Namespace(depth=3)},
        "pytorch-lightning_version": "2.0.0",
    },
    "numpy numbers": lambda s: {"state_dict": s, "best": np.float64(0.917), "epoch": np.int64(3)},
    "nested": lambda s: {"checkpoint": {"state_dict": prefixed(s, "backbone.")}},
    "no counters": lambda s: {n: t for n, t in s.items() if not n.endswith("num_batches_tracked")},
    "half": lambda s: {n: t.half().float() if t.is_floating_point() else t for n, t in s.items()},
}


# every ending with two of the wrappings, one ending with the others
ENDINGS = [
    (wrapping, ending)
    for wrapping in WRAPPINGS
    for ending in (".pt", ".pth", ".th", ".ckpt", ".bin")
    if ending == ".pt" or wrapping in ("plain", "Lightning")
]


@pytest.mark.parametrize(("wrapping", "ending"), ENDINGS)
def test_wrappings(wrapping, ending, tmp_path):
    """The tensors are found whatever they are wrapped in, and every one is filled."""
    trained, fresh = net(1), net(2)
    if wrapping == "half":
        trained = trained.half().float()
    path = tmp_path / f"weights{ending}"
    torch.save(WRAPPINGS[wrapping](trained.state_dict()), path)
    assert load_checkpoint(fresh, path).trained is None
    assert same(fresh, trained)


def test_ema_beside_the_model(tmp_path):
    """Where both are there, the model's own weights are taken, not their running mean."""
    trained, fresh = net(1), net(2)
    torch.save({"ema": net(3).state_dict(), "model": trained.state_dict()}, tmp_path / "x.pt")
    load_checkpoint(fresh, tmp_path / "x.pt")
    assert same(fresh, trained)


def test_older_format_and_safetensors(tmp_path):
    """torch's format before 1.6, and safetensors."""
    from safetensors.torch import save_file

    trained, fresh = net(1), net(2)
    torch.save(trained.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    load_checkpoint(fresh, tmp_path / "old.pth")
    assert same(fresh, trained)
    save_file(prefixed(trained.state_dict(), "model."), tmp_path / "x.safetensors")
    fresh = net(3)
    load_checkpoint(fresh, tmp_path / "x.safetensors")
    assert same(fresh, trained)


def test_only_some_layers(tmp_path):
    """A file without the head opens: it says which modules it filled."""
    state = {n: t for n, t in net(1).state_dict().items() if not n.startswith("2.")}
    torch.save(state, tmp_path / "x.pt")
    assert load_checkpoint(net(2), tmp_path / "x.pt").trained == {"0", "0.0", "0.1", "1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {}, "holds no tensors"),
        (lambda s: [1], "holds a list, no dictionary of tensors"),
        (lambda s: {"epoch": 3}, r"holds no tensors \(its keys: epoch\)"),
        (
            lambda s: {"a.weight": torch.ones(3)},
            "holds no weights for any layer of this Sequential: it has a.weight",
        ),
        (
            lambda s: {n.replace("2.", "fc."): t for n, t in s.items()},
            r"it holds fc.weight, fc.bias, which the network does not have and lacks 2.weight, 2.bias",
        ),
        (lambda s: {**s, "2.weight": torch.ones(2, 5)}, r"2.weight has shape \[2, 5\], expected \[2, 4\]"),
        (
            lambda s: {n: t for n, t in s.items() if n != "2.bias"},
            "lacks 2.bias, while it holds the rest of 2",
        ),
        (lambda s: {**s, "3.weigth": torch.ones(2)}, "holds 3.weigth, which the network does not have"),
        (lambda s: {**s, "0.0.wieght": s["0.0.weight"]}, "did you mean '0.0.weight'"),
        (lambda s: {**s, "2.bias": torch.full((2,), float("nan"))}, "2.bias holds values that are NaN"),
        (lambda s: {**s, "2.bias": torch.ones(2, device="meta")}, "2.bias holds no plain numbers"),
        (
            lambda s: {**s, "2.bias": s["2.bias"].to(torch.complex64)},
            "holds complex64 numbers, expected float32",
        ),
        (
            lambda s: {**s, "2.bias": s["2.bias"].to(torch.int8)},
            "holds int8 numbers, expected float32: of quantised",
        ),
        (lambda s: {**s, "2.bias": torch.ones(1).expand(10**12)}, r"2.bias has shape \[1000000000000\]"),
    ],
)
def test_misfits(change, message, tmp_path):
    """What does not fit is named, with the nearest."""
    torch.save(change(net(1).state_dict()), tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(net(2), tmp_path / "x.pt")


def test_other_prefixes_are_said(tmp_path):
    """Where one dictionary holds the weights and their average under two prefixes, the first are taken, the line says so,
    and the name that it tells takes the other."""
    plain, average = net(1), net(2)
    both = {**prefixed(average.state_dict(), "ema_model."), **prefixed(plain.state_dict(), "model.")}
    torch.save({"state_dict": both}, tmp_path / "x.ckpt")
    fresh = net(3)
    (note,) = load_checkpoint(fresh, tmp_path / "x.ckpt").notes
    assert same(fresh, plain)
    assert "x.ckpt#ema_model" in note
    assert not load_checkpoint(fresh, tmp_path / "x.ckpt#ema_model").notes
    assert same(fresh, average)


def test_float8(tmp_path):
    """Eight bits that are floats are numbers as others."""
    from safetensors.torch import save_file

    state = {n: t.to(torch.float8_e4m3fn) for n, t in net(1).state_dict().items() if t.is_floating_point()}
    save_file(state, tmp_path / "x.safetensors")
    fresh = net(2)
    load_checkpoint(fresh, tmp_path / "x.safetensors")
    assert torch.equal(fresh.state_dict()["2.bias"], state["2.bias"].float())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"hello", "it begins with b'hello', neither as a zip archive nor as a pickle"),
        (pickle.dumps({"a": 1}), "it is a pickle, but none of torch.save"),
        (bytes(100), "neither as a zip archive nor as a pickle"),
        (b"PK\x03\x04 and no more", "PytorchStreamReader failed"),
    ],
)
def test_no_checkpoint(content, message, tmp_path):
    """What the file is instead, and never torch's advice to run what it says."""
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pth is no whole PyTorch checkpoint") as raised:
        load_checkpoint(net(1), tmp_path / "x.pth")
    assert message in str(raised.value)
    assert "weights_only" not in str(raised.value)
    assert len(str(raised.value)) < 300


# --- untrusted files ------------------------------------------------------------------------------------------


class Evil:
    """Unpickling this makes a file: proof that code ran."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("how", ["zip", "older", "bare pickle", "inside a state dict", "whole model"])
@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt", ".bin", ".th"])
def test_pickled_code_never_runs(how, ending, tmp_path):
    """A pickle that would run code is refused, by name of what it asks for; nothing ran."""
    trap, path = tmp_path / "trap", tmp_path / f"x{ending}"
    if how == "zip":
        torch.save(Evil(trap), path)
    elif how == "older":
        torch.save(Evil(trap), path, _use_new_zipfile_serialization=False)
    elif how == "bare pickle":
        path.write_bytes(pickle.dumps(Evil(trap)))
    elif how == "inside a state dict":
        torch.save({"state_dict": net().state_dict(), "extra": Evil(trap)}, path)
    else:
        torch.save(net(), path)
    with pytest.raises(
        WeightsError, match=r"is refused: reading it would run code .*save its tensors alone with"
    ):
        load_checkpoint(net(), path)
    assert not trap.exists()


@pytest.mark.parametrize("share", [0, 0.2, 0.6, 0.95])
@pytest.mark.parametrize("older", [True, False])
def test_cut_short(share, older, tmp_path):
    """A file cut short is refused."""
    path = tmp_path / "x.pt"
    torch.save(net().state_dict(), path, _use_new_zipfile_serialization=not older)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(WeightsError, match=r"x\.pt"):
        load_checkpoint(net(), path)


def test_path_traversal(tmp_path):
    """An archive whose members point out of it is refused."""
    path = tmp_path / "x.pt"
    torch.save(net().state_dict(), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/../../../evil", "x")
    with pytest.raises(WeightsError, match=r"its member 'archive/../../../evil' points out of the archive"):
        load_checkpoint(net(), path)


def test_bomb(tmp_path):
    """An archive that unpacks to far more than it is, is refused before it is unpacked."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(WeightsError, match=r"bytes unpack to 50,000,000, as no checkpoint does"):
        load_checkpoint(net(), path)


def safetensors_bytes(header: object, data: bytes = b"\0" * 16) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**62) + b"{}",
        safetensors_bytes({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 16]}}),
        safetensors_bytes({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 16]}}),
        safetensors_bytes({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 16]}}),
        safetensors_bytes({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 2**60]}}),
        safetensors_bytes({"a": {"dtype": "Q9", "shape": [4], "data_offsets": [0, 16]}}),
        safetensors_bytes(b"[" * 100_000),
    ],
    ids=["empty", "noise", "long header", "overflow", "absurd", "negative", "offsets", "dtype", "nesting"],
)
def test_safetensors_with_absurd_headers(content, tmp_path):
    """A damaged or absurd header is refused."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x.safetensors is no whole safetensors file"):
        load_checkpoint(net(), path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.npz", "x.npz is an empty file"), ("none.pt", "there is no weights file"), ("", "folder")],
)
def test_no_such_file(name, message, tmp_path):
    """A missing file, a folder, another ending."""
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(net(), Path(tmp_path / name))


def test_storage_that_is_too_small(tmp_path):
    """A pickle that claims more numbers than its storage holds is refused."""
    path = tmp_path / "x.pt"
    torch.save({"0.0.weight": torch.ones(4, 3, 3, 3)}, path)
    with zipfile.ZipFile(path) as archive:
        content = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value[:8] if name.endswith("/data/0") else value)
    with pytest.raises(WeightsError, match=r"x\.pt"):
        load_checkpoint(net(), path)
