"""weights.py and hdf5.py: every file format there and back, and everything that can be wrong with a file."""

import hashlib
import json
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from filterscope.errors import NetworkError, WeightsError
from filterscope.networks import open_network
from filterscope.networks.weights.table import sha256_arrays, sha256_file

Tensors = dict[str, np.ndarray]


def tensors_of(model) -> Tensors:
    return {f"{layer.name}/{v.name}": np.asarray(v.numpy()) for layer in model.layers for v in layer.weights}


def write_safetensors(path: Path, tensors: Tensors) -> Path:
    save_file(tensors, path)
    return path


def write_keras3(path: Path, tensors: Tensors, *, named: bool = True) -> Path:
    """As Keras 3 writes: layers/CLASS_N/vars/I, the layer's name beside them since 3.8."""
    counts: dict[str, int] = {}
    with h5py.File(path, "w") as file:
        file.create_group("layers")
        for layer in dict.fromkeys(name.split("/")[0] for name in tensors):
            own = [value for name, value in tensors.items() if name.split("/")[0] == layer]
            kind = "conv2d" if own[0].ndim == 4 else "dense"
            group = kind + (f"_{counts[kind]}" if kind in counts else "")
            counts[kind] = counts.get(kind, 0) + 1
            variables = file.create_group(f"layers/{group}/vars")
            if named:
                variables.attrs["name"] = layer
            for i, value in enumerate(own):
                variables[str(i)] = value
    return path


def write_legacy(path: Path, tensors: Tensors, *, root: str = "") -> Path:
    """As Keras 2 wrote: LAYER/LAYER/kernel:0, the names in attributes."""
    layers = list(dict.fromkeys(name.split("/")[0] for name in tensors))
    with h5py.File(path, "w") as file:
        top = file.create_group(root) if root else file
        top.attrs["layer_names"] = [name.encode() for name in ["picture", *layers]]
        top.create_group("picture").attrs["weight_names"] = np.array([], "S1")
        for layer in layers:
            own = {f"{n}:0": v for n, v in tensors.items() if n.split("/")[0] == layer}
            group = top.create_group(layer)
            group.attrs["weight_names"] = [n.encode() for n in own]
            for name, value in own.items():
                group[name] = value
    return path


WRITERS = {
    "weights.safetensors": write_safetensors,
    "new.weights.h5": write_keras3,
    "unnamed.weights.h5": lambda path, tensors: write_keras3(path, tensors, named=False),
    "legacy.h5": write_legacy,
    "legacy.weights.h5": write_legacy,
    "whole-model.h5": lambda path, tensors: write_legacy(path, tensors, root="model_weights"),
    "notop.hdf5": write_legacy,
}
NAMED = [name for name in WRITERS if not name.startswith("unnamed")]


@pytest.fixture(params=list(WRITERS))
def every(request, tmp_path):
    """A function that writes tensors in one of the formats."""
    return lambda tensors: WRITERS[request.param](tmp_path / request.param, tensors)


@pytest.fixture(params=NAMED)
def named(request, tmp_path):
    """A function that writes tensors in one of the formats that name the layers."""
    return lambda tensors: WRITERS[request.param](tmp_path / request.param, tensors)


@pytest.fixture
def reopened(small_keras, tmp_path):
    """A function that opens the small classifier's graph, its own weights replaced by a file's."""
    small_keras.save(tmp_path / "small.keras")
    return lambda weights: open_network(tmp_path / "small.keras", weights=weights)


@pytest.fixture
def tensors(small_keras) -> Tensors:
    return tensors_of(small_keras)


def loaded(net) -> Tensors:
    """The torch parameters of the whole network, in Keras' layout."""
    net.part("predictions")
    found = {}
    for layer, (child, slots) in net.weights.slots.items():
        for slot in slots:
            value = net.graph.get_submodule(child).get_parameter(slot.parameter).detach()
            back = tuple(int(i) for i in np.argsort(slot.axes)) if slot.axes else None
            found[f"{layer}/{slot.name}"] = (value.permute(back) if back else value).numpy()
    return found


