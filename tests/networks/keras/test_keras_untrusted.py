"""Model and weights files that nobody vouches for: nothing in them runs, and what is absurd is refused in words."""

import contextlib
import json
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from filterscope.errors import FilterscopeError, NetworkError, WeightsError
from filterscope.networks import open_network
from filterscope.networks.keras.build import read_graph

PICTURE = {"class_name": "InputLayer", "config": {"name": "picture", "batch_shape": [None, 8, 8, 3]}}
MARK = "the-file-ran-its-code"


def model_file(path: Path, *layers_: dict, weights: bytes | None = None, **members: bytes) -> Path:
    """A `.keras` file of a Sequential with these layers."""
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": [PICTURE, *layers_]}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
        if weights is not None:
            archive.writestr("model.weights.h5", weights)
        for name, value in members.items():
            archive.writestr(name, value)
    return path


def layer(kind: str, name: str = "odd", **config) -> dict:
    return {"class_name": kind, "config": {"name": name, **config}}


CONV = {
    "filters": 4,
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "dilation_rate": [1, 1],
    "padding": "same",
    "use_bias": True,
}
CODE = f"open({MARK!r}, 'w').close()"


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path, monkeypatch):
    """No test leaves the mark of code that ran, and no module was imported for a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_module.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    assert not (tmp_path / MARK).exists()


# --- code ---------------------------------------------------------------------------------------------------


def test_lambda_layer(tmp_path):
    """A Lambda, whose function Keras keeps as marshalled code, is refused; it is not so much as unpacked."""
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Lambda(lambda x: x * 2, name="twice")])
    for name in ("x.keras", "x.h5"):
        model.save(tmp_path / name)
        with pytest.raises(
            NetworkError,
            match="layer 'twice' is a Lambda: it holds code, and code of a model file is never run",
        ):
            open_network(tmp_path / name)


def test_lambda_as_an_activation(tmp_path):
    """The same inside another layer."""
    code = {"class_name": "__lambda__", "config": {"value": "4wAAAAA=", "defaults": None, "closure": None}}
    path = model_file(tmp_path / "x.keras", layer("Conv2D", **CONV, activation=code))
    with pytest.raises(NetworkError, match=r"layer 'odd' \(Conv2D\): it has a lambda for its activation"):
        open_network(path)


FUNCTIONS = [
    {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
    {"module": "evil_module", "class_name": "function", "config": "relu_", "registered_name": "relu_"},
    "evil_module.run",
    "__import__('os').system('true')",
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_by_name(tmp_path, function):
    """A function named in a config is looked up in a table, never imported."""
    path = model_file(tmp_path / "x.keras", layer("Conv2D", **CONV, activation=function))
    with pytest.raises(NetworkError, match=r"layer 'odd' \(Conv2D\): activation .* has no counterpart here"):
        open_network(path)


@pytest.mark.parametrize(
    ("module", "registered"),
    [
        ("evil_module", None),
        ("evil_module", "Evil>Conv2D"),
        (None, "Evil>Conv2D"),
        ("keras.layers", "Evil>Conv2D"),
        ("os", "x"),
    ],
)
def test_classes_of_their_own(tmp_path, module, registered):
    """A class that is not Keras' own is refused, also where it is called as one of Keras' is."""
    entry = {**layer("Conv2D", **CONV), "module": module, "registered_name": registered}
    with pytest.raises(
        NetworkError, match=r"layer 'odd' is of a class of its own.*code of a model file is never run"
    ):
        open_network(model_file(tmp_path / "x.keras", entry))


@pytest.mark.parametrize(
    "kind", ["TFOpLambda", "SlicingOpLambda", "TimeDistributed", "Wrapper", "TFSMLayer", "Evil"]
)
def test_other_classes(tmp_path, kind):
    """Classes with no counterpart here, among them those that load more files, are refused by name."""
    entry = layer(kind, function="evil_module.run", filepath="/etc/passwd", layer=layer("Dense", "inner"))
    with pytest.raises(NetworkError, match=rf"layer 'odd'.*{kind}"):
        open_network(model_file(tmp_path / "x.keras", entry))


def test_names_are_no_code(tmp_path):
    """Names of layers with quotes, newlines, dots and brackets go into the graph as letters and numbers."""
    name = f"""x"); {CODE}; self.y = getattr(self, "z"""
    model_file(tmp_path / "x.keras", layer("ReLU", name), layer("Conv2D", "a\n\\'.b[0]²", **CONV))
    graph = read_graph(json.loads(zipfile.ZipFile(tmp_path / "x.keras").read("config.json")))
    assert list(graph.layers) == ["picture", name, "a\n\\'.b[0]²"]
    assert MARK not in graph.graph.code


# --- archives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "assets/../../evil", "C:\\evil", "..\\evil"])
def test_members_that_lead_out(tmp_path, name):
    """A member whose path leads out of the archive: refused, nothing written."""
    (tmp_path / "inside").mkdir()
    path = model_file(tmp_path / "inside" / "x.keras", layer("ReLU"), **{name: b"x"})
    with pytest.raises(NetworkError, match=r"x.keras is refused: its member '.*' leads out of the archive"):
        open_network(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil_module.py", "inside"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_twice(tmp_path):
    """Two configs: which one counts is not guessed."""
    path = model_file(tmp_path / "x.keras", layer("ReLU"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(NetworkError, match=r"x.keras is refused: it holds 'config.json' twice"):
        open_network(path)


def test_too_many_members(tmp_path):
    """An archive of ever so many members."""
    path = model_file(tmp_path / "x.keras", layer("ReLU"), **{f"m{i}": b"" for i in range(10_001)})
    with pytest.raises(NetworkError, match="it holds 10003 members, more than 10000"):
        open_network(path)


def test_bomb_for_a_config(tmp_path):
    """A config of 200 MB of blanks in 200 kB: not unpacked."""
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 200_000_000)
    with pytest.raises(
        NetworkError, match=r"refused: its config.json claims 200000000 bytes packed into \d+"
    ):
        open_network(tmp_path / "x.keras")


@pytest.mark.parametrize("size", [20_000_000, 100_000_000])
def test_bomb_for_weights(tmp_path, size):
    """Weights that unpack to far more than the model wants, or than they are packed into: not unpacked."""
    path = model_file(tmp_path / "x.keras", layer("Conv2D", **CONV), weights=b"\0" * size)
    with pytest.raises(
        WeightsError, match=rf"refused: its model.weights.h5 claims {size} bytes packed into \d+"
    ):
        open_network(path)


def test_size_that_lies(tmp_path):
    """A member that unpacks to more than it says is read no further than it says."""
    path = model_file(tmp_path / "x.keras", layer("ReLU"))
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        data[data.index(mark) + offset : data.index(mark) + offset + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(NetworkError, match=r"x.keras is no whole .keras file|no whole JSON"):
        open_network(path)


# --- configs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_deeply_nested_json(tmp_path, ending):
    """A config of a million brackets."""
    text = "[" * 1_000_000
    if ending == "keras":
        with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
            archive.writestr("config.json", text)
    else:
        with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
            file.attrs["model_config"] = np.bytes_(text[:60_000])
    with pytest.raises(NetworkError, match="is no whole JSON"):
        open_network(tmp_path / f"x.{ending}")


def test_deeply_nested_arguments(tmp_path):
    """Arguments that lie too deep for the reader, though not for JSON."""
    args: list = []
    for _ in range(150):
        args = [{"a": [args]}]
    entry = {"class_name": "Add", "module": "keras.src.ops.numpy", "name": "b", "config": {"name": "b"}}
    config = {
        "layers": [
            {**PICTURE, "name": "picture", "inbound_nodes": []},
            {**entry, "inbound_nodes": [{"args": args, "kwargs": {}}]},
        ],
        "input_layers": ["picture", 0, 0],
        "output_layers": ["b", 0, 0],
    }
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": config}))
    with pytest.raises(NetworkError):
        open_network(tmp_path / "x.keras")


def test_models_within_models_without_end(tmp_path):
    """Models within models within models ..."""
    entry = layer("ReLU", "end")
    for depth in range(40):
        entry = layer("Sequential", f"m{depth}", layers=[PICTURE, entry])
    with pytest.raises(NetworkError, match="models lie within models more than 16 deep"):
        open_network(model_file(tmp_path / "x.keras", entry))


ABSURD = [
    layer("Conv2D", **{**CONV, "filters": 10**9}),
    layer("Conv2D", **{**CONV, "filters": 10**30}),
    layer("Conv2D", **{**CONV, "filters": -4}),
    layer("Conv2D", **{**CONV, "filters": "4; import os"}),
    layer("Conv2D", **{**CONV, "kernel_size": [10**6, 10**6]}),
    layer("Conv2D", **{**CONV, "strides": [0, 0]}),
    layer("Conv2D", **{**CONV, "groups": 0}),
    layer("Conv2D", **{**CONV, "dilation_rate": [10**12, 1]}),
    layer("Dense", units=2**40, use_bias=False),
    layer("Dense", units=float("inf"), use_bias=False),
    layer("ZeroPadding2D", padding=[[0, 10**9], [0, 10**9]]),
    layer("UpSampling2D", size=[10**6, 10**6]),
    layer("Resizing", height=10**6, width=10**6),
    layer("Reshape", target_shape=[10**9, -1]),
    layer("MaxPooling2D", pool_size=[10**9, 10**9], padding="valid"),
    layer("Cropping2D", cropping=100),
    layer("EinsumDense", equation="...c,cd->...d", output_shape=[10**12], bias_axes="d"),
    layer("GroupNormalization", groups=10**9),
    layer("Permute", dims=[9, 9, 9]),
    layer("Concatenate", axis=0),
    layer("PReLU", shared_axes=[10**6, "x"]),
]


@pytest.mark.parametrize("entry", ABSURD, ids=lambda entry: json.dumps(entry)[:70])
def test_absurd_layers(tmp_path, entry):
    """Sizes beyond reason, or none, are refused with the layer's name before any memory is taken."""
    with pytest.raises(NetworkError, match="layer 'odd'"):
        open_network(model_file(tmp_path / "x.keras", entry))


