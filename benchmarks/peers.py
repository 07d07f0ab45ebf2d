"""The programs that filterscope is compared with, each in a virtual environment of its own.

    from benchmarks import peers
    python = peers.make("lucent")          # the path of its interpreter, made where it is not there yet
    answer = peers.run_json(python, [script, "--steps", "16"])

Their requirements contradict one another and ours, so none of them is ever installed beside filterscope. The folder
of environments is `--venvs DIR`, the variable FILTERSCOPE_VENVS, or the user's cache folder.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

# What each peer needs, pinned: the versions that the comparisons name.
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "tensorflow": ("tensorflow-cpu==2.21.0", "keras>=3.8", "safetensors"),
    "tf-keras-vis": (
        "tf-keras-vis==0.8.7", "tensorflow-cpu==2.21.0", "keras>=3.8", "matplotlib", "safetensors",
    ),
    "lucent": (
        "torch-lucent==0.1.8", "kornia==0.4.1", "torchvision==0.28.0", "torch==2.13.0", "timm==1.0.31", "safetensors",
    ),
}  # fmt: skip


def folder(chosen: str | os.PathLike[str] | None = None) -> Path:
    """Where the environments lie."""
    return Path(chosen or os.environ.get("FILTERSCOPE_VENVS") or user_cache_path("filterscope") / "peers")


def make(name: str, venvs: str | os.PathLike[str] | None = None) -> Path:
    """The interpreter of a peer's environment, made with pip where it is not whole yet; minutes the first time.

    A file `made` in the environment, written last, holds the requirements it was made for.
    """
    home = folder(venvs) / name
    python = home / "bin" / "python"
    made, wanted = home / "made", "\n".join(REQUIREMENTS[name])
    if made.exists() and made.read_text() == wanted and python.exists():
        return python
    print(f"making {name}'s environment in {home}", file=sys.stderr, flush=True)
    venv.create(home, with_pip=True, clear=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]], check=True)
    made.write_text(wanted)
    return python


PACKAGES = {"efficientnet-lite": "efficientnet_lite_pytorch==0.1.0"}  # Python alone, over any torch


def package(name: str, venvs: str | os.PathLike[str] | None = None) -> Path:
    """The folder that a package lies in which needs nothing but torch, fetched with pip where it is not there."""
    home, wanted = folder(venvs) / name, PACKAGES[name]
    made = home / "made"
    if not made.exists() or made.read_text() != wanted:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(home),
            wanted,
        ]
        subprocess.run(command, check=True)
        made.write_text(wanted)
    return home


def run_json(
    python: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Any:
    """Run a script there; it prints JSON as its last line. RuntimeError with the end of its complaint otherwise."""
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": "",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    done = subprocess.run(
        [str(python), *arguments],
        capture_output=True, text=True, timeout=timeout, env={**os.environ, **quiet, **(environment or {})},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n" + "\n".join(done.stderr.splitlines()[-20:]))
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    for peer in sys.argv[1:] or REQUIREMENTS:
        print(peer, make(peer))