def assert_same(found: Tensors, wanted: Tensors) -> None:
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


# --- there and back -----------------------------------------------------------------------------------------


def test_round_trip(every, reopened, small, tensors):
    """Other numbers in every format arrive unchanged, every layer counts as trained."""
    other = {name: value + 1 for name, value in tensors.items()}
    net = reopened(every(other))
    assert all(row.trained for row in net.layers.values())
    assert_same(loaded(net), other)
    assert net.weights.sha256 != small.weights.sha256


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_what_keras_itself_writes(ending, small_keras, tensors, tmp_path, reopened):
    """Files written by this Keras open."""
    path = tmp_path / f"written{ending}"
    if ending == ".keras":
        small_keras.save(path)
        net = open_network(path)
    else:
        small_keras.save_weights(path)
        net = reopened(path)
    assert_same(loaded(net), tensors)
    assert net.weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert net.weights_file == path.name


def test_live_model(small, small_keras, tensors):
    """A live model's tensors arrive; there is no file; the hash is of the tensors."""
    assert_same(loaded(small), tensors)
    assert small.weights_file is None
    assert small.weights.sha256 == sha256_arrays(tensors) == open_network(small_keras).weights.sha256


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.float32])
def test_number_types(every, reopened, tensors, dtype):
    """Half and double precision are read as float32."""
    net = reopened(every({name: value.astype(dtype) for name, value in tensors.items()}))
    found = loaded(net)
    assert all(value.dtype == np.float32 for value in found.values())
    assert_same(found, {name: value.astype(dtype).astype(np.float32) for name, value in tensors.items()})


def test_bfloat16(reopened, tensors, tmp_path):
    """A bfloat16 safetensors file is read as float32."""
    from safetensors.torch import save_file as save_torch

    path = tmp_path / "half.safetensors"
    save_torch({name: torch.tensor(value).bfloat16() for name, value in tensors.items()}, path)
    wanted = {name: torch.tensor(value).bfloat16().float().numpy() for name, value in tensors.items()}
    assert_same(loaded(reopened(path)), wanted)


def test_order_of_tensors_does_not_matter(reopened, tensors, tmp_path):
    """Kernel and bias are told apart whatever their order in the file."""
    net = reopened(write_safetensors(tmp_path / "x.safetensors", dict(reversed(tensors.items()))))
    assert_same(loaded(net), tensors)


def test_only_what_is_needed_is_read(vgg16_file, monkeypatch):
    """A layer's tensors are read when a target first needs them, once, and no others."""
    net = open_network("vgg16", weights=vgg16_file)
    assert net.loaded == set()
    net.part("block1_conv1")
    assert "block1_conv2" not in net.loaded
    assert all(p.is_meta for p in net.graph.layer_block1_conv2.parameters())
    monkeypatch.setattr(
        "filterscope.networks.weights.table.np.isfinite", lambda array: pytest.fail("read twice")
    )
    net.part("block1_conv1")


# --- only some layers ---------------------------------------------------------------------------------------


