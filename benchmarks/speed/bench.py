"""How the speed benchmark runs a program: a plan into a file, a process of its own, an answer back."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, peers
from benchmarks.runners.speed_plan import random_vgg16
from safetensors.numpy import save_file

HOME = Path(__file__).resolve().parents[2]
RUNNERS = HOME / "benchmarks" / "runners"  # of the peers, each run by its own interpreter


class Bench:
    """How to run one program on one plan."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.options, self.folder = options, folder
        self.repeats = 1 if options.quick else options.repeats
        self.random = folder / "vgg16-random.safetensors"
        save_file(random_vgg16(), self.random)

    def plan(self, layer: str, units: Sequence[int], **more: Any) -> dict[str, Any]:
        """A plan with the usual settings."""
        usual = {
            "weights": str(self.random), "model": None, "layer": layer, "units": list(units), "size": 224,
            "clock": self.options.clock,
            "steps": 6 if self.options.quick else 10, "warm": 2, "threads": self.options.threads, "recipe": "blog",
            "what": "rate", "precision": "bfloat16",
        }  # fmt: skip
        return {**usual, **more}

    def run(self, program: str, plan: dict[str, Any]) -> dict[str, Any]:
        """One program's answer, with `step`: the median seconds of a step of one picture."""
        file = self.folder / "plan.json"
        file.write_text(json.dumps(plan))
        ours = program == "ours"
        python = Path(sys.executable) if ours else peers.make(program, self.options.venvs)
        runner = RUNNERS / f"speed_{program.replace('-', '_')}.py"
        script = ["-m", "benchmarks.speed.ours"] if ours else [str(runner)]
        environment = (
            {"PYTHONPATH": f"{HOME / 'src'}{os.pathsep}{HOME}", "KERAS_BACKEND": "torch"} if ours else None
        )
        answer: dict[str, Any] = peers.run_json(python, [*script, str(file)], environment=environment)
        if answer.get("seconds"):
            answer["step"] = statistics.median(answer["seconds"])
        print(
            f"  {program} {plan['precision'] if ours else ''}: {_short(answer)}", file=sys.stderr, flush=True
        )
        return answer

    def in_turn(self, runs: dict[str, tuple[str, dict[str, Any]]], key: str = "step") -> dict[str, list[Any]]:
        """{label: one answer's `key` for each repeat}, the programs taking turns."""
        found: dict[str, list[Any]] = {label: [] for label in runs}
        for _ in range(self.repeats):
            for label, (program, plan) in runs.items():
                found[label].append(self.run(program, plan)[key])
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """The number types that are measured: without bfloat16's instructions it would take minutes for a product."""
        return ("float32",) if self.options.avx2 else machine.KINDS

    def limits(self) -> dict[str, float]:
        """The machine's own limits now, measured in a process of its own."""
        code = "import json, torch\nfrom benchmarks import machine\n"
        if self.options.threads:
            code += f"torch.set_num_threads({self.options.threads})\n"
        code += f"print(json.dumps(machine.limits({self.options.clock!r}, {self.kinds!r})))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=HOME, check=True, capture_output=True, text=True
        )
        found: dict[str, float] = json.loads(done.stdout)
        return found


def _short(answer: dict[str, Any]) -> str:
    short = {k: v for k, v in answer.items() if not isinstance(v, list) or len(v) <= 4}
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in short.items())
