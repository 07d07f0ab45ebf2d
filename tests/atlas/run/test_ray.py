"""ray: a real local Ray, small; workers that die, that cannot start, that find other weights."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
import uuid

import pytest
from tests.helpers.atlas import draw_atlas

from filterscope.atlas.storage.index import read_index
from filterscope.atlas.storage.store import open_store
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, WorkError
from filterscope.networks.weights.table import sha256_file
from filterscope.recipe import get_recipe

ray = pytest.importorskip("ray")
from filterscope.atlas.run import ray as ray_run  # noqa: E402
from filterscope.atlas.run.worker import Worker, WorkerSetup, read_given_files  # noqa: E402

QUICK = {
    "layers": ["block1_conv1", "block1_conv2"], "recipe": get_recipe("sharp", steps=6, size=32),
    "precision": "float32", "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two processors for the module's tests."""
    ray_run.connect(ray, None, processors=2)
    yield ray
    ray.shutdown()


@pytest.fixture
def memory():
    """A store of its own in memory."""
    return open_store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Four units a chunk: sixteen chunks."""
    monkeypatch.setattr("filterscope.atlas.storage.manifest.usual_count", lambda size, recipe, device: 4)


def pictures(store) -> dict[str, bytes]:
    return {
        f"{layer}/{name}": store.read(f"tiny-vgg16/{layer}/{name}")
        for layer in store.folders("tiny-vgg16")
        for name in store.sizes(f"tiny-vgg16/{layer}")
        if name.endswith(".png")
    }


@pytest.fixture(scope="module")
def expected():
    """The pictures of one machine."""
    store = open_store(f"memory://{uuid.uuid4().hex}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("filterscope.atlas.storage.manifest.usual_count", lambda size, recipe, device: 4)
        draw_atlas("tiny-vgg16", store, **QUICK)
    return pictures(store)


def test_the_same_pictures(cluster, memory, expected):
    """Two workers of one thread each give the bytes that one machine gives with one thread."""
    said = []
    summary = draw_atlas("tiny-vgg16", memory, on="ray", on_message=said.append, **QUICK)
    assert (summary["drawn"], summary["failed"]) == (64, 0)
    assert pictures(memory) == expected
    assert "2 workers" in said[0]
    assert ray.is_initialized()  # left as it was found


def test_a_worker_killed(cluster, memory, expected, monkeypatch, ray_workers):
    """A worker killed in the middle costs its chunk, which another draws; nothing is missing."""
    killed, results = [], []
    wait = ray_run.RayExecutor._wait

    def killing(self):
        # before the wait: whoever has a chunk is about to draw it. Where none is caught in time: the next time
        until = time.monotonic() + 0.5
        while len(killed) < sum(sum(results) > count for count in (2, 5)) and time.monotonic() < until:
            for pid in ray_workers(os.getpid())[:1]:
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)
                until = 0.0
        chunk, result = wait(self)
        results.append(chunk is not None)
        return chunk, result

    monkeypatch.setattr(ray_run.RayExecutor, "_wait", killing)
    draw_atlas("tiny-vgg16", memory, on="ray", **QUICK)
    assert len(killed) == 2
    assert pictures(memory) == expected


def test_a_chunk_that_kills_its_workers(cluster, memory, expected, monkeypatch):
    """A chunk over which three workers die is given up, its units failed with the reason; the others are drawn."""

    class Sick(Worker):
        def draw(self, chunk):
            if (chunk.layer, chunk.number) == ("block1_conv1", 3):
                os._exit(1)
            return super().draw(chunk)

    monkeypatch.setattr(ray_run, "Worker", Sick)
    summary = draw_atlas("tiny-vgg16", memory, on="ray", **QUICK)
    bad = [row for row in summary["not_ok"] if row["status"] == "failed"]
    assert [row["target"] for row in bad] == [f"block1_conv1:{unit}" for unit in range(12, 16)]
    assert "its worker died 3 times" in bad[0]["reason"]
    assert len(read_index(memory)) == 64
    monkeypatch.undo()
    draw_atlas("tiny-vgg16", memory, **QUICK)  # that workers died says nothing against the units
    assert pictures(memory) == expected


def test_a_machine_short_of_memory(cluster, memory, expected, monkeypatch):
    """Ray ends workers where memory runs short, whoever used it up: what they were drawing is drawn again."""
    next_event, short = ray_run.RayExecutor._next_event, [2, 5]

    def following(self):
        event = next_event(self)
        if event.chunk is not None and short and event.chunk.number == short[0]:
            short.pop(0)
            error = ray.exceptions.OutOfMemoryError("1 worker(s) were killed\nTop 10 memory users: ...")
            return dataclasses.replace(event, error=error)
        return event

    monkeypatch.setattr(ray_run.RayExecutor, "_next_event", following)
    summary = draw_atlas("tiny-vgg16", memory, on="ray", **QUICK)
    assert (summary["failed"], short) == (0, [])
    assert pictures(memory) == expected


def test_workers_that_cannot_start(cluster, memory, monkeypatch):
    """Workers that die as they start end the run with the reason, instead of being hired for ever."""

    class Unfit(Worker):
        def __init__(self, job):
            raise WorkError("no such file on this machine")

    monkeypatch.setattr(ray_run, "Worker", Unfit)
    with pytest.raises(WorkError, match=r"die as soon as they start: .*no such file on this machine"):
        draw_atlas("tiny-vgg16", memory, on="ray", **QUICK)


@pytest.mark.parametrize("said", ["float32", "bfloat16"])
def test_auto_is_what_the_drivers_variable_says(cluster, memory, monkeypatch, said):
    """FILTERSCOPE_PRECISION counts where the command is given; workers, which may lack it, are told."""
    monkeypatch.setenv("FILTERSCOPE_PRECISION", said)
    few = {"layers": ["block1_conv1"], "recipe": get_recipe("sharp", steps=1, size=8), "precision": "auto"}
    draw_atlas("tiny-vgg16", memory, on="ray", **{**QUICK, **few})
    assert memory.read_json("tiny-vgg16/network.json")["precision"] == said


def setup(**changes) -> WorkerSetup:
    """A job for one layer of the embedded network."""
    recipes = {"block1_conv1": get_recipe().model_dump_json()}
    plain = WorkerSetup("tiny-vgg16", None, "ab" * 32, recipes, Run(0, "float32", "cpu"), {})
    return dataclasses.replace(plain, **changes)


def test_other_weights_on_a_worker():
    """A worker that finds other weights than the driver's refuses to draw."""
    with pytest.raises(WorkError, match="has other weights for tiny-vgg16"):
        Worker(setup())


