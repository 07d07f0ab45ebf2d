"""A person's own layers and functions of a live Keras model that runs on torch, run as they are.

They take and give tensors in Keras' order, with the weights that the layer had when the network was opened; the layer itself
is called and never changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from filterscope.errors import first_line, is_out_of_memory
from filterscope.networks.keras.config import Config, Constant, Ref
from filterscope.networks.keras.importing import import_keras
from filterscope.networks.keras.layers.base import Shape, keras_order, own_order


class OwnCode(nn.Module):
    """A call of a person's own; what it computes on a tensor without numbers is its result's shape alone."""

    def __init__(self, call: Callable[..., Any]):
        super().__init__()
        self.held = (call,)  # in a tuple: no part of this module, which is converted and moved

    def called(self, tensors: Sequence[Tensor]) -> Any:
        """The result for tensors in Keras' order."""
        return self.held[0](*tensors)

    def forward(self, *inputs: Tensor) -> Any:
        like = inputs[0]
        if like.is_meta:
            with torch.device("cpu"):
                shaped = self._results([torch.zeros(x.shape) for x in inputs])
            results = [torch.empty(r.shape, device="meta") for r in shaped]
        else:
            results = [r.to(like.dtype) for r in self._results([x.float() for x in inputs])]
        return results[0] if len(results) == 1 else tuple(results)

    def _results(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        keras = import_keras()
        device = inputs[0].device
        place = "cpu" if device.type == "cpu" else f"gpu:{device.index or 0}"
        with keras.device(place):
            found = self.called([keras_order(x) for x in inputs])
        return [own_order(r) for r in keras.tree.flatten(found) if isinstance(r, Tensor)]


class OwnFunction(OwnCode):
    """An activation: a function, or a layer without weights."""


class OwnLayer(OwnCode):
    """A layer or operation with all that its call names; `refs` are its inputs in order."""

    def __init__(self, layer: Any, args: Sequence[Any], kwargs: Config, refs: Sequence[Ref]):
        super().__init__(layer)
        self.args, self.kwargs, self.refs = list(args), dict(kwargs), list(refs)
        self.values = tuple((v, v.value.detach().clone()) for v in getattr(layer, "variables", ()))

    def called(self, tensors: Sequence[Tensor]) -> Any:
        keras, layer = import_keras(), self.held[0]
        values = dict(zip(self.refs, tensors, strict=True))

        def filled(value: Any) -> Any:
            if isinstance(value, Ref):
                return values[value]
            if isinstance(value, Constant):
                return keras.ops.convert_to_tensor(value.value)
            if isinstance(value, list):
                return [filled(v) for v in value]
            return {k: filled(v) for k, v in value.items()} if isinstance(value, dict) else value

        args, kwargs = filled(self.args), filled(self.kwargs)
        if not isinstance(layer, keras.Layer):
            return layer.call(*args, **kwargs)  # type: ignore[attr-defined]
        if "training" in inspect.signature(layer.call).parameters:
            kwargs.setdefault("training", False)
        with keras.StatelessScope(
            state_mapping=[(v, value.to(tensors[0].device)) for v, value in self.values]
        ):
            return layer(*args, **kwargs)


def why_unfit(module: nn.Module, shapes: Sequence[Shape]) -> str | None:
    """Why a module cannot be part of a network that is climbed; None where each picture of a batch gets what it gets alone,
    the same each time, and a gradient."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand((2, *shape), generator=generator).requires_grad_() for shape in shapes]
    try:
        with torch.enable_grad():
            both, again = (_first_of(module(*inputs)) for _ in range(2))
            alone = _first_of(module(*(x[:1] for x in inputs)))
    except Exception as error:  # whatever a person's code raises
        if is_out_of_memory(error):
            raise
        return f"does not run: {first_line(error)}"
    if not torch.equal(both.nan_to_num(), again.nan_to_num()):
        return "gives other numbers each time for the same picture (random numbers?)"
    if (
        len(both) != 2
        or alone.shape != both[:1].shape
        or not torch.allclose(both[:1], alone, 1e-3, 1e-5, True)
    ):
        return "mixes the pictures of a batch"
    return None if both.requires_grad else "gives no gradient"


def _first_of(result: Any) -> Tensor:
    found: Tensor = result if isinstance(result, Tensor) else result[0]
    return found
