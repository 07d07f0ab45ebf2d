"""Pictures of the peer programs, each drawn in an interpreter of its own with its defaults."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from benchmarks import peers
from benchmarks.quality.store import Store, digest
from benchmarks.runners.quality_plan import check_picture

from filterscope.files import safe_name, write_text
from filterscope.networks import Network

RUNNERS = {"lucent": "quality_lucent.py", "tf-keras-vis": "quality_tf_keras_vis.py"}
FED = {"lucent": 224}  # pictures below 224 px are enlarged to it before the network sees them (render_vis)
FOLDER = Path(__file__).resolve().parents[1] / "runners"


def label(peer: str, network: Network, seed: int) -> str:
    """What a peer's pictures depend on."""
    runner = (FOLDER / RUNNERS[peer]).read_text()
    return digest(peer, peers.REQUIREMENTS[peer], runner, network.weights.sha256, seed)


def version(peer: str) -> tuple[str, str]:
    """The package of a peer and its version, as its environment is made."""
    package, _, number = peers.REQUIREMENTS[peer][0].partition("==")
    return package, number


def draw(
    peer: str,
    network: Network,
    units: Sequence[tuple[str, int]],
    store: Store,
    *,
    seed: int,
    venvs: Path | None = None,
    name: str | None = None,
    plan: Callable[..., dict[str, object]] | None = None,
) -> str | None:
    """Draw what is missing into the store; None, or why the peer did not run. name: what the network is called there. plan:
    what makes the runner's plan, `plan_of` or `exported_plan_of`."""
    mark, called = label(peer, network, seed), name or network.name
    missing = [u for u in units if store.read(called, peer, *u, mark) is None]
    if not missing:
        return None
    files = [[*u, str(store.place(called, peer, *u).resolve())] for u in missing]
    place = store.out / "plans" / f"{called}-{peer}.json"
    made = (
        plan_of(network, files, seed=seed, mark=mark)
        if plan is None
        else plan(network, files, seed, mark, place)
    )
    write_text(place, json.dumps(made))
    quiet = {"PYTHONPATH": "", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        python = peers.make(peer, venvs)
        command = [str(python), str(FOLDER / RUNNERS[peer]), str(place.resolve())]
        subprocess.run(command, check=True, env={**os.environ, **quiet, "CUDA_VISIBLE_DEVICES": "-1"})
    except subprocess.CalledProcessError as error:
        return f"{peer} did not run on {called}: exit status {error.returncode}"
    except OSError as error:
        return f"{peer} did not run on {called}: {error.strerror or error}"
    return None


def plan_of(
    network: Network, units: Sequence[Sequence[object]], *, seed: int, mark: str
) -> dict[str, object]:
    """The plan that runners/quality_plan.py describes."""
    source = network.weights.path
    if source is None:
        raise SystemExit(f"the peers read {network.name}'s weights from a file")
    spec = network.input
    assert isinstance(spec.size, int)  # of networks whose layers a runner builds
    layers = [[name, row.kind, row.trained and row.parameters > 0] for name, row in network.layers.items()]
    return {
        "weights": str(source.resolve()),
        "layers": layers,
        **_fed_and_checked(network, units, spec.size),
        "seed": seed,
        "label": mark,
    }


def exported_plan_of(
    network: Network, units: Sequence[Sequence[object]], seed: int, mark: str, place: Path
) -> dict[str, object]:
    """The same for a network that no runner builds: a program of torch.export up to each layer, for one picture of the
    side to which lucent enlarges its pictures; kept beside the plan's `place`."""
    side = FED["lucent"]
    programs = {}
    for layer in dict.fromkeys(str(layer) for layer, *_ in units):
        example = network.input.preprocess(torch.zeros(1, network.input.channels, side, side))
        program = torch.export.export(network.probe([layer]).eval(), (example,))
        file = place.with_name(f"{place.stem}-{safe_name(layer)}.pt2")
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.export.save(program, file)
        programs[layer] = str(file.resolve())
    return {"programs": programs, **_fed_and_checked(network, units, side), "seed": seed, "label": mark}


def _fed_and_checked(network: Network, units: Sequence[Sequence[object]], side: int) -> dict[str, object]:
    """How pixel values become the network's input, what is drawn, and the activations that a peer's network must have."""
    spec = network.input
    picture = torch.from_numpy(check_picture(side)).permute(2, 0, 1)[None].float()
    looked_at = list(dict.fromkeys(str(layer) for layer, *_ in units))
    with torch.no_grad():
        maps = network.probe(looked_at).eval()(spec.preprocess(picture))
    check = {n: m.flatten(2).mean(2) if m.ndim == 4 else m for n, m in zip(looked_at, maps, strict=True)}
    return {
        "size": side,
        "low": spec.low,
        "high": spec.high,
        "mean": spec.mean,
        "std": spec.std,
        "bgr": spec.bgr,
        "units": units,
        "check": {name: values[0].tolist() for name, values in check.items()},
    }
