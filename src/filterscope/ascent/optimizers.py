"""Optimisers by name: the blog's RMSprop, and all of torch.optim."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from filterscope.errors import RecipeError, did_you_mean
from filterscope.recipe import Optimizer


class BlogRMSprop(torch.optim.Optimizer):
    """x += lr * g / sqrt(cache + eps), cache = decay * cache + (1 - decay) * g^2 from 0.

    The blog's: eps stands inside the root, unlike in torch.optim.RMSprop.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1.0, decay: float = 0.95, eps: float = 1e-7):
        super().__init__(params, {"lr": lr, "decay": decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if not self.state[p]:
                    self.state[p]["cache"] = torch.zeros_like(p)
                cache = self.state[p]["cache"]
                cache.mul_(group["decay"]).addcmul_(p.grad, p.grad, value=1 - group["decay"])
                p.addcdiv_(p.grad, (cache + group["eps"]).sqrt_(), value=-group["lr"])


def make_optimizer(recipe: Optimizer, parameters: Tensor) -> torch.optim.Optimizer:
    """The optimiser of a recipe over one tensor; RecipeError for an unknown name or option."""
    known: dict[str, Any] = {
        name: kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type)
        and issubclass(kind, torch.optim.Optimizer)
        and kind is not torch.optim.Optimizer
    }
    known["BlogRMSprop"] = BlogRMSprop
    for unfit in ("LBFGS", "SparseAdam", "Muon"):  # a closure, sparse gradients, matrices
        known.pop(unfit, None)
    if recipe.name not in known:
        near = did_you_mean(recipe.name, known)
        raise RecipeError(f"unknown optimizer {recipe.name!r}{near} (known: {', '.join(sorted(known))})")
    for option in ("capturable", "differentiable", "maximize"):
        if recipe.options.get(option):
            raise RecipeError(
                f"optimizer {recipe.name}: the option {option!r} is not for the ascent of pictures"
            )
    try:
        made: torch.optim.Optimizer = known[recipe.name]([parameters], lr=recipe.lr, **recipe.options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(f"optimizer {recipe.name} does not take these settings: {error}") from None
    return made


def rate_at(recipe: Optimizer, step: int, steps: int) -> float:
    """The rate at a step of a stage: from `lr` to `lr * decay` along a half cosine (Loshchilov and Hutter 2017)."""
    if recipe.decay == 1 or steps < 2:
        return recipe.lr
    return recipe.lr * (recipe.decay + (1 - recipe.decay) * (1 + math.cos(math.pi * step / (steps - 1))) / 2)