def test_files_travel(tiny_file, tmp_path):
    """A weights file that a worker's machine lacks is written there from the driver's bytes."""
    files = read_given_files("tiny-vgg16", str(tiny_file))
    assert set(files) == {str(tiny_file)}
    away = str(tmp_path / "gone.safetensors")
    there = setup(weights=away, sha256=sha256_file(tiny_file), files={away: files[str(tiny_file)]})
    assert Worker(there).ready() == os.getpid()


@pytest.mark.parametrize(
    ("resources", "asked", "shares"),
    [
        ({"CPU": 8.0}, None, (8, 1, 0)),
        ({"CPU": 8.0}, 3, (3, 2, 0)),
        ({"CPU": 2.0}, 99, (2, 1, 0)),
        ({"CPU": 64.0, "memory": 6e9}, None, (4, 16, 0)),
        ({"CPU": 64.0, "GPU": 4.0}, None, (4, 16, 4)),
        ({"CPU": 64.0, "GPU": 4.0}, 2, (2, 32, 4)),
        ({"CPU": 1.0, "memory": 1e6}, None, (1, 1, 0)),
        ({"CPU": 2.0, "GPU": 8.0}, None, (2, 1, 8)),
    ],
)
def test_shares(resources, asked, shares):
    """Workers times threads never exceed the processors; with GPUs one worker each; memory bounds them."""
    assert ray_run.divide_resources(resources, asked) == shares


def test_no_such_cluster():
    """An address where no cluster answers: the work failed, exit status 1, no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "filterscope", "atlas", "tiny-vgg16", "--out", "memory://x", "--on", "ray",
         "--address", "127.0.0.1:1", "--steps", "1"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot reach the Ray cluster at '127.0.0.1:1'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ray(monkeypatch):
    """Where Ray is not installed the message names the extra."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ArgumentError, match=r"pip install 'filterscope\[ray\]'"):
        ray_run.import_ray()
