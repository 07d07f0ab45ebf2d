"""A Keras model's config as a list of calls: which layer is called on whose outputs, in an order that runs.

Both of Keras' spellings are read: Keras 3's (`args` and `kwargs` with `__keras_tensor__` entries) and the lists
of `[layer, call, tensor, kwargs]` of Keras 1 and 2. The config is plain data; nothing in it is imported or run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from filterscope.errors import NetworkError

Config = dict[str, Any]
MODELS = ("Functional", "Model", "Sequential")
DEEPEST = 16  # models within models
OPERATIONS = "keras.src.ops."  # the modules of Keras 3's bare operations
OWN_CODE = (
    "code of a model file is never run. Where you trust it, open it in Python with Keras on torch (KERAS_BACKEND=torch) and "
    "pass the model object, or give NET as file.py:factory"
)

# what older Keras versions, and TensorFlow's Keras, call the same classes
_ALIASES = {
    "Convolution2D": "Conv2D",
    "SeparableConvolution2D": "SeparableConv2D",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Deconvolution2D": "Conv2DTranspose",
    "MaxPool2D": "MaxPooling2D",
    "AvgPool2D": "AveragePooling2D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
    "SyncBatchNormalization": "BatchNormalization",
}
_VERSION = re.compile(r"V[12]$")


@dataclass(frozen=True)
class Ref:
    """In a call's arguments: the output of another call, by layer, count of the call, and position."""

    layer: str
    call: int = 0
    tensor: int = 0


@dataclass(frozen=True)
class Constant:
    """In a call's arguments: an array that the model holds, as nested lists."""

    value: Any


_NAMED = ("query", "value", "key")  # the order of attention's inputs, however a call names them


@dataclass(frozen=True)
class Call:
    """One call of a layer. `count` is 0 for a layer's first call; `args` and `kwargs` hold Refs, Constants, plain values."""

    name: str
    kind: str
    config: Config
    count: int = 0
    args: tuple[Any, ...] = ()
    kwargs: Config = field(default_factory=dict)
    module: str = ""
    live: Any = None  # of a live model: the layer itself
    whole: bool | None = None  # whether the layer itself is run: never, where nothing here builds it, always
    inner: Description | None = None  # what the layer is made of, where no config says so

    @property
    def refs(self) -> list[Ref]:
        """What goes in, in the order of the arguments."""
        named = sorted(
            self.kwargs.items(), key=lambda item: _NAMED.index(item[0]) if item[0] in _NAMED else 3
        )
        return list(_refs([list(self.args), [value for _, value in named]]))

    @property
    def is_model(self) -> bool:
        """Whether the layer is made of others."""
        return self.kind in MODELS or self.inner is not None

    @property
    def is_operation(self) -> bool:
        """Whether the node is a bare operation, as `x + 3` leaves in a functional model, and no layer."""
        return self.module.startswith(OPERATIONS) or self.kind in ("TFOpLambda", "SlicingOpLambda")


@dataclass(frozen=True)
class Description:
    """A model's config, read: its calls in an order that runs, the names of its inputs, its outputs, and every
    layer's name and class in the order that the config lists them."""

    calls: tuple[Call, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Ref, ...]
    layers: tuple[tuple[str, str], ...]


def describe(kind: str, config: Config, owner: str = "") -> Description:
    """Read the config of a model of class `kind`; NetworkError for one whose graph cannot be followed.

    `owner` is what messages call the model that this one is part of, ending in `/`.
    """
    entries = [_entry(e, owner) for e in config["layers"]]
    if kind == "Sequential":
        return _sequential(entries, config.get("build_input_shape"))
    calls = {
        entry.name: list(_calls(entry, raw)) for entry, raw in zip(entries, config["layers"], strict=True)
    }
    if len(calls) < len(entries):
        raise NetworkError(f"two layers of the model are called {_double(entries)!r}")
    # models start out with a call of their own: Keras 2 counts a model's calls from 1, Keras 3 where it lists
    # outputs, functional ones only
    old = any(not isinstance(node, dict) for e in config["layers"] for node in e.get("inbound_nodes") or ())
    order = in_order(calls, owner, old)
    outputs = tuple(
        _known(ref, calls, owner, old or (ref.layer in calls and calls[ref.layer][0].kind == "Functional"))
        for ref in _places(config["output_layers"])
    )
    inputs = tuple(ref.layer for ref in _places(config["input_layers"]))
    return Description(tuple(order), inputs, outputs, tuple((e.name, e.kind) for e in entries))


