"""A Keras graph, read as config and weights, built anew from torch modules under the same layer names.

Nothing of Keras runs here: the config is plain data, so a model file can carry no code into it, and the
torch graph is as fast as a native one whatever backend Keras itself runs on.

A layer of a model inside the model is named `inner/conv1`, and `inner` is that model's own output. The second
call of a layer that is used several times is `conv#2`: another place to look at, with the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import fx, nn

from filterscope.errors import NetworkError, first_line
from filterscope.networks.input_spec import InputSpec
from filterscope.networks.keras.building import FAULTS, builds, built_layer
from filterscope.networks.keras.checks import require_plain_call
from filterscope.networks.keras.config import (
    DEEPEST,
    MODELS,
    OWN_CODE,
    Call,
    Config,
    Description,
    batch_shape,
    describe,
    is_of_keras,
    is_of_keras_3,
)
from filterscope.networks.keras.first import (
    FromKerasAxes,
    InKerasAxes,
    as_last,
    channels_first,
    in_keras_axes,
    says_first,
    stays_first,
)
from filterscope.networks.keras.graph import GraphBuilder
from filterscope.networks.keras.inputs import (
    Grey,
    require_channels,
    require_grey,
    require_picture,
    several_inputs,
)
from filterscope.networks.keras.layer_table import Row, Value, layer_table, token_table
from filterscope.networks.keras.layers.products import Built
from filterscope.networks.keras.layers.reshaping import RANDOM
from filterscope.networks.keras.names import weight_folders
from filterscope.networks.keras.places import patches_of
from filterscope.networks.keras.shapes import OTHER, require_sane
from filterscope.networks.layer import Layer, safe_attribute
from filterscope.networks.weights.table import Slot, Slots
from filterscope.sides import as_size


@dataclass
class KerasGraph:
    """A Keras config as a torch graph on the meta device, with what each layer wants as weights."""

    graph: fx.GraphModule
    layers: dict[str, Layer]
    slots: Slots
    input: InputSpec
    tokens: dict[str, Layer] = field(default_factory=dict)  # LAYER@cls: tokens that stand for no patch
    live: dict[str, Any] = field(default_factory=dict)  # of a live model: the layers that have weights
    entry: str = (
        "last"  # where Keras' pictures have their channels: "last", "first", "none" (batch, height, width)
    )
    firsts: Sequence[bool] = ()  # of each output, whether its channels come first in Keras too
    random: Sequence[str] = ()  # layers that are asked to act at random, and do not here


@dataclass
class Reader(GraphBuilder):
    """Builds the torch graph of a model's description call by call."""

    size: int
    alone: bool = False  # the network is known to be right at its own size alone
    live: dict[str, Any] = field(default_factory=dict)  # of a live model: its layers, by their whole names
    whole: Description = field(init=False)
    entry: str = "last"
    random: list[str] = field(default_factory=list)  # layers that are asked to act at random

    def read(self, description: Description) -> list[Value]:
        """The whole model; what it gives."""
        if len(description.inputs) > 1:
            raise NetworkError(several_inputs(description.inputs))
        self.whole = description
        return self._model(description, "", "", None, 0)

    def _model(
        self, model: Description, prefix: str, store: str, given: Sequence[Value] | None, depth: int
    ) -> list[Value]:
        """A model's calls one after the other; `given` is what a model inside another one is called on."""
        if depth > DEEPEST:
            raise NetworkError(f"models lie within models more than {DEEPEST} deep")
        stores = weight_folders(model.layers)
        bound = dict(zip(model.inputs, given or (), strict=False))
        if given is not None and len(given) != len(model.inputs):
            raise NetworkError(
                f"{prefix.rstrip('/')!r} takes {len(model.inputs)} inputs, and is given {len(given)}"
            )
        made: dict[tuple[str, int], list[Value]] = {}
        for call in model.calls:
            inputs = [_pick(made[ref.layer, ref.call], ref.tensor, prefix + ref.layer) for ref in call.refs]
            place = f"{store}layers/{stores.get(call.name, call.name)}/"
            if call.name in bound:
                made[call.name, call.count] = [bound[call.name]]
            elif call.kind == "InputLayer":
                made[call.name, call.count] = [self.input(prefix + call.name, call.config)]
            elif call.is_model:
                made[call.name, call.count] = self._inner(call, prefix, place, inputs, depth)
            else:
                made[call.name, call.count] = self._layer(call, prefix + call.name, place, inputs)
        return [_pick(made[ref.layer, ref.call], ref.tensor, prefix + ref.layer) for ref in model.outputs]

    def _inner(self, call: Call, prefix: str, store: str, inputs: list[Value], depth: int) -> list[Value]:
        row = self.row_name(prefix + call.name)
        require_plain_call(call, row)
        model = call.inner or describe(call.kind, call.config, f"{prefix}{call.name}/")
        if call.kwargs.get("training") is True:
            model = replace(model, calls=tuple(in_training(c) for c in model.calls))
        outputs = self._model(model, f"{prefix}{call.name}/", store, inputs, depth + 1)
        last = outputs[0]
        linear = self.rows[last.row].linear if last.row in self.rows else last.node
        own = replace(last, row=row)
        self.rows[row] = Row(call.kind, own, Built(nn.Identity()), [last.row], linear, prefix + call.name)
        return [own, *outputs[1:]]

    def input(self, name: str, config: Config) -> Value:
        """The picture, in the axes that the model takes it in."""
        shape = batch_shape(config)
        require_picture(name, shape)
        grey, first = len(shape) == 3, channels_first(self.whole, shape)
        self.entry = "none" if grey else "first" if first else "last"
        if grey:
            require_grey(self.whole, name, shape)
        channels, *given = (1, *shape[1:]) if grey else shape[1:] if first else (shape[3], *shape[1:3])
        require_channels(name, channels)
        sides = [int(side or self.size) for side in given]
        whole = (int(channels), *sides)
        require_sane(name, whole, "its pictures")
        row, attribute = self.row_name(name), self.attribute(name)
        node = self.graph.placeholder(attribute)
        self.nodes[node.name] = node
        self.shapes[node.name] = whole
        other = None if self.alone else (whole[0], *(side + OTHER for side in sides))
        value = Value(row, node.name, node.name, whole, other, None if self.alone else 1, first=first)
        self.rows[row] = Row("InputLayer", value, Built(nn.Identity()), [], node.name, row)
        return self.through(value, Grey()) if grey else value

    def _layer(self, call: Call, name: str, store: str, inputs: list[Value]) -> list[Value]:
        """A layer's call; of a model with channels first as it would be with channels last."""
        if says_first(call):
            inputs = [
                self.through(v, FromKerasAxes()) if len(v.shape) == 3 and not v.first else v for v in inputs
            ]
        first = any(v.first for v in inputs)
        fitted = as_last(call, [v.first for v in inputs]) if first else call
        if (
            fitted is not None
            and first
            and call.whole is False
            and not builds(fitted, name, [v.shape for v in inputs])
        ):
            fitted, call = None, replace(call, whole=True)
        if fitted is not None:
            values = self._called(fitted, name, store, inputs)
            values = [replace(v, first=first and len(v.shape) == 3) for v in values]
            made = self.entry == "first" and call.is_operation and all(len(v.shape) < 3 for v in inputs)
        else:
            inputs = [self.through(v, InKerasAxes()) if v.first else v for v in inputs]
            values, made = self._called(call, name, store, inputs), True
        return self._first_again(values) if made and stays_first(call) else values

    def _first_again(self, values: list[Value]) -> list[Value]:
        """What came out of a layer in Keras' axes with its channels second, as units."""
        values = [self.through(v, FromKerasAxes()) if len(v.shape) == 3 else v for v in values]
        row = self.rows[values[0].row]
        if row.value.node != values[0].node:
            self.rows[values[0].row] = replace(row, value=values[0], linear=values[0].node)
        return values

    def _called(self, call: Call, name: str, store: str, inputs: list[Value]) -> list[Value]:
        row = self.row_name(name)
        try:
            built = built_layer(call, name, [v.shape for v in inputs])
            if inputs and inputs[0].first:
                built = in_keras_axes(built)
            self.live[name] = call.live
            if call.kwargs.get("training") is True and call.kind in RANDOM:
                self.random.append(name)
            for parameter in built.module.parameters():
                require_sane(name, tuple(parameter.shape), "a tensor of weights")
            first = self.rows.get(name)
            if first is not None and built.slots:  # a further call of a layer: the same weights
                if [s.shape for s in built.slots] != [s.shape for s in first.built.slots]:
                    raise NetworkError("its calls want weights of different shapes")
                built = replace(built, module=first.built.module)
            built = replace(built, slots=tuple(_stored(s, i, store) for i, s in enumerate(built.slots)))
            values = self.add(row, name if built.slots else row, built, inputs)
        except NetworkError as error:
            said = str(error)
            if said.startswith(f"layer {name!r}"):
                raise
            raise NetworkError(f"layer {name!r} ({call.kind}): {said}") from None
        except KeyError as error:
            raise NetworkError(f"layer {name!r} ({call.kind}): its config lacks {error}") from error
        except FAULTS as error:
            raise NetworkError(
                f"layer {name!r} ({call.kind}): its config does not fit: {first_line(error)}"
            ) from error
        linear = self.linear_of(built, values[0], inputs)
        values[0] = replace(
            values[0], before=linear if built.pools or built.acts or built.joins else values[0].before
        )
        self.rows[row] = Row(
            call.kind, values[0], built, [v.row for v in inputs], linear, name if built.slots else row
        )
        return values


