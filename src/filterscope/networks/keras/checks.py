"""What a layer of a Keras model must not hold: code, classes and settings that nothing here builds.

A setting that no builder reads is refused, so that no network is drawn with a default in place of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from filterscope.errors import NetworkError
from filterscope.networks.keras.config import OWN_CODE, Call, Ref
from filterscope.networks.keras.layers.base import Settings, short
from filterscope.networks.keras.layers.products import BUILDERS, JOINERS

_FLOATS = re.compile(r"(mixed_)?(b?float16|float32|float64)")
_QUANTIZED = re.compile(r"(?<!u)int[48]|float8|gptq|awq")
_INPUTS = ("inputs", "x", "query", "value", "key", "args")
_MASKS = ("mask", "attention_mask", "query_mask", "value_mask", "key_mask")


def require_buildable(call: Call, name: str, count: int) -> None:
    """NetworkError for a call of a class that is not known, or that needs what is never done."""
    if call.kind == "Lambda":
        raise NetworkError(f"layer {name!r} is a Lambda: it holds code, and {OWN_CODE}")
    if call.is_operation:
        return
    if call.kind not in BUILDERS and call.kind not in JOINERS:
        raise NetworkError(
            f"layer {name!r} is a {call.kind}, which has no torch counterpart here yet; a live model runs its layers "
            "itself where Keras runs on torch (KERAS_BACKEND=torch): load it in Python and pass the model object"
        )
    if call.kind in BUILDERS and count != 1:
        raise NetworkError(f"layer {name!r} ({call.kind}) takes {count} inputs; it needs one")
    require_plain_call(call, name)
    if (
        call.kwargs.get("training") is True
        and call.kind == "BatchNormalization"
        and call.config.get("trainable", True)
    ):
        raise NetworkError(
            f"layer {name!r} ({call.kind}) is called with training=True, which is not supported"
        )


def require_numbers(call: Call, name: str) -> None:
    """NetworkError where a layer computes with anything but floating-point numbers."""
    policy = call.config.get("dtype")
    if isinstance(policy, dict):
        inner = policy.get("config")
        inner = inner if isinstance(inner, dict) else {}
        policy = inner.get("mode") or inner.get("name")
    quantized = call.config.get("quantization_config") or (
        isinstance(policy, str) and _QUANTIZED.search(policy)
    )
    if quantized:
        raise NetworkError(f"layer {name!r} ({call.kind}) is quantized ({policy}), which is not supported")
    if isinstance(policy, str) and not call.is_operation and not _FLOATS.fullmatch(policy):
        raise NetworkError(f"layer {name!r} ({call.kind}) computes in {policy}, which is not supported")


def require_plain_call(call: Call, name: str) -> None:
    """NetworkError where a layer is called on more than tensors: numbers among them, masks, settings of the call."""
    for key, value in call.kwargs.items():
        if key in _MASKS and value is not None:
            raise NetworkError(f"layer {name!r} ({call.kind}): {key} is not supported; leave the mask out")
        known = key in ("training", "use_causal_mask", "return_attention_scores") or key in _INPUTS
        if not known and value is not None and value is not False:
            raise NetworkError(
                f"layer {name!r} ({call.kind}) is called with {key}={short(value)}, which is not supported"
            )
    given = [*call.args, *(call.kwargs[k] for k in _INPUTS if k in call.kwargs)]
    odd = next((leaf for leaf in _leaves(given) if not isinstance(leaf, Ref) and leaf is not None), None)
    if odd is not None:
        raise NetworkError(
            f"layer {name!r} ({call.kind}) is called on a constant ({short(odd)}), which is not supported"
        )


def require_own_settings(kind: str, settings: Settings) -> None:
    """NetworkError where none of a class's settings is there, or one that only a class without `get_config` has: a class
    of a person's own under the name of one of Keras', as `.h5` files keep it."""
    bare = settings.absent and not settings.read - {"dtype"} and isinstance(settings.get("dtype"), dict)
    if bare or "autocast" in settings:
        raise NetworkError(
            f"it has none of the settings that Keras' {kind} has: it is a class of a person's own, and {OWN_CODE}"
        )


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        yield value