def _entry(entry: Config, owner: str) -> Call:
    config = entry["config"]
    kind, module = str(entry["class_name"]), str(entry.get("module") or "")
    name = str(
        entry.get("name") or (config.get("name") if isinstance(config, dict) else None) or kind.lower()
    )
    if isinstance(config, list):  # Sequential before Keras 2.2.3: its config is the list of its layers
        config = {"name": name, "layers": config}
    registered = str(entry.get("registered_name") or "")
    own = kind == "Model" and is_of_keras_3(config)
    if own or not is_of_keras(entry) or ">" in kind:
        raise NetworkError(
            f"layer {owner + name!r} is of a class of its own, {registered or f'{module}.{kind}'.lstrip('.')!r}: {OWN_CODE}"
        )
    if module.startswith(OPERATIONS) or _is_old_operation(entry):
        return Call(name, kind, config, module=module or OPERATIONS)
    kind = _ALIASES.get(kind) or _ALIASES.get(_VERSION.sub("", kind)) or kind
    bare = _VERSION.sub("", kind)
    kind = bare if bare in ("BatchNormalization", "Normalization", "LayerNormalization") else kind
    if kind not in MODELS:
        config = {key: _number(value) for key, value in config.items()}
    return Call(name, "Functional" if kind == "Model" else kind, config, module=module)


def is_of_keras_3(config: Any) -> bool:
    """Whether a model's config is written as Keras 3 does it, which calls no model of its own `Model` any more."""
    entries = config.get("layers", ()) if isinstance(config, dict) else ()
    return any(isinstance(node, dict) for entry in entries for node in entry.get("inbound_nodes") or ())


def _number(value: Any) -> Any:
    """A setting that was an array or a tuple, as the numbers that it holds."""
    kind = value.get("class_name") if isinstance(value, dict) else None
    if kind in ("__numpy__", "__tensor__"):
        return value["config"]["value"]
    return _value(value) if kind == "__tuple__" else value


def is_of_keras(entry: Config) -> bool:
    """Whether a serialised object names a class or function of Keras' own, as far as what is written tells."""
    module, registered = str(entry.get("module") or ""), str(entry.get("registered_name") or "")
    package = registered.partition(">")[0] if ">" in registered else "keras"
    if registered and not module and "module" in entry:
        return False  # Keras' own classes have a module, those of the program's main file and registered ones have none
    known = not module or module.partition(".")[0] in ("keras", "tf_keras", "tensorflow", "builtins")
    return known and package.lower().partition(".")[0] in ("keras", "builtins")


def _is_old_operation(entry: Config) -> bool:
    """Whether an entry of a `.h5` that Keras 3 wrote is a bare operation: there `Add` is the layer or `x + 1`, and what
    tells them apart is what every layer's config holds."""
    config = entry["config"]
    nodes = entry.get("inbound_nodes") or ()
    return (
        not entry.get("module")
        and any(isinstance(node, dict) for node in nodes)
        and isinstance(config, dict)
        and not {"trainable", "layers", "batch_shape", "batch_input_shape"} & set(config)
    )


def _sequential(entries: list[Call], shape: Any) -> Description:
    calls: list[Call] = []
    inputs: list[str] = []
    for position, entry in enumerate(entries):
        if not position and entry.kind != "InputLayer":
            first = {"name": f"{entry.name}_input", "batch_shape": _input_shape(entry) or shape}
            calls.append(Call(first["name"], "InputLayer", first))
            inputs.append(first["name"])
        if entry.kind == "InputLayer":
            inputs.append(entry.name)
        args = (Ref(calls[-1].name),) if calls and entry.kind != "InputLayer" else ()
        calls.append(Call(entry.name, entry.kind, entry.config, 0, args, {}, entry.module))
    if len({c.name for c in calls}) < len(calls):
        raise NetworkError(f"two layers of the model are called {_double(calls)!r}")
    if not calls:
        raise NetworkError("the model has no layers")
    layers = tuple((c.name, c.kind) for c in calls if c.kind != "InputLayer")
    return Description(tuple(calls), tuple(inputs), (Ref(calls[-1].name),), layers)


def batch_shape(config: Config) -> Any:
    """The shape (batch, ...) that an input is declared with, in any Keras' spelling; None where there is none."""
    return config.get("batch_shape") or config.get("batch_input_shape")


def _input_shape(entry: Call, depth: int = 0) -> Any:
    """The shape that a Sequential's first layer is declared for; of a model, its first input's."""
    if not entry.is_model or depth > DEEPEST:
        return batch_shape(entry.config)
    return _input_shape(_entry(entry.config["layers"][0], ""), depth + 1)


def _double(calls: Iterable[Call]) -> str:
    seen: set[str] = set()
    return next(c.name for c in calls if c.name in seen or seen.add(c.name))  # type: ignore[func-returns-value]