@pytest.mark.parametrize(
    "shape", [[None, 10**6, 10**6, 3], [None, 8, 8, 10**9], [None, 8, 8, 0], [None, -8, 8, 3], [None, 8]]
)
def test_absurd_pictures(tmp_path, shape):
    """Of an input beyond reason, too."""
    entry = {"class_name": "InputLayer", "config": {"name": "picture", "batch_shape": shape}}
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": [entry, layer("ReLU")]}}
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    with pytest.raises(NetworkError, match=r"'picture'|'odd'"):
        open_network(tmp_path / "x.keras")


def test_a_graph_that_runs_in_a_circle():
    """A layer that feeds itself; a layer that is not there."""

    def config(first: str, second: str) -> dict:
        rows = [{**PICTURE, "name": "picture", "inbound_nodes": []}]
        for name, source in (("a", first), ("b", second)):
            rows.append({**layer("ReLU", name), "name": name, "inbound_nodes": [[[source, 0, 0, {}]]]})
        return {"layers": rows, "input_layers": [["picture", 0, 0]], "output_layers": [["b", 0, 0]]}

    with pytest.raises(NetworkError, match="graph runs in a circle at layer 'a'"):
        read_graph({"class_name": "Functional", "config": config("b", "a")})
    with pytest.raises(NetworkError, match="names a layer 'c' that the model does not have"):
        read_graph({"class_name": "Functional", "config": config("picture", "c")})


