"""standins.py: checkpoints that hold more than tensors are read, and nothing of theirs is made or run."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import functools
import io
import logging
import pathlib
import pickle
import time

import numpy as np
import pytest
import torch
from torch import nn

from filterscope.cli import main
from filterscope.errors import WeightsError
from filterscope.networks import open_network
from filterscope.networks.checkpoints.arrays import ArrayKind, ArrayNumbers
from filterscope.networks.checkpoints.standins import StandIn, Unpickler, read_with_standins
from filterscope.networks.pytorch.checkpoint import load_checkpoint
from filterscope.rerun import draw_again

MADE = []


class Settings:
    """A configuration object that would note that it was made."""

    def __init__(self):
        self.depth = 3

    def __setstate__(self, state):
        MADE.append(state)

    def __reduce__(self):
        return (make, (3,), {"depth": 3})


def make(depth):
    MADE.append(depth)
    return Settings()


class Kind(enum.Enum):
    SMALL = 1


@dataclasses.dataclass
class Options:
    rate: float = 0.1
    places: list = dataclasses.field(default_factory=list)


class Easy(dict):
    """A dictionary of another class, as configuration libraries have."""


Row = collections.namedtuple("Row", "a b")

SETTINGS = {
    "a path": pathlib.PurePosixPath("/data"),
    "a path of here": pathlib.Path("data"),
    "a date": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "a span": datetime.timedelta(3),
    "a namespace": argparse.Namespace(data=pathlib.Path("x"), lr=0.1),
    "an object": Settings(),
    "a kind": Kind.SMALL,
    "a dataclass": Options(places=[pathlib.Path("x")]),
    "a named tuple": Row(1, 2),
    "a partial": functools.partial(make, 3),
    "a function": make,
    "a class": Settings,
    "another dictionary": Easy(a=Easy(b=1)),
    "a default dictionary": collections.defaultdict(list, a=[1]),
    "a deque": collections.deque([1]),
    "an array": np.arange(6).reshape(2, 3),
    "a set": {1, pathlib.Path("x")},
    "a slice": slice(1, 2),
    "a device": torch.device("cpu"),
    "a module": nn.Conv2d(1, 1, 1),
    "a generator": np.random.default_rng(0),
}


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()


@pytest.mark.parametrize("older", [False, True], ids=["zip", "older"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_beside_the_weights(kind, older, tmp_path):
    """The weights are read as they are; nothing else was made, in any of torch's formats and of pickle's."""
    trained, fresh, path = net(1), net(2), tmp_path / "x.ckpt"
    for protocol in (2, 4):
        MADE.clear()
        content = {
            "hyper_parameters": {"setting": SETTINGS[kind], "list": [SETTINGS[kind]]},
            "state_dict": {f"model.{n}": t for n, t in trained.state_dict().items()},
            SETTINGS[kind] if kind == "a path" else "last": 1,
        }
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not older)
        assert load_checkpoint(fresh, path).trained is None
        assert all(torch.equal(v, fresh.state_dict()[n]) for n, v in trained.state_dict().items())
        assert not MADE


def test_parameters_and_shared_numbers(tmp_path):
    """Parameters, views, integers and half precision, as torch itself reads them."""
    whole = torch.arange(24.0)
    state = {
        "a": nn.Parameter(torch.ones(2, 3)), "b": whole[4:10].view(2, 3), "c": torch.tensor(3), "d": whole.half(),
        "e": torch.ones(2, 3).t(), "f": torch.ones(2, dtype=torch.bfloat16),
    }  # fmt: skip
    torch.save({"state_dict": state, "path": pathlib.Path("x")}, tmp_path / "x.pt")
    found = read_with_standins(tmp_path / "x.pt")
    for name, tensor in state.items():
        assert torch.equal(found["state_dict"][name], tensor), name
        assert not found["state_dict"][name].requires_grad
    assert isinstance(found["path"], StandIn)


ARRAYS = {
    "plain": lambda v: v,
    "by columns": np.asfortranarray,
    "half": lambda v: v.astype("f2") if v.dtype.kind == "f" else v,
    "double": lambda v: v.astype("f8") if v.dtype.kind == "f" else v,
    "the other way round": lambda v: v.astype(v.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("way", ["zip", "older", 2, 4, 5])
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_in_place_of_tensors(kind, way, tmp_path):
    """Saved by torch or by pickle itself, they are read as the same numbers."""
    trained, fresh, path = net(1), net(2), tmp_path / "x.pth"
    state = {"model": {n: ARRAYS[kind](t.numpy()) for n, t in trained.state_dict().items()}, "epoch": 3}
    if isinstance(way, int):
        path.write_bytes(pickle.dumps(state, protocol=way))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=way == "zip")
    assert load_checkpoint(fresh, path).trained is None
    assert all(torch.allclose(v, fresh.state_dict()[n], atol=1e-3) for n, v in trained.state_dict().items())


def test_arrays_of_objects(tmp_path):
    """What is no number is refused, with what to do."""
    torch.save({"0.weight": np.array([object()])}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"holds NumPy arrays and something .* save them as tensors"):
        load_checkpoint(net(), tmp_path / "x.pth")


@pytest.mark.parametrize("shape", [(4,), (2**40,), (-1,), "3", (True,), (2.0,)])
@pytest.mark.parametrize("name", ["f4", "O", "V4", "M8[s]", 7, "f4,f4"])
def test_arrays_that_are_none(name, shape):
    """A shape without its bytes, and what is no number, becomes no tensor."""
    kind = ArrayKind(name)
    assert ArrayNumbers((1, shape, kind, False, b"123")).tensor() is None
    assert ArrayNumbers((1, (1,), "f4", False, b"1234")).tensor() is None
    assert ArrayNumbers("1").tensor() is None


# --- what would harm --------------------------------------------------------------------------------------------


def by_hand(*operations: bytes) -> bytes:
    return b"\x80\x02" + b"".join(operations) + b"."


def name_of(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


@pytest.mark.parametrize(
    "asked",
    [
        ("os", "system"),
        ("posix", "mkdir"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
    ],
)
def test_what_would_harm_is_refused(asked, tmp_path):
    """A file that asks for it beside its weights is not read at all, though nothing of it would run."""
    path = tmp_path / "x.pt"
    state = pickle.dumps({"a": 1}, 2)[2:-1]
    path.write_bytes(
        by_hand(b"}(", b"X\x01\x00\x00\x00s", state, b"X\x01\x00\x00\x00t", name_of(*asked), b")Ru")
    )
    with pytest.raises(WeightsError, match=r"is refused: reading it would run code .*\." + asked[1]):
        load_checkpoint(net(), path)


@pytest.mark.parametrize(
    "asked", [("torch", "load"), ("torch.hub", "load"), ("builtins", "getattr"), ("builtins", "bytearray"),
              ("torch._utils", "_rebuild_from_type"), ("codecs", "decode"), ("torch.nn.parameter", "Parameter")],
)  # fmt: skip
def test_whatever_is_called_is_inert(asked):
    """Called, instantiated, given a state, items and members, in every way that a pickle has."""
    ways = [
        (name_of(*asked), b"(K\x01tR"), (name_of(*asked), b")\x81"), (name_of(*asked), b")}\x92"),
        (b"(", name_of(*asked), b"K\x01o"), (b"(K\x01i" + f"{asked[0]}\n{asked[1]}\n".encode(),),
    ]  # fmt: skip
    later = [
        b"",
        b"}(X\x01\x00\x00\x00aK\x01ub",
        b"N}X\x01\x00\x00\x00aK\x01s\x86b",
        b"K\x01a",
        b"(K\x01K\x02e",
        b"(K\x01K\x02u",
    ]
    for way in ways:
        for after in later:
            proto = b"\x80\x04" if b"\x92" in way[-1] else b"\x80\x02"
            found = Unpickler(io.BytesIO(proto + b"".join(way) + after + b".")).load()
            assert isinstance(found, StandIn), (asked, way, after)


def test_functions_of_torch_stay_as_they_are():
    """A state that is set on what makes tensors changes nothing of it."""
    before = torch._utils._rebuild_tensor_v2.__defaults__
    state = b"N}X\x0c\x00\x00\x00__defaults__)s\x86b"
    Unpickler(io.BytesIO(by_hand(name_of("torch._utils", "_rebuild_tensor_v2"), state))).load()
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


def test_no_key_takes_for_ever():
    """A tuple of itself, forty times over, as a key or in a set, would be hashed until the sun goes out."""
    nested = b")" + b"2\x86" * 40
    keys = [b"}" + nested + b"K\x01s", b"}(" + nested + b"K\x01u", b"(" + nested + b"K\x01d"]
    for text in (*keys, b"\x8f(" + nested + b"\x90", b"(" + nested + b"\x91"):
        begun = time.monotonic()
        Unpickler(io.BytesIO(b"\x80\x04" + text + b".")).load()
        assert time.monotonic() - begun < 1


# --- which of several ---------------------------------------------------------------------------------------------

OWN = (
    "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))\n"
)


@pytest.fixture
def two(tmp_path, monkeypatch):
    """A checkpoint of a student and a teacher, a model and its running mean, beside the file that makes the network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text(OWN)
    torch.save({"student": net(1).state_dict(), "teacher": net(2).state_dict()}, "two.pth")
    torch.save({"ema": {"state_dict": net(2).state_dict()}, "model": net(1).state_dict()}, "ema.pth")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "first", "other"), [("two.pth", "student", "teacher"), ("ema.pth", "model", "ema.state_dict")]
)
def test_which_was_taken_is_said(two, caplog, file, first, other):
    """In one line, with how to take the other; asked for by name, nothing is said."""
    caplog.set_level(logging.WARNING, logger="filterscope")
    taken = open_network("net.py:make", weights=file, range=(0, 1), size=16)
    (said,) = caplog.messages
    assert f"under '{first}'; it holds others under '{other}'" in said
    assert f"weights='{file}#{other}'" in said
    caplog.clear()
    chosen = open_network("net.py:make", weights=f"{file}#{other}", range=(0, 1), size=16)
    assert not caplog.messages
    x = torch.rand(1, 3, 16, 16)
    assert torch.allclose(taken.part("0")(x).output, net(1)[0](x), atol=1e-6)
    assert torch.allclose(chosen.part("0")(x).output, net(2)[0](x), atol=1e-6)
    assert taken.weights.sha256 != chosen.weights.sha256


def test_a_part_that_is_not_there(two):
    """It is refused with the nearest."""
    with pytest.raises(
        WeightsError, match=r"two.pth holds no tensors under 'teachr'; did you mean 'teacher'"
    ):
        open_network("net.py:make", weights="two.pth#teachr")


def test_drawn_again_from_the_same_part(two):
    """A picture's record names the part."""
    asked = ["show", "net.py:make", "0:1", "--weights", "two.pth#teacher", "--steps", "1", "--size", "16"]
    assert main([*asked, "--precision", "float32"]) == 0
    (file,) = (two / "out").glob("0-*.png")
    again = draw_again(file, net="net.py:make")
    assert again.largest_difference == 0
    assert again.same_weights


def test_the_same_tensors_twice_are_one(tmp_path, caplog):
    """Nothing is to be said of them."""
    state = net(1).state_dict()
    torch.save({"model": state, "best": state}, tmp_path / "x.pt")
    assert not load_checkpoint(net(2), tmp_path / "x.pt").notes