def test_partial_coverage(named, reopened, tensors):
    """A file may cover some layers; their parts are ready."""
    net = reopened(named({n: v for n, v in tensors.items() if n.startswith("conv1")}))
    assert [n for n, row in net.layers.items() if row.trained and row.parameters] == ["conv1"]
    assert np.array_equal(
        net.part("pool").graph.layer_conv1.conv.weight.permute(2, 3, 1, 0).numpy(), tensors["conv1/kernel"]
    )


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({}, r"holds no weights for any layer of this network"),
        ({"conv1/kernel": (3, 3, 3, 4)}, r"lacks conv1/bias, expected with shape \[4\]"),
        (
            {"conv1/kernel": (3, 3, 3, 8)},
            r"another architecture: conv1/kernel has shape \[3, 3, 3, 8\], expected \[3, 3, 3, 4\]",
        ),
        (
            {"conv1/kernel": (5, 5, 3, 4), "conv1/bias": (9,)},
            r"conv1/kernel has shape \[5, 5, 3, 4\], expected \[3, 3, 3, 4\]",
        ),
        ({"conv1/kernel": (3, 3, 3, 4), "conv1/bias": (9,)}, r"conv1/bias has shape \[9\], expected \[4\]"),
        (
            {"conv9/kernel": (3, 3, 3, 4), "conv9/bias": (4,)},
            r"another architecture: conv9/.* \[3, 3, 3, 4\] is not in this network",
        ),
        (
            {"conv1/kernel": (3, 3, 3, 4), "conv1/bias": (4,), "conv1/gamma": (4,)},
            r"another architecture: conv1/.* \[4\] is not in this network",
        ),
        ({"conv1/kernel": (36, 3)}, r"conv1/kernel has shape \[36, 3\], expected \[3, 3, 3, 4\]"),
    ],
)
def test_another_architecture(named, reopened, kept, message):
    """The first mismatch is named: tensor, shape found, shape expected."""
    tensors = {name: np.zeros(shape, np.float32) for name, shape in kept.items()}
    with pytest.raises(WeightsError, match=message):
        reopened(named(tensors))


@pytest.mark.parametrize("kind", ["kernel of another shape", "fewer layers"])
def test_another_architecture_without_names(reopened, tensors, tmp_path, kind):
    """In files without names the classes and their order stand for them; shapes still decide."""
    if kind == "fewer layers":
        tensors = {n: v for n, v in tensors.items() if not n.startswith("conv1")}
        message = r"conv1/kernel has shape \[3, 3, 4, 6\], expected \[3, 3, 3, 4\]"
    else:
        tensors["conv2/kernel"] = np.zeros((1, 1, 4, 6), np.float32)
        message = r"conv2/kernel has shape \[1, 1, 4, 6\], expected \[3, 3, 4, 6\]"
    with pytest.raises(WeightsError, match=message):
        reopened(write_keras3(tmp_path / "x.weights.h5", tensors, named=False))


# --- damaged ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(every, reopened, tensors, value):
    """NaN and infinite values are counted and their tensor named, when the layer is needed."""
    tensors = {n: v.copy() for n, v in tensors.items()}
    tensors["conv2/bias"][[1, 3]] = value
    net = reopened(every(tensors))
    net.part("conv1")
    with pytest.raises(WeightsError, match="is damaged: conv2/bias holds 2 values that are NaN or infinite"):
        net.part("predictions")


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.99])
def test_cut_short(every, reopened, tensors, share):
    """A file cut short anywhere is refused by name, when it is opened or when the layer is needed."""
    path = every(tensors)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(WeightsError, match=rf"{path.name} is (no whole|damaged)"):
        loaded(reopened(path))


