"""Where a network runs and in which number type, and how the processor's memory is kept between steps."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterscope.errors import ArgumentError, did_you_mean, first_line

PRECISIONS = ("auto", "float32", "bfloat16")
_DEVICES = ("cpu", "cuda", "mps", "xpu")
VARIABLE = "FILTERSCOPE_PRECISION"


def choose_device(device: str = "auto") -> torch.device:
    """The device to run on: "auto" takes CUDA, then Apple's MPS, then the processor."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not isinstance(device, str | torch.device):
        raise ArgumentError(f"a device is one of auto, cpu, cuda, mps (got {device!r})")
    kind = str(device).partition(":")[0]
    if kind not in _DEVICES:
        raise ArgumentError(
            f"device {str(device)!r} is not to be had here (there is no such kind); auto, cpu, cuda or mps"
        )
    try:
        chosen = torch.device(device)
        torch.ones(1, device=chosen).item()  # shapes alone ("meta") are no device to run on
    except Exception as error:  # each kind of device that this torch is not built for fails in its own way
        raise ArgumentError(
            f"device {str(device)!r} is not to be had here ({first_line(error).partition('. ')[0]}); auto, cpu, cuda or mps"
        ) from None
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The network's number type: "auto" is the value of FILTERSCOPE_PRECISION, else bfloat16 where the processor
    has instructions for it."""
    if precision not in PRECISIONS:
        raise ArgumentError(f"precision must be one of {', '.join(PRECISIONS)} (got {precision!r})")
    if precision == "auto":
        precision = auto_by_environment() or ("bfloat16" if _has_bfloat16(device) else "float32")
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def auto_by_environment() -> str | None:
    """What "auto" is by the variable FILTERSCOPE_PRECISION; None where it is unset, empty or "auto" itself."""
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted not in PRECISIONS:
        raise ArgumentError(
            f"the variable {VARIABLE} must be one of {', '.join(PRECISIONS)} (got {wanted!r})"
            f"{did_you_mean(wanted, PRECISIONS)}; unset it, or name a precision (precision='float32')"
        )
    return None if wanted == "auto" else wanted


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor's on another device; a CUDA GPU gets it in its turn, and nobody waits for that."""
    if device.type == "mps":  # which may read memory that is free again by then
        return tensor.to(device)
    source = tensor.pin_memory() if device.type == "cuda" else tensor
    return source.to(device, non_blocking=True)


@functools.cache
def keep_freed_memory() -> bool:
    """Let the process keep freed memory for the next step, instead of handing it to the system and faulting it in
    anew; once a process, glibc on Linux only (elsewhere nothing happens).

    A network's maps are megabytes each, which glibc by default maps and unmaps one by one: VGG16 in bfloat16 to
    `block5_conv3` took 0.052 s a step with that and 0.035 s without. It is what the variables
    MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ do from outside; see mallopt(3).
    """
    glibc = _glibc()
    if glibc is None:
        return False
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    kept = glibc.mallopt(trim_threshold, 2**31 - 1)
    # older versions of glibc take no more than 32 MiB
    return bool(kept and (glibc.mallopt(mmap_threshold, 2**30) or glibc.mallopt(mmap_threshold, 2**25)))


class FreedMemory:
    """What a process keeps of freed memory, handed back to the system where it has grown since the first batch: blocks of
    many sizes leave gaps that nothing fits into. Once in many batches, so that it costs next to nothing."""

    GROWTH = 1.1

    def __init__(self) -> None:
        self.first = 0

    def hand_back(self) -> bool:
        """After each batch; whether memory was handed back."""
        glibc, now = _glibc(), _resident()
        if glibc is None or not now:
            return False
        self.first = self.first or now
        return now > self.GROWTH * self.first and bool(glibc.malloc_trim(0))


@functools.cache
def _glibc() -> Any:
    """The C library where it is glibc, None elsewhere."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return None
    try:
        library = ctypes.CDLL(None)
        return library if library.mallopt and library.malloc_trim else None
    except (OSError, AttributeError):
        return None


def _resident() -> int:
    """Pages of memory that the process has; 0 where that is not known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
