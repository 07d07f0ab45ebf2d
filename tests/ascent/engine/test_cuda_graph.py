"""engine/cuda_graph.py: when steps are replayed, and that anything else runs as it is; a stand-in plays the GPU."""

import pytest
import torch

from filterscope.ascent.engine import cuda_graph as capture
from filterscope.ascent.engine.cuda_graph import EAGER, Captured


class OnGpu:
    """A tensor as `Captured` looks at one."""

    def __init__(self, shape=(1, 3), *, device="cuda", requires_grad=True):
        self.shape, self.device, self.requires_grad = torch.Size(shape), torch.device(device), requires_grad


@pytest.fixture
def gpu(monkeypatch):
    """A GPU whose capture is noted and whose steps take as long as told."""
    state = {"seconds": 0.001, "captured": [], "error": None}

    def capturing(self, x):
        if state["error"]:
            self.able = False
            return
        state["captured"].append(x.shape)
        self.replays[x.shape] = lambda t: ("replayed",)

    monkeypatch.setattr(Captured, "_seconds", lambda self, x: state["seconds"])
    monkeypatch.setattr(Captured, "_capture", capturing)
    return state


def test_quick_steps_are_replayed(gpu):
    """From the third step of one shape on; another shape begins anew."""
    run = Captured(lambda t: ("run",))  # type: ignore[return-value]
    assert [run(OnGpu())[0] for _ in range(5)] == ["run"] * (EAGER - 1) + ["replayed"] * (6 - EAGER)
    assert run(OnGpu((2, 3)))[0] == "run"
    assert gpu["captured"] == [torch.Size((1, 3))]


def test_long_steps_are_not(gpu):
    """A step that keeps the GPU busy by itself stays as it is."""
    gpu["seconds"] = 1.0
    run = Captured(lambda t: ("run",))  # type: ignore[return-value]
    assert {run(OnGpu())[0] for _ in range(9)} == {"run"}


@pytest.mark.parametrize("how", [{"device": "cpu"}, {"device": "mps"}, {"requires_grad": False}])
def test_elsewhere_nothing_is_captured(gpu, how):
    """Not on other devices, not where no gradient is wanted."""
    run = Captured(lambda t: ("run",))  # type: ignore[return-value]
    assert {run(OnGpu(**how))[0] for _ in range(9)} == {"run"}
    with torch.no_grad():
        assert {run(OnGpu())[0] for _ in range(9)} == {"run"}
    assert gpu["captured"] == []


def test_what_cannot_be_captured_runs(monkeypatch, caplog):
    """A failed capture is said once, and the network runs as it is from then on."""
    caplog.set_level("INFO", logger="filterscope")
    calls = []

    def refuse(*_):
        calls.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(capture.torch.cuda, "make_graphed_callables", refuse)
    run = Captured(lambda t: (t * 2,))
    run._capture(torch.ones(2, requires_grad=True))
    assert not run.able
    assert calls == [1]
    assert "not captured" in caplog.text
    assert torch.equal(run(torch.ones(2, requires_grad=True))[0], torch.full((2,), 2.0))


def test_the_module_itself_is_not_replayed(monkeypatch):
    """torch would make of a module's own forward the replay: what is captured is a function that calls it."""
    captured = []

    def capture_it(run, sample):
        captured.append(run)
        return run

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", capture_it)
    module = torch.nn.Identity()
    run, x = Captured(module), torch.ones(2, requires_grad=True)
    run._capture(x)
    assert not isinstance(captured[0], torch.nn.Module)
    assert torch.equal(captured[0](x), x)
    assert run.replays[x.shape] is captured[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu(tiny):
    """Replayed steps give the values and gradients that the network gives."""
    from filterscope.ascent.engine.prepare import prepare
    from filterscope.target import Target

    prepared = prepare(tiny, [Target("block3_conv1", u) for u in (3, 8)], device=torch.device("cuda"))
    for i in range(EAGER + 3):
        x = (
            (torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(i)) * 255)
            .cuda()
            .requires_grad_()
        )
        found = prepared(x)["block3_conv1"].output.float().sum()
        expected = prepared.parts(prepared.input.preprocess(x))["block3_conv1"].output.float().sum()
        (ours,), (theirs,) = torch.autograd.grad(found, x), torch.autograd.grad(expected, x)
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5 * theirs.abs().max().item())
    assert prepared.captured.replays