@pytest.mark.parametrize("name", ["x.safetensors", "x.weights.h5", "x.h5"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 4096, b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_not_that_format(reopened, tmp_path, name, content):
    """A file with another content than its name says is refused."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} is no whole"):
        reopened(tmp_path / name)


def test_header_that_lies(reopened, tmp_path):
    """A safetensors header that points outside the file is refused."""
    header = json.dumps(
        {"conv1/kernel": {"dtype": "F32", "shape": [3, 3, 3, 4], "data_offsets": [0, 432]}}
    ).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 10)
    with pytest.raises(WeightsError, match=r"x\.safetensors is no whole safetensors file"):
        reopened(tmp_path / "x.safetensors")


def test_hdf5_without_layer_names(reopened, tmp_path):
    """An HDF5 file that is no weights file is refused."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"no whole HDF5 weights file.*it lists no layer_names"):
        reopened(tmp_path / "x.h5")


def test_hdf5_that_points_elsewhere(reopened, tensors, tmp_path):
    """A link into another file is not followed."""
    path = write_keras3(tmp_path / "x.weights.h5", tensors)
    write_legacy(tmp_path / "secret.h5", tensors)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "conv1/conv1/kernel:0")
    with pytest.raises(WeightsError, match="points into another file, which is refused"):
        reopened(path)


def test_hdf5_with_a_folder_for_a_tensor(reopened, tensors, tmp_path):
    """A group where a tensor should be is refused."""
    path = write_keras3(tmp_path / "x.weights.h5", tensors)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        file.create_group("layers/conv2d/vars/0")
    with pytest.raises(WeightsError, match="layers/conv2d/vars/0 is no tensor"):
        reopened(path)


def test_a_number_type_that_numpy_lacks(reopened, tensors, tmp_path):
    """An eight-bit float tensor is refused by name."""
    from safetensors.torch import save_file as save_torch

    path = tmp_path / "eight.safetensors"
    save_torch({name: torch.tensor(value).to(torch.float8_e4m3fn) for name, value in tensors.items()}, path)
    with pytest.raises(WeightsError, match=r"eight\.safetensors is damaged: conv1/kernel cannot be read"):
        loaded(reopened(path))


def test_numbers_that_are_no_numbers(reopened, tensors, tmp_path):
    """A tensor of text is refused by name."""
    tensors = {n: v for n, v in tensors.items() if n != "conv1/bias"}
    path = write_legacy(tmp_path / "x.h5", {**tensors, "conv1/bias": np.array([b"a", b"b", b"c", b"d"])})
    with pytest.raises(WeightsError, match="conv1/bias"):
        loaded(reopened(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.safetensors", "there is no weights file '.*missing.safetensors'"),
        ("folder", "is a folder: name a file in it"),
        ("weights.pth", "'weights.pth': a weights file ends in .safetensors, .weights.h5, .h5"),
        ("weights", "'weights': a weights file ends in"),
    ],
)
def test_no_weights_file(reopened, tmp_path, name, message):
    """What is missing, a folder or of no known ending is refused with the endings."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "weights.pth").write_bytes(b"x")
    (tmp_path / "weights").write_bytes(b"x")
    with pytest.raises(WeightsError, match=message):
        reopened(tmp_path / name)


def test_the_word_random(reopened):
    """It is a word for networks by name, not a file that is looked for in vain."""
    with pytest.raises(NetworkError, match="has weights of its own: leave out weights='random'"):
        reopened("random")


def test_file_that_goes_away(reopened, tensors, tmp_path):
    """A file deleted after it was opened is an error of ours, not a traceback."""
    path = write_safetensors(tmp_path / "x.safetensors", tensors)
    net = reopened(path)
    path.unlink()
    with pytest.raises(WeightsError, match=r"x\.safetensors is damaged: conv1/kernel cannot be read"):
        net.part("conv1")


# --- hashes -------------------------------------------------------------------------------------------------


def test_sha256_of_a_file(tmp_path):
    """As sha256sum prints it."""
    (tmp_path / "x").write_bytes(b"abc" * 1000)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(b"abc" * 1000).hexdigest()


def test_sha256_of_tensors(tensors):
    """Names, shapes and values count, the order does not."""
    same = sha256_arrays(dict(reversed(tensors.items())))
    assert same == sha256_arrays(tensors)
    name = "conv1/bias"
    changed = [
        {**tensors, name: tensors[name] + 1},
        {**tensors, name: tensors[name].reshape(2, 2)},
        {n.replace("conv1", "conv3"): v for n, v in tensors.items()},
    ]
    assert len({same, *map(sha256_arrays, changed)}) == 4


def test_sha256_of_complex_tensors():
    """The imaginary part counts."""
    values = np.array([1 + 2j], np.complex64)
    assert len({sha256_arrays({"w": v}) for v in (values, values.conj(), values.real)}) == 3


def test_the_embedded_file(tiny, tiny_file):
    """The embedded network's hash is its file's; all its tensors are finite and used."""
    assert tiny.weights.sha256 == sha256_file(tiny_file)
    found = load_file(tiny_file)
    assert sum(v.size for v in found.values()) == sum(row.parameters for row in tiny.layers.values())
    assert all(np.isfinite(v).all() for v in found.values())