# --- HDF5 ---------------------------------------------------------------------------------------------------


@pytest.fixture
def model(keras_with_weights):
    """A convolution of 12 million weights, which a file may claim to hold."""
    return keras.Sequential(
        [keras.Input((8, 8, 3), name="picture"), layers.Conv2D(2048, 45, padding="same", name="conv")]
    )


def written(path: Path, make) -> Path:
    """A `.weights.h5` of the model, its kernel made by `make(group)`."""
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = "conv"
        make(group)
        group["1"] = np.zeros(2048, "f4")
    return path


SHAPE = (45, 45, 3, 2048)


def test_tensors_that_are_not_there(model, tmp_path):
    """A tensor of which nothing is stored (HDF5 would make it up from a fill value) is refused, not allocated."""
    path = written(tmp_path / "x.weights.h5", lambda g: g.create_dataset("0", SHAPE, "f4", fillvalue=1.0))
    assert path.stat().st_size < 100_000
    with pytest.raises(
        WeightsError,
        match="layers/conv2d/vars/0 claims 45 x 45 x 3 x 2048 values, and the file does not hold them",
    ):
        open_network(model, weights=path)


def test_tensors_packed_beyond_reason(model, tmp_path):
    """Fifty megabytes of one value in fifty kilobytes."""
    path = written(
        tmp_path / "x.weights.h5",
        lambda g: g.create_dataset("0", SHAPE, "f4", np.zeros(SHAPE, "f4"), compression=9),
    )
    with pytest.raises(
        WeightsError, match="claims 45 x 45 x 3 x 2048 values, and the file does not hold them"
    ):
        open_network(model, weights=path)


