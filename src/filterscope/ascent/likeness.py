"""How like a photograph a picture is, by a layer's activations for both: scores of one picture, ()."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_COSINE = 0.1  # lucid's: where the two disagree the gradient keeps pointing towards agreement
VECTORS = 4096  # places of a guide that are compared, and places of the picture that are compared at a time


def resemblance(here: Tensor, there: Tensor, how: str) -> Tensor:
    """The score of `how` (see objective.Likeness) between a picture's values and a photograph's, both (C, ...).

    Finite with a finite gradient everywhere, where either is 0 too.

    >>> resemblance(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0]), "match")
    tensor(-2.5000)
    """
    here, there = (
        here.flatten(1) if here.ndim > 1 else here[:, None],
        there.flatten(1) if there.ndim > 1 else there[:, None],
    )
    if how == "guide":
        return _guided(here, there)
    own = there.square().sum().clamp(min=1e-12)
    if how == "match":
        return -(here - there).square().sum() / own
    product = (here * there).sum(0)  # (places,)
    lengths = (here.square().sum(0).clamp(min=1e-12) * there.square().sum(0).clamp(min=1e-12)).sqrt()
    return (product * (product / lengths).clamp(min=LEAST_COSINE)).sum() / own


def _guided(here: Tensor, there: Tensor) -> Tensor:
    """The mean over places of the product with the guide's vector whose product is the largest."""
    vectors = there[:, :: -(-there.shape[1] // VECTORS)]  # (C, at most VECTORS)
    with torch.no_grad():
        nearest = torch.cat([(part.T @ vectors).argmax(1) for part in torch.split(here, VECTORS, dim=1)])
    return (here * vectors[:, nearest]).sum(0).mean()
