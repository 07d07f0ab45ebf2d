"""What torchvision needs to import beside a CPU-only torch."""

import contextlib

import torch

_kept: list[object] = []  # operators live as long as their library


def torchvision_operators() -> None:
    """torchvision has no build for a CPU-only torch; it imports once two operators of its binary are known."""
    if not torch.cuda.is_available() and not _kept:
        operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            with contextlib.suppress(RuntimeError):  # a torchvision with its binary has defined it
                operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(operators)
