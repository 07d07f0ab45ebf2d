"""files/kinds.py: a file of a kind that is not read is refused by its own name, as NET and as --weights."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from filterscope.errors import NetworkError, WeightsError
from filterscope.networks import open_network
from filterscope.networks.checkpoints.reading import read_tensors
from filterscope.networks.files.advice import KINDS
from filterscope.networks.files.kinds import kind_of
from filterscope.networks.weights.files import open_weights

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
PAGE = b"\n<!DOCTYPE html><html><title>404</title></html>"


def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())


def scripted(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(module(), torch.zeros(1, 3, 8, 8)), path)


def packed(**members: bytes):
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name.replace("__", "/").replace("_DOT_", "."), content)

    return write


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("x.pt"), io.BytesIO())


def zipped(path: Path) -> None:
    path.write_bytes(gzip.compress(b"x" * 99))


def pictured(path: Path) -> None:
    Image.new("RGB", (4, 4)).save(path, "PNG")


def folder(*names: str):
    def write(path: Path) -> None:
        path.mkdir()
        for name in names:
            (path / name).touch()

    return write


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


CASES = {  # name -> (what is written, its kind)
    "model.onnx": (b"\x08\x07", "onnx"),
    "model.bin": (b"\x08\x08\x12\x07pytorch", "onnx"),
    "lfs.pt": (POINTER, "git-lfs"),
    "lfs.safetensors": (POINTER, "git-lfs"),
    "lfs.keras": (POINTER, "git-lfs"),
    "lfs.h5": (POINTER, "git-lfs"),
    "annex.pt": (b"/annex/objects/MD5E-s9--0.pt\n", "git-annex"),
    "web.pt": (PAGE, "web-page"),
    "web.h5": (PAGE, "web-page"),
    "web.pt2": (b"\xef\xbb\xbf<HTML>", "web-page"),
    "error.pth": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web-page"),
    "index.pt": (b'{"error": "Repository not found"}', "json"),
    "net.ipynb": (b'{\n "cells": [], "nbformat": 4}', "notebook"),
    "script.pt": (scripted, "torchscript"),
    "script.pt2": (scripted, "torchscript"),
    "whole.pt": (lambda p: torch.save(module(), p), "whole-model"),
    "whole-old.pth": (lambda p: torch.save(module(), p, _use_new_zipfile_serialization=False), "whole-model"),
    "whole-4.pt": (lambda p: torch.save(module(), p, pickle_protocol=4), "whole-model"),
    "state.pt": (lambda p: torch.save(module().state_dict(), p), "checkpoint"),
    "plain.pt": (lambda p: torch.save({"state_dict": dict(module().state_dict())}, p), "checkpoint"),
    "state-old.pt": (
        lambda p: torch.save(module().state_dict(), p, _use_new_zipfile_serialization=False), "checkpoint",
    ),
    "state.safetensors": (lambda p: save_file(module().state_dict(), p), "safetensors"),
    "model.pkl": (pickle.dumps(Path("x")), "pickled-model"),
    "data.pickle": (pickle.dumps({"a": 1}), "pickle"),
    "model.gguf": (b"GGUF\x03\0\0\0" + b"\0" * 90, "gguf"),
    "model.tflite": (struct.pack("<I", 28) + b"TFL3" + b"\0" * 90, "tflite"),
    "model.mlmodel": (b"\x08\x05\x12\x07abcdefg", "coreml"),
    "model.mlpackage": (folder("Manifest.json"), "coreml"),
    "model.engine": (b"ftrt" + b"\0" * 90, "tensorrt"),
    "frozen.pb": (b"\n\x10\n\x01x\x12\x0bPlaceholder", "tensorflow-graph"),
    "saved_model": (folder("saved_model.pb", "variables"), "saved-model"),
    "saved_model.pb": (b"\x08\x01\x12\xff", "saved-model"),
    "model.ckpt.data-00000-of-00001": (b"\0" * 90, "tensorflow-checkpoint"),
    "training": (folder("checkpoint", "cp.ckpt.index", "cp.ckpt.data-00000-of-00001"), "tensorflow-checkpoint"),
    "vit": (folder("config.json", "model.safetensors"), "hub-folder"),
    "atlas": (folder("atlas.json"), "atlas"),
    "photographs": (folder("a.jpg"), "folder"),
    "weights.npz": (lambda p: np.savez(p, a=np.zeros(3)), "npz"),
    "weights.npy": (lambda p: np.save(p, np.zeros(3)), "npy"),
    "net.caffemodel": (b"\n\x05VGG16", "caffe"),
    "net.mat": (b"MATLAB 5.0 MAT-file" + b" " * 90, "mat"),
    "net.xml": (b'<?xml version="1.0"?>\n<net name="x" version="11">', "openvino"),
    "yolo.weights": (b"\0\0\0\0\2\0\0\0" + b"\0" * 90, "darknet"),
    "weights.tar": (tarred, "tar"),
    "weights.pt.gz": (zipped, "compressed"),
    "model.zip": (packed(readme=b"x"), "zip"),
    "weights.zip": (packed(), "zip"),
    "model.mar": (packed(**{"MAR-INF__MANIFEST_DOT_json": b"{}"}), "torchserve"),
    "photo.jpg": (pictured, "picture"),
    "paper.pdf": (b"%PDF-1.7", "document"),
    "net.so": (b"\x7fELF" + b"\0" * 90, "library"),
    "empty.onnx": (b"", "empty"),
    "model.hdf": (hdf5, "hdf5"),
    "model.zip.keras.pb": (packed(config_DOT_json=b"{}"), "keras"),
    "program.zip": (packed(x__models__model_DOT_json=b"{}"), "program"),
    "cut.zip": (b"PK\x03\x04" + b"\0" * 20, "damaged-zip"),
    "settings.yaml": (b"a: 1\n", "settings"),
}  # fmt: skip
READ = ("safetensors", "checkpoint", "whole-model", "pickle", "pickled-model", "hdf5", "keras", "program")


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(name: str) -> Path:
        content, _ = CASES[name]
        path = Path(name)
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
        return path

    return make


@pytest.mark.parametrize("name", CASES)
def test_kind(made, name):
    """By its first bytes, whatever it is called, else by its ending."""
    assert kind_of(made(name)) == CASES[name][1]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("before", ["", "./"])
def test_as_net(made, name, before):
    """What it is and what to do."""
    made(name)
    told = KINDS[CASES[name][1]]
    with pytest.raises(NetworkError) as error:
        open_network(before + name)
    assert str(error.value) == f"'{before}{name}' is {told.what}: {told.network.format(name=before + name)}"


@pytest.mark.parametrize("name", [n for n, (_, kind) in CASES.items() if kind not in READ])
@pytest.mark.parametrize("read", [lambda p: open_weights(p, {}), read_tensors], ids=["keras", "torch"])
def test_as_weights(made, name, read):
    """The same of either library's weights, with what to do there."""
    told = KINDS[CASES[name][1]]
    with pytest.raises(WeightsError) as error:
        read(made(name))
    assert str(error.value) == f"{name} is {told.what}: {(told.weights or told.network).format(name=name)}"


