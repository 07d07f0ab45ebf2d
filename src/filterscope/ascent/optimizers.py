"""Optimisers by name: the blog's RMSprop, Adam and RMSprop as torch has them, and all of torch.optim."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from filterscope.errors import RecipeError, did_you_mean
from filterscope.recipe import Optimizer


class Optimizing(Protocol):
    """What the loop asks of an optimiser: torch's own have it."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Move the parameters by their gradients."""


class _MeanSquare:
    """Optimisers of one tensor with a running mean of its gradient's squares: decay * cache + (1 - decay) * g^2, from 0.

    No torch.optim.Optimizer: to make one imports torch's compiler, which takes a second or two of a first picture.
    """

    def __init__(self, params: Iterable[Tensor], **options: Any):
        (parameters,) = params
        self.param_groups: list[dict[str, Any]] = [{"params": [parameters], **options}]
        self.cache = torch.zeros_like(parameters)

    def averaged(self, gradient: Tensor, decay: float) -> Tensor:
        """The cache, this step's gradient worked in."""
        return self.cache.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)


class BlogRMSprop(_MeanSquare):
    """The blog's RMSprop: x -= lr * g / sqrt(cache + eps); eps stands inside the root, unlike in torch's."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1.0, decay: float = 0.95, eps: float = 1e-7):
        super().__init__(params, lr=lr, decay=decay, eps=eps)

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters by their gradient."""
        group = self.param_groups[0]
        (x,) = group["params"]
        x.addcdiv_(x.grad, (self.averaged(x.grad, group["decay"]) + group["eps"]).sqrt_(), value=-group["lr"])


class RMSprop(_MeanSquare):
    """torch.optim.RMSprop as far as it is without momentum: x -= lr * g / (sqrt(cache) + eps)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.01, alpha: float = 0.99, eps: float = 1e-8):
        super().__init__(params, lr=lr, alpha=alpha, eps=eps)

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters by their gradient."""
        group = self.param_groups[0]
        (x,) = group["params"]
        x.addcdiv_(
            x.grad, self.averaged(x.grad, group["alpha"]).sqrt().add_(group["eps"]), value=-group["lr"]
        )


class Adam(_MeanSquare):
    """torch.optim.Adam as far as it is without weight decay and amsgrad (Kingma and Ba 2015, algorithm 1)."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps)
        self.mean = torch.zeros_like(self.cache)
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters by their gradient."""
        group = self.param_groups[0]
        (x,), (first, second) = group["params"], group["betas"]
        self.steps += 1
        self.mean.lerp_(x.grad, 1 - first)
        root = self.averaged(x.grad, second).sqrt().div_((1 - second**self.steps) ** 0.5).add_(group["eps"])
        x.addcdiv_(self.mean, root, value=-group["lr"] / (1 - first**self.steps))


def make_optimizer(recipe: Optimizer, parameters: Tensor) -> Optimizing:
    """The optimiser of a recipe over one tensor; RecipeError for an unknown name or option."""
    known: dict[str, Any] = {
        name: kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type)
        and issubclass(kind, torch.optim.Optimizer)
        and kind is not torch.optim.Optimizer
    }
    known["BlogRMSprop"] = BlogRMSprop
    if recipe.options.keys() <= {"alpha", "eps"}:
        known["RMSprop"] = RMSprop
    if recipe.options.keys() <= {"betas", "eps"} and _are_in_range(recipe):  # torch's own refuses the others
        known["Adam"] = Adam
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
    for option, value in recipe.options.items():  # torch unpacks a pair no sooner than at the first step
        own = inspect.signature(known[recipe.name]).parameters.get(option)
        if own is not None and isinstance(own.default, tuple) != isinstance(value, tuple):
            wanted = "a pair of numbers" if isinstance(own.default, tuple) else "one value"
            raise RecipeError(f"optimizer {recipe.name}: the option {option!r} is {wanted} (got {value!r})")
    try:
        made: Optimizing = known[recipe.name]([parameters], lr=recipe.lr, **recipe.options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RecipeError(f"optimizer {recipe.name} does not take these settings: {error}") from None
    return made


def _are_in_range(recipe: Optimizer) -> bool:
    """Whether the settings are such as Adam takes."""
    betas: Any = recipe.options.get("betas", (0.0, 0.0))
    numbers = [recipe.lr, recipe.options.get("eps", 0.0), *(betas if isinstance(betas, tuple) else ())]
    sound = all(isinstance(number, int | float) and number >= 0 for number in numbers)
    return sound and len(numbers) == 4 and max(betas) < 1


def rate_at(recipe: Optimizer, step: int, steps: int) -> float:
    """The rate at a step of a stage: from `lr` to `lr * decay` along a half cosine (Loshchilov and Hutter 2017)."""
    if recipe.decay == 1 or steps < 2:
        return recipe.lr
    return recipe.lr * (recipe.decay + (1 - recipe.decay) * (1 + math.cos(math.pi * step / (steps - 1))) / 2)
