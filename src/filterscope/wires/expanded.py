"""Expanded weights: how every unit of the layers before a unit feeds it (Voss et al. 2021, "Visualizing Weights").

The product of all kernels on the linear path between two layers is the derivative of the one with respect to the other. It
is computed so: at the middle of the unit's map, so that its borders count for nothing where there is room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.target import Target, row_and_column
from filterscope.wires.paths import LinearPath


@dataclass(frozen=True)
class Expanded:
    """What reaches a unit from one layer: kernels, float32 (units, rows, columns), one for each unit of the layer."""

    layer: str
    kernels: np.ndarray

    @property
    def strengths(self) -> np.ndarray:
        """The L2 norm of each unit's kernel, (units,)."""
        found: np.ndarray = np.sqrt((self.kernels.astype(np.float64) ** 2).sum((1, 2)))
        return found

    @property
    def sums(self) -> np.ndarray:
        """The sum of each unit's kernel, (units,): above 0 where a unit that is active everywhere excites."""
        found: np.ndarray = self.kernels.astype(np.float64).sum((1, 2))
        return found


@in_our_torch
def expand_weights(network: Network, target: Target) -> list[Expanded]:
    """The expanded weights from each layer before a unit, in the network's order; kernels are cut to where they are not 0.

    Of a unit without a place, at the middle of its map. TargetError where there is no linear path before its layer.
    """
    path = LinearPath(network, target.layer)
    leaves = [torch.zeros_like(path.values[s.node]).requires_grad_() for s in path.sources]
    values = path.at({s.node: leaf for s, leaf in zip(path.sources, leaves, strict=True)})[0, target.unit]
    if values.ndim:
        rows, columns = values.shape
        row, column = row_and_column(target.at) if target.at else (rows // 2, columns // 2)
        values = values[row, column]
    gradients = torch.autograd.grad(values, leaves, allow_unused=True, materialize_grads=True)
    found = []
    for source, gradient in zip(path.sources, gradients, strict=True):
        kernels = path.seen(source, gradient)[0].float().numpy()
        found.append(
            Expanded(source.layer, _cut(kernels.reshape(len(kernels), *(kernels.shape[1:] or (1, 1)))))
        )
    return found


def _cut(kernels: np.ndarray) -> np.ndarray:
    """Kernels without the rows and columns around that are 0 in all of them."""
    used = np.abs(kernels).max(0) > 0
    rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
    if not rows.size:
        return kernels[:, :1, :1]
    return kernels[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
