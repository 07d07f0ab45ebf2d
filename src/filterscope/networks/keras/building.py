"""One call of a Keras layer as torch runs it: by the tables, or the layer itself where it is there and has to be run."""

from __future__ import annotations

from dataclasses import replace

from filterscope.errors import NetworkError
from filterscope.networks.keras.checks import require_buildable, require_numbers, require_own_settings
from filterscope.networks.keras.config import Call
from filterscope.networks.keras.layers.base import Built, Settings, Shape, require_all_read
from filterscope.networks.keras.layers.operations import operation
from filterscope.networks.keras.layers.products import BUILDERS, JOINERS
from filterscope.networks.keras.own import OwnLayer, why_unfit
from filterscope.networks.keras.shapes import shapes_after

# what configs that do not fit raise
FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def built_layer(call: Call, name: str, shapes: list[Shape]) -> Built:
    """The layer as torch runs it; the layer itself where it has to be run, or nothing here builds it, and it is there."""
    require_numbers(call, name)
    if call.whole:
        return _own_layer(call, shapes)
    try:
        require_buildable(call, name, len(shapes))
        built, settings = _build(call, shapes)
        if call.is_operation:
            shapes_after(built.module, shapes)  # operations read their settings when they run
        if not call.module:
            require_own_settings(call.kind, settings)
        require_all_read(call.kind, settings)
    except (NetworkError, *FAULTS) as cause:
        if call.whole is None:
            raise
        try:
            return _own_layer(call, shapes)
        except NetworkError:
            raise cause from None
    return built


def _own_layer(call: Call, shapes: list[Shape]) -> Built:
    own = OwnLayer(call.live, call.args, call.kwargs, call.refs)
    if (reason := why_unfit(own, shapes)) is not None:
        raise NetworkError(f"its own code {reason}")
    return Built(own, window=None)


def builds(call: Call, name: str, shapes: list[Shape]) -> bool:
    """Whether a layer of a live model is built here."""
    try:
        built_layer(replace(call, whole=None), name, shapes)
    except (NetworkError, *FAULTS):
        return False
    return True


def _build(call: Call, shapes: list[Shape]) -> tuple[Built, Settings]:
    """The layer as torch runs it, and its settings, which note what is read of them."""
    if call.is_operation:
        return operation(call, shapes)
    if call.kind in JOINERS:
        if not shapes:
            raise NetworkError("it has no inputs")
        settings = Settings({**call.config, "call_arguments": call.kwargs})
        settings.get("call_arguments")
        return JOINERS[call.kind](settings, shapes), settings
    settings = Settings(call.config)
    return BUILDERS[call.kind](settings, shapes[0]), settings
