"""openmp.py: threads that wait do not spin where the command line starts torch, unless the user has said how they wait."""

import json
import logging
import os
import subprocess
import sys

import pytest

from filterscope import notices, openmp

THREADS = """
import sys
if sys.argv[1] == "torch first":
    import torch
from filterscope.cli import main
status = main(["layers", "tiny-vgg16", "--threads", "1", "--json"])
import torch
print(torch.get_num_threads(), file=sys.stderr)
sys.exit(status)
"""
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SHOW = """
import json, os, sys
if sys.argv[1] == "torch first":
    import torch
from filterscope.cli import main
status = main(["models", "--json"])
names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
print(json.dumps({name: os.environ.get(name) for name in names}), file=sys.stderr)
sys.exit(status)
"""


def environment_after(mode: str, **own: str) -> dict[str, str | None]:
    """What the command line leaves in the environment of a process of its own."""
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES} | own
    done = subprocess.run(
        [sys.executable, "-c", SHOW, mode], env=env, capture_output=True, text=True, check=True
    )
    return json.loads(done.stderr.strip().splitlines()[-1])


def test_the_command_line_shortens_spinning():
    """Before torch is loaded both families of OpenMP libraries are told to spin but shortly."""
    assert environment_after("torch later") == {
        "OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "0",
    }  # fmt: skip


@pytest.mark.parametrize(
    "own", [{"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "0"}, {"KMP_BLOCKTIME": "200"}]
)
def test_the_users_own_settings_stay(own):
    """Whoever has set one of the variables decides alone."""
    assert environment_after("torch later", **own) == dict.fromkeys(VARIABLES) | own


@pytest.mark.parametrize("mode", ["torch first", "torch later"])
def test_threads(mode):
    """--threads holds whether torch is loaded already or not, and above what the environment says."""
    env = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS, mode], env=env, capture_output=True, text=True, check=True
    )
    assert done.stderr.split() == ["1"]


def test_nothing_is_set_where_torch_is_loaded():
    """The libraries read the environment when they are loaded: later it would change nothing but what is believed."""
    assert environment_after("torch first") == dict.fromkeys(VARIABLES)


@pytest.mark.parametrize(
    ("own", "lines"), [({}, 1), ({"GOMP_SPINCOUNT": "0"}, 0), ({"OMP_WAIT_POLICY": "active"}, 0)]
)
def test_noted_once(monkeypatch, caplog, own, lines):
    """In Python, where nothing says how threads wait, one line for all pictures says what to set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    notices.forget()
    with caplog.at_level(logging.INFO, logger="filterscope"):
        openmp.note_spinning()
        openmp.note_spinning()
    assert sum("GOMP_SPINCOUNT=5000" in line for line in caplog.messages) == lines


def test_a_picture_notes_it(monkeypatch, caplog):
    """Drawing on the processor is where it is said."""
    import filterscope as fs

    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    notices.forget()
    with caplog.at_level(logging.INFO, logger="filterscope"):
        fs.visualize("tiny-vgg16", "block1_conv1:1", steps=1, size=32, device="cpu", progress=False)
    assert any("GOMP_SPINCOUNT=5000" in line for line in caplog.messages)