@pytest.mark.parametrize(
    ("name", "read", "message"),
    [
        (
            "state.pt",
            lambda p: open_weights(p, {}),
            "a PyTorch checkpoint.*: Keras' networks take .safetensors",
        ),
        (
            "model.zip.keras.pb",
            lambda p: open_weights(p, {}),
            "a whole Keras model: a whole model is NET itself",
        ),
        ("model.hdf", read_tensors, "an HDF5 file"),
        ("program.zip", read_tensors, "a torch.export program: a program is NET itself"),
        ("whole.pt", read_tensors, "reading it would run code"),
        ("model.pkl", read_tensors, "weights of a PyTorch network end in"),
    ],
)
def test_kinds_of_the_other_library(made, name, read, message):
    """A kind that is read elsewhere says where."""
    with pytest.raises(WeightsError, match=message):
        read(made(name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "google/vit-base-patch16-224",
            r"hub.*from_pretrained\('google/.*did you mean 'timm:vit_base_patch16_224'",
        ),
        (
            "hf-hub:timm/resnet50.a1_in1k",
            r"from_pretrained\('timm/resnet50.a1_in1k'\).*'timm:resnet50.a1_in1k'",
        ),
        ("https://huggingface.co/google/vit", "is an address: download the file"),
        ("s3://bucket/model.keras", "is an address"),
        ("model.onnx", "there is no file 'model.onnx'; it would be an ONNX model"),
        ("model.pt", "there is no file 'model.pt'; it would be a PyTorch checkpoint"),
        ("models/model.h5", "there is no model file 'models/model.h5'"),
        ("a/b/c", "there is no model file 'a/b/c'"),
        ("x" * 5000 + ".keras", "there is no model file 'xxx"),
        ("x\0y/z.h5", "there is no model file"),
        ("resnet18", "unknown network 'resnet18'; did you mean 'torchvision:resnet18' or 'timm:resnet18'"),
        ("efficientnet_b0", "did you mean 'efficientnetb0', 'torchvision:efficientnet_b0' or"),
    ],
)
def test_what_is_no_file(tmp_path, monkeypatch, name, message):
    """Addresses, ids of the hub, files that are not there, names of other catalogues."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetworkError, match=message):
        open_network(name)


def test_links_to_nothing(tmp_path):
    """As NET and as weights."""
    link = tmp_path / "w.safetensors"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(NetworkError, match="is a link to a file that is not there"):
        open_network(link)
    with pytest.raises(WeightsError, match="is a link to a file that is not there"):
        open_network("tiny-vgg16", weights=link)


def test_a_folder_of_a_networks_name(tmp_path, monkeypatch):
    """What opens by name does so beside a folder of that name."""
    monkeypatch.chdir(tmp_path)
    Path("tiny-vgg16").mkdir()
    assert open_network("tiny-vgg16").name == "tiny-vgg16"


def test_a_file_that_cannot_be_read(tmp_path):
    """No kind, and no traceback."""
    os.mkfifo(tmp_path / "pipe.onnx")
    assert kind_of(tmp_path / "pipe.onnx") is None
    assert kind_of(tmp_path / "gone.onnx") is None
    assert kind_of(Path("x\0y")) is None


def test_every_kind_is_tried():
    """CASES has each kind that has no other name than its ending, and each text is whole."""
    untried = set(KINDS) - {kind for _, kind in CASES.values()}
    assert untried <= {"ort", "paddle", "mxnet", "flax", "torch7", "rknn", "distributed"}
    for told in KINDS.values():
        assert all("{" not in text.format(name="x") for text in (told.what, told.network, told.weights))
        assert (
            told.what[:1].islower()
            or told.what.split()[0].isupper()
            or told.what.startswith(("Flax", "NumPy", "JSON"))
        )


def test_config_is_json(made):
    """A Keras config alone."""
    Path("model.json").write_text(json.dumps({"class_name": "Functional"}))
    with pytest.raises(NetworkError, match="is JSON text: a config holds no weights"):
        open_network("model.json")