def test_tensors_of_absurd_shape(model, tmp_path):
    """A shape beyond all memory."""
    path = written(tmp_path / "x.weights.h5", lambda g: g.create_dataset("0", (2**40, 2**20), "f4"))
    with pytest.raises(WeightsError, match="claims 1099511627776 x 1048576 values"):
        open_network(model, weights=path)


def test_tensors_in_other_files(model, tmp_path):
    """Virtual and external tensors would read any file of the person's: refused."""
    (tmp_path / "secret").write_bytes(b"secret" * 100)
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[0, 0, 0] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (2048,))
    makers = [
        lambda g: g.create_virtual_dataset("0", layout),
        lambda g: g.create_dataset("0", (100,), "u1", external=[(str(tmp_path / "secret"), 0, 100)]),
    ]
    for make in makers:
        path = written(tmp_path / "x.weights.h5", make)
        with pytest.raises(WeightsError, match="layers/conv2d/vars/0 lies in another file, which is refused"):
            open_network(model, weights=path)


@pytest.mark.parametrize("place", ["layers", "layers/conv2d", "layers/conv2d/vars", "layers/conv2d/vars/0"])
@pytest.mark.parametrize("kind", ["external", "soft"])
def test_links(model, tmp_path, place, kind):
    """A link is not followed wherever on a tensor's path it lies."""
    written(tmp_path / "other.h5", lambda g: g.create_dataset("0", SHAPE, "f4", np.ones(SHAPE, "f4")))
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        if kind == "external":
            file[place] = h5py.ExternalLink(str(tmp_path / "other.h5"), place)
        else:
            with h5py.File(tmp_path / "other.h5") as other:
                other.copy("layers", file, "elsewhere")
            file[place] = h5py.SoftLink("/elsewhere" + place.removeprefix("layers"))
        if place.endswith("0"):
            file["layers/conv2d/vars"].attrs["name"] = "conv"
            file["layers/conv2d/vars/1"] = np.zeros(2048, "f4")
    with pytest.raises(
        WeightsError, match=r"points into another file, which is refused|is a link, which is refused"
    ):
        open_network(model, weights=tmp_path / "x.weights.h5")


def test_groups_that_hold_themselves(model, tmp_path):
    """A hard link back to its own group would be walked for ever."""
    path = written(tmp_path / "x.weights.h5", lambda g: g.create_dataset("0", data=np.zeros(3, "f4")))
    with h5py.File(path, "a") as file:
        file["layers/conv2d/again"] = file["layers/conv2d"]
        file["layers/conv2d/layers"] = file["layers"]
    with pytest.raises(WeightsError, match="its groups lie more than 64 deep"):
        open_network(model, weights=path)


def test_names_of_layers_in_other_files(model, tmp_path):
    """Of the older format, too: a layer's name that leads through a link."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        group = file.create_group("conv")
        group.attrs["weight_names"] = [b"kernel:0"]
        group["kernel:0"] = np.zeros(3)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file["conv"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "conv")
    with pytest.raises(WeightsError, match="conv points into another file, which is refused"):
        open_network(model, weights=tmp_path / "x.h5")


def test_bytes_at_random(small_keras, tmp_path):
    """Two hundred files with bytes changed at random: opened or refused in words, never a traceback."""
    rng = np.random.default_rng(0)
    whole = {}
    for name in ("x.keras", "x.h5"):
        small_keras.save(tmp_path / name)
        whole[name] = (tmp_path / name).read_bytes()
    for i in range(200):
        name = ("x.keras", "x.h5")[i % 2]
        data = bytearray(whole[name])
        for place in rng.integers(0, len(data), 1 + i // 20):
            data[place] = rng.integers(0, 256)
        (tmp_path / f"odd{i}{name}").write_bytes(data)
        with contextlib.suppress(FilterscopeError):
            open_network(tmp_path / f"odd{i}{name}").part("predictions")
