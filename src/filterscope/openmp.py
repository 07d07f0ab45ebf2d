"""How many threads OpenMP has and how they wait for one another, set before torch loads its OpenMP library."""

from __future__ import annotations

import logging
import os
import sys

from filterscope.notices import log_once

# GNU's library (torch's wheels for Linux) counts the turns of a waiting loop, LLVM's and Intel's (macOS, Windows, conda)
# milliseconds
SHORT_SPINNING = {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "0"}
VARIABLES = ("OMP_WAIT_POLICY", *SHORT_SPINNING)


def shorten_spinning() -> None:
    """Let waiting threads soon give their processor away, unless the environment says already how they wait.

    OpenMP's threads spin at the end of every parallel loop, for milliseconds. Alone on a machine that saves the time of
    waking them, up to a third of all; beside another busy program it keeps the processor from the threads that are waited
    for, and two programs on two cores take many times as long (docs/benchmarks.md). So they spin as long as waking takes,
    some hundred microseconds, and then sleep. The libraries read the environment once, when they are
    loaded, so that this does nothing in a process where torch is loaded already.
    """
    if "torch" not in sys.modules and not _is_set():
        os.environ.update(SHORT_SPINNING)


def limit_threads(threads: int) -> None:
    """Let torch and the libraries beside it compute in that many threads, from now on, in this process and in those that
    it starts."""
    os.environ.update({"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)})
    torch = sys.modules.get("torch")
    if torch is not None:  # it has read the environment already
        torch.set_num_threads(threads)


def note_spinning() -> None:
    """Log, once a process, that waiting threads spin, where nothing in the environment says how they wait."""
    if not _is_set():
        log_once(
            logging.INFO,
            "OpenMP's threads spin while they wait, which slows everything many times over where another program shares "
            "the processor; set GOMP_SPINCOUNT=5000 (and KMP_BLOCKTIME=0) in the environment before torch is imported",
        )


def _is_set() -> bool:
    return any(name in os.environ for name in VARIABLES)
