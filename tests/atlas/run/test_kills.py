"""The atlas under kill -9, on a full disk and on Ray: processes of their own, really ended."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from filterscope.atlas.storage.index import read_index

COMMAND = ["--layers", "block1_conv1,block1_conv2,block2_conv1", "--size", "64", "--precision", "float32"]
MANY = "block1_conv1,block1_conv2,block2_conv1,block2_conv2,block3_conv1"
STEPS = ["--steps", "40"]


def atlas(out: Path, *more: str, **options) -> subprocess.Popen:
    """The command in a process of its own, with one thread, as Ray's workers of one processor have."""
    return subprocess.Popen(
        [sys.executable, "-m", "filterscope", "atlas", "tiny-vgg16", "--out", str(out), *COMMAND, *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )  # fmt: skip


def finished(out: Path, *more: str) -> dict:
    """Run the command to its end; its summary."""
    process = atlas(out, "--json", *more)
    said, error = process.communicate(timeout=1800)
    assert process.returncode == 0, error
    return json.loads(said)


def pictures(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.png"))}


def rows(out: Path) -> list[dict]:
    return read_index(out).drop_columns(["seconds"]).to_pylist()


def wait_for(out: Path, count: int, process: subprocess.Popen) -> None:
    """Until so many chunks are finished."""
    wait_until(lambda: len(list(out.rglob("chunk-*.json"))) >= count or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def wait_until(true: Callable[[], object], *, seconds: float = 900) -> None:
    """Until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never was"
        time.sleep(0.02)


def wait_for_more(out: Path, before: int, process: subprocess.Popen) -> None:
    """Until another chunk is finished, or the process has ended."""
    wait_until(lambda: len(list(out.rglob("chunk-*.json"))) > before or process.poll() is not None)


def kill_a_worker(
    ray_workers: Callable[[int], list[int]], process: subprocess.Popen, rng: random.Random
) -> bool:
    """Kill one of Ray's workers as soon as one draws; whether one was killed before the process ended."""
    wait_until(lambda: ray_workers(process.pid) or process.poll() is not None)
    alive = ray_workers(process.pid)
    with contextlib.suppress(ProcessLookupError):
        if alive:
            os.kill(rng.choice(alive), signal.SIGKILL)
            return True
    return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """An atlas that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    finished(out, *STEPS)
    return out


def test_kill_9(whole, tmp_path):
    """A process killed after its third chunk: what is there is whole, and the next run does the rest."""
    process = atlas(tmp_path, *STEPS)
    wait_for(tmp_path, 3, process)
    process.kill()
    process.communicate()
    there, times = pictures(tmp_path), {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.png")}
    assert there.items() <= pictures(whole).items()
    summary = finished(tmp_path, *STEPS)
    assert summary["pictures"] == 128
    assert summary["drawn"] <= 128 - 3 * 16
    assert pictures(tmp_path) == pictures(whole)
    assert rows(tmp_path) == rows(whole)
    assert all(p.stat().st_mtime_ns == when for p, when in times.items())
    assert not list(tmp_path.rglob(".*.part"))


def test_ctrl_c(tmp_path, whole):
    """Ctrl-C: exit status 130, no traceback, what is finished kept and indexed; then gone on with."""
    # whoever runs the tests in the background may have switched Ctrl-C off for all below
    process = atlas(tmp_path, *STEPS, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_for(tmp_path, 2, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "finished and kept in" in error
    assert "Traceback" not in error
    assert 32 <= len(rows(tmp_path)) < 128
    finished(tmp_path, *STEPS)
    assert pictures(tmp_path) == pictures(whole)


def test_full_disk(whole, tmp_path):
    """A small file system runs full: exit status 1 and a clear error, finished pictures whole; with room it goes on."""
    out = tmp_path / "small"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(out)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        process = atlas(out, *STEPS)
        _, error = process.communicate(timeout=600)
        assert process.returncode == 1
        assert "No space left on device" in error
        assert "finished and kept in" in error
        assert "Traceback" not in error
        there = pictures(out)
        assert 0 < len(there) < 128
        assert there.items() <= pictures(whole).items()
        assert not list(out.rglob(".*.part"))
        subprocess.run(["mount", "-o", "remount,size=60m", str(out)], check=True)
        finished(out, *STEPS)
        assert pictures(out) == pictures(whole)
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["local", "ray workers", "ray driver"])
def test_twenty_kills(tmp_path, where, ray_workers):
    """Twenty kills at random moments, then a finishing run: complete, none damaged, as if nothing had happened.

    A process is killed while it starts, or some time within its first two chunks.
    """
    rng = random.Random(where)
    more = ["--layers", MANY, "--steps", "12"]
    expected, out = tmp_path / "whole", tmp_path / "killed"
    assert finished(expected, *more)["pictures"] == 320
    right, process, kills = pictures(expected), None, 0
    ray = [] if where == "local" else ["--on", "ray", "--workers", "2"]
    while kills < 20:
        if process is None or process.poll() is not None:
            if process is not None:
                process.communicate()
                assert process.returncode in (0, 1, -signal.SIGKILL)  # 1: some chunk was killed three times
            if where == "ray workers" and len(list(out.rglob("chunk-*.json"))) == 20:
                shutil.rmtree(out)  # all is drawn: once more from the beginning
            process = atlas(out, *more, *ray)
        before = len(list(out.rglob("chunk-*.json")))
        if rng.random() < 0.8 and before < 20:
            wait_for_more(out, before, process)
        time.sleep(rng.uniform(0, 1))
        if where == "ray workers":
            kills += kill_a_worker(ray_workers, process, rng)
        elif process.poll() is None:
            process.kill()
            process.communicate()
            kills += 1
        there = pictures(out)
        assert there.items() <= right.items(), f"damaged after kill {kills}"
    process.communicate()
    summary = finished(out, *more)
    assert summary["pictures"] == 320
    assert pictures(out) == right
    assert rows(out) == rows(expected)