def read_graph(config: Config, *, size: int = 224) -> KerasGraph:
    """Build a Keras model from its serialised config ({"class_name": "Functional", "config": {...}}).

    `size` stands in for picture sides that the config leaves open.
    """
    kind = config.get("class_name")
    if kind not in MODELS:
        raise NetworkError(
            f"a Keras model of class {kind!r} has no graph to read; Functional and Sequential have, and {OWN_CODE}"
        )
    inner = config["config"]
    if not is_of_keras(config) or (kind == "Model" and is_of_keras_3(inner)):
        raise NetworkError(f"the model is of a class of its own, also called {kind!r}, and {OWN_CODE}")
    return build_graph(
        describe(str(kind), {"layers": inner} if isinstance(inner, list) else inner), size=size
    )


def in_training(call: Call) -> Call:
    """A call within a model that is called as in training."""
    return (
        call
        if call.kwargs.get("training") is not None
        else replace(call, kwargs={**call.kwargs, "training": True})
    )


def build_graph(model: Description, *, size: int = 224, alone: bool = False) -> KerasGraph:
    """The same of a model that is read already. `alone`: it is known to be right at its own size alone."""
    reader = Reader(size, alone)
    outputs = reader.read(model)
    slots: dict[str, tuple[str, tuple[Slot, ...]]] = {
        n: (safe_attribute(n), row.built.slots)
        for n, row in reader.rows.items()
        if row.built.slots and row.owner == n
    }
    patches = patches_of(reader)
    layers = {row.name: row for row in layer_table(reader, [v.node for v in outputs], patches)}
    tokens = {token.name: token for token in token_table(reader, layers, patches)}
    reader.graph.output(tuple(reader.nodes[v.node] for v in outputs))
    graph = fx.GraphModule(reader.root, reader.graph).eval()
    first = next(row for row in reader.rows.values() if row.kind == "InputLayer").value.shape
    fixed = any(row.value.other is None for row in reader.rows.values())
    spec = InputSpec(
        size=as_size(first[1], first[2]),
        channels=first[0],
        mean=(0.0,) * first[0],
        std=(1.0,) * first[0],
        fixed=fixed,
    )
    live = {n: reader.live[n] for n in slots if n in reader.live}
    return KerasGraph(
        graph, layers, slots, spec, tokens, live, reader.entry, [v.first for v in outputs], reader.random
    )


def _pick(values: list[Value], position: int, name: str) -> Value:
    if not 0 <= position < len(values):
        raise NetworkError(f"the config names output {position} of {name!r}, which has {len(values)}")
    return values[position]


def _stored(slot: Slot, position: int, store: str) -> Slot:
    return replace(slot, store=store + (slot.store or f"vars/{position}"))