def _calls(entry: Call, raw: Config) -> Iterator[Call]:
    nodes = raw.get("inbound_nodes") or []
    if nodes and entry.kind != "InputLayer":
        for count, node in enumerate(nodes):
            if isinstance(node, dict):
                args, kwargs = _value(node.get("args", [])), _value(node.get("kwargs", {}))
            else:
                args, kwargs = _legacy_arguments(node)
            yield Call(entry.name, entry.kind, entry.config, count, tuple(args), kwargs, entry.module)
    else:
        yield entry


def _legacy_arguments(node: Any) -> tuple[list[Any], Config]:
    """`[["conv", 0, 0, {}], ...]`; a single input stands alone, several are one list."""
    rows = [node] if node and isinstance(node[0], str) else list(node)
    refs: list[Any] = []
    kwargs: Config = {}
    for row in rows:
        if row[0] == "_CONSTANT_VALUE":  # a number before an operation: `1 - x`
            refs.append(row[2])
        else:
            refs.append(
                Ref(str(row[0]), int(row[1]), int(row[2])) if isinstance(row[0], str) else _value(row)
            )
        if len(row) > 3 and isinstance(row[3], dict):
            kwargs.update({k: _legacy_value(v) for k, v in row[3].items()})
    return (refs if len(refs) == 1 else [refs]), kwargs


def _legacy_value(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and all(isinstance(v, int) for v in value[1:3]):
            return Ref(value[0], value[1], value[2])
        return [_legacy_value(v) for v in value]
    return value


def _value(value: Any) -> Any:
    """An argument as Keras 3 serialises it: Refs for tensors, slices, numbers, lists."""
    if isinstance(value, list | tuple):
        return [_value(v) for v in value]
    if not isinstance(value, dict):
        return value
    kind, inner = value.get("class_name"), value.get("config")
    if kind == "__keras_tensor__":
        layer, call, tensor = inner["keras_history"]  # type: ignore[index]
        return Ref(str(layer), int(call), int(tensor))
    if kind in ("__numpy__", "__tensor__"):
        return Constant(inner["value"])  # type: ignore[index]
    if kind == "__tuple__":
        return _value(inner["value"] if isinstance(inner, dict) else inner)
    if kind == "__slice__":
        return slice(*(_value(inner[k]) for k in ("start", "stop", "step")))  # type: ignore[index]
    if kind == "__ellipsis__":
        return ...
    return {k: _value(v) for k, v in value.items()}


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _refs(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _refs(inner)


def in_order(calls: dict[str, list[Call]], owner: str, old: bool) -> list[Call]:
    """Every call behind the calls it needs; as far as that allows in the order of the config."""
    waiting = {name: list(of_layer) for name, of_layer in calls.items()}
    done: set[Ref] = set()
    order: list[Call] = []
    while any(waiting.values()):
        before = len(order)
        for of_layer in waiting.values():
            while of_layer:
                call = of_layer[0]
                refs = {ref: _known(ref, calls, owner, old) for ref in call.refs}
                if not all(Ref(found.layer, found.call) in done for found in refs.values()):
                    break
                args, kwargs = _replaced(list(call.args), refs), _replaced(call.kwargs, refs)
                order.append(replace(call, args=tuple(args), kwargs=kwargs))
                done.add(Ref(call.name, call.count))
                of_layer.pop(0)
        if len(order) == before:
            stuck = next(name for name, of_layer in waiting.items() if of_layer)
            raise NetworkError(f"the model's graph runs in a circle at layer {owner + stuck!r}")
    return order


def _known(ref: Ref, calls: dict[str, list[Call]], owner: str, from_one: bool) -> Ref:
    """The ref with its call counted from 0; NetworkError where the model has no such call."""
    of_layer = calls.get(ref.layer)
    if not of_layer:
        raise NetworkError(f"the config names a layer {owner + ref.layer!r} that the model does not have")
    count = ref.call - 1 if from_one and of_layer[0].is_model and ref.call > 0 else ref.call
    if not 0 <= count < len(of_layer):
        raise NetworkError(
            f"the config names call {ref.call} of {owner + ref.layer!r}, called {len(of_layer)} times"
        )
    return Ref(ref.layer, count, ref.tensor)


def _replaced(value: Any, refs: dict[Ref, Ref]) -> Any:
    if isinstance(value, Ref):
        return refs[value]
    if isinstance(value, dict):
        return {k: _replaced(v, refs) for k, v in value.items()}
    return [_replaced(v, refs) for v in value] if isinstance(value, list) else value


def _places(value: Any) -> Iterator[Ref]:
    """The [layer, call, tensor] leaves of `input_layers` and `output_layers`, however they are nested."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _places(inner)
    elif value and isinstance(value[0], str):
        yield Ref(str(value[0]), int(value[1]), int(value[2]))
    else:
        for inner in value:
            yield from _places(inner)
