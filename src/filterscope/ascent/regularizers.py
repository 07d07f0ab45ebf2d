"""Penalties on a picture: (B, C, H, W) to one value per picture, (B,), each divided by the picture's size N.

Both have a finite gradient everywhere. Written as the formulas stand they have not: the p-th root has an
infinite derivative at 0 and x ** p leaves float32's range (for p = 6 below 5e-7 and above 3e6), and 0 * inf is NaN;
likewise (a + b) ** (beta / 2) for beta < 2 wherever two neighbours are equal.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from filterscope.ascent.canvas.spectrum import frequencies, natural_log_rings
from filterscope.errors import RecipeError
from filterscope.recipe import LpNorm, NaturalSpectrum, Regularizer
from filterscope.sides import Sides


def lp_norm(x: Tensor, p: float) -> Tensor:
    """||x||_p / N per picture, for p >= 1; p = inf takes the largest absolute value.

    The largest value is taken out of the root, max * (sum (|x| / max) ** p) ** (1 / p), so that no power
    leaves the range of float32; an all-zero picture has norm 0 and gradient 0.

    >>> lp_norm(torch.tensor([[[[3.0, -4.0]]]]), 2)
    tensor([2.5000])
    """
    if not p >= 1:
        raise RecipeError(f"an Lp norm needs p >= 1 (got {p})")
    magnitude = x.abs().flatten(1)
    count = magnitude.shape[1]
    if math.isinf(p):
        return magnitude.amax(1) / count
    largest = magnitude.detach().amax(1, keepdim=True)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    ratios = (magnitude / largest).pow(p)
    total = torch.stack([r.sum() for r in ratios])  # 1 or more, but for an all-zero picture
    root = torch.where(total > 0, total, torch.ones_like(total)).pow(1 / p)
    return torch.where(total > 0, root, torch.zeros_like(root)) * largest[:, 0] / count


def total_variation(x: Tensor, beta: float = 2.0) -> Tensor:
    """1 / N * sum_ij ((x[i+1,j] - x[i,j])^2 + (x[i,j+1] - x[i,j])^2) ** (beta / 2), colours summed too.

    Mahendran and Vedaldi 2015, "Understanding deep image representations by inverting them", eq. 4. The last
    row and column, which lack a neighbour, are not counted. Where two neighbours are equal the gradient is 0.

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]]))
    tensor([1.2500])
    """
    if not beta > 0:
        raise RecipeError(f"total variation needs beta > 0 (got {beta})")
    here = x[..., :-1, :-1]
    squares = (x[..., 1:, :-1] - here).square() + (x[..., :-1, 1:] - here).square()
    if beta != 2:
        flat = squares == 0
        squares = torch.where(flat, torch.zeros_like(squares), torch.where(flat, 1.0, squares).pow(beta / 2))
    return squares.flatten(1).sum(1) / math.prod(x.shape[1:])


def natural_spectrum(x: Tensor) -> Tensor:
    """Mean squared distance of the log amplitude spectrum from natural images', per ring of frequency; (B,).

    Of the mean of the channels, by rings of 1 to half the shorter side cycles per picture; the amplitudes of a
    ring are averaged before the logarithm.
    """
    height, width = x.shape[-2:]
    amplitude = torch.fft.rfft2(x.mean(1), norm="forward").abs()  # (B, H, W // 2 + 1)
    count = min(height, width) // 2
    if count < 1:
        return x.new_zeros(len(x))
    ring, counts, natural = _rings((height, width), x.device)
    sums = x.new_zeros(len(x), len(counts)).index_add(1, ring, amplitude.flatten(1))
    rings = (sums / counts)[:, 1 : count + 1]
    return ((rings + 1e-4).log() - natural).square().mean(1)


@lru_cache(maxsize=8)
def _rings(sides: Sides, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The ring of each frequency of rfft2, how many frequencies each ring has, and natural images' log amplitudes of
    the rings from 1 on; once for all steps, as counting waits for a GPU."""
    ring = frequencies(sides).round().long().flatten()
    counts = torch.bincount(ring)
    natural = natural_log_rings(min(sides) // 2)
    return ring.to(device), counts.to(device), natural.to(device)


def penalty(x: Tensor, regularizer: Regularizer) -> Tensor:
    """The regularizer's weighted penalty per picture, (B,), for pixel values 0 to 255."""
    if isinstance(regularizer, LpNorm):
        return regularizer.weight * lp_norm(x, regularizer.p)
    if isinstance(regularizer, NaturalSpectrum):
        return regularizer.weight * natural_spectrum(x)
    return regularizer.weight * total_variation(x, regularizer.beta)
