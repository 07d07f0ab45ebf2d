"""A Keras graph, read as config and weights, built anew from torch modules under the same layer names.

Nothing of Keras runs here: the config is plain data, so a model file can carry no code into it, and the
torch graph is as fast as a native one whatever backend Keras itself runs on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from filterscope.errors import NetworkError
from filterscope.networks.keras_layers import BUILDERS, Affine, Built, Flatten
from filterscope.networks.network import InputSpec, Layer, safe_attribute
from filterscope.networks.weights import Slots


@dataclass
class KerasGraph:
    """A Keras config as a torch graph on the meta device, with what each layer wants as weights."""

    graph: fx.GraphModule
    layers: dict[str, Layer]
    slots: Slots
    input: InputSpec


@dataclass
class _Row:
    built: Built
    shape: tuple[int, ...]
    field: int | None
    jump: int
    inputs: list[str]
    linear: str
    output: str


@dataclass
class _Reader:
    config: dict[str, Any]
    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    nodes: dict[str, fx.Node] = field(default_factory=dict)
    rows: dict[str, _Row] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    lifted: Affine | None = None

    def read(self, entry: dict[str, Any], inputs: list[str], size: int) -> None:
        kind, config = entry["class_name"], entry["config"]
        name = str(config.get("name") or entry.get("name"))
        if name in self.rows:
            raise NetworkError(f"layer {name!r} is used twice: shared layers are not supported yet")
        self.kinds[name] = kind
        if kind == "InputLayer":
            self._input(name, config, size)
            return
        if kind not in BUILDERS:
            raise NetworkError(f"layer {name!r} is a {kind}, which has no torch counterpart here yet")
        if len(inputs) != 1:
            raise NetworkError(
                f"layer {name!r} ({kind}) takes {len(inputs)} inputs; only one is supported yet"
            )
        source = self.rows[inputs[0]]
        try:
            built = BUILDERS[kind](config, source.shape)
        except NetworkError as error:
            raise NetworkError(f"layer {name!r} ({kind}): {error}") from None
        if isinstance(built.module, Affine) and self.kinds[inputs[0]] == "InputLayer":
            self.lifted = built.module
            built = Built(nn.Identity())
        self._add(name, built, source, inputs)

    def _input(self, name: str, config: dict[str, Any], size: int) -> None:
        shape = config.get("batch_shape") or config.get("batch_input_shape")
        if len(self.rows):
            raise NetworkError("networks with several inputs are not supported")
        if shape is None or len(shape) != 4 or shape[3] is None:
            raise NetworkError(
                f"the input {name!r} is no picture: its shape is {shape}, expected (batch, h, w, channels)"
            )
        node = self.graph.placeholder(safe_attribute(name))
        self.nodes[node.name] = node
        whole = (shape[3], shape[1] or size, shape[2] or size)
        self.rows[name] = _Row(Built(nn.Identity()), whole, 1, 1, [], node.name, node.name)

    def _add(self, name: str, built: Built, source: _Row, inputs: list[str]) -> None:
        linear = self._call(safe_attribute(name), built.module, source.output)
        output = linear
        if built.activation is not None:
            output = self._call(f"activation_of_{safe_attribute(name)}", built.activation, linear)
        with torch.device("meta"):
            twin = copy.deepcopy(built.module).to("meta")  # a Rescaling keeps its own numbers
            result = twin(torch.empty(1, *source.shape, device="meta"))
        reach, jump = None, source.jump
        if built.window is not None and source.field is not None:
            reach = source.field + (built.window[0] - 1) * source.jump
            jump = source.jump * built.window[1]
        self.rows[name] = _Row(built, tuple(result.shape[1:]), reach, jump, inputs, linear, output)

    def _call(self, attribute: str, module: nn.Module, source: str) -> str:
        if hasattr(self.root, attribute):
            raise NetworkError(f"two layers' names differ in signs alone ({attribute}); rename one")
        self.root.add_module(attribute, module)
        node = self.graph.call_module(attribute, (self.nodes[source],))
        self.nodes[node.name] = node
        return node.name

    def ancestors(self, name: str) -> tuple[str, ...]:
        found: dict[str, None] = {}
        todo = list(self.rows[name].inputs)
        while todo:
            parent = todo.pop()
            if parent not in found:
                found[parent] = None
                todo.extend(self.rows[parent].inputs)
        return tuple(n for n in self.rows if n in found)

    def softmax(self, name: str) -> str | None:
        """The node of the softmax that is the layer's activation, is the layer, or follows it directly."""
        row = self.rows[name]
        if isinstance(row.built.activation or row.built.module, nn.Softmax):
            return row.output
        for after in self.rows.values():
            if after.inputs == [name] and isinstance(after.built.module, nn.Softmax):
                return after.output
        return None

    def logits(self, name: str) -> str | None:
        """The node that goes into that softmax."""
        row = self.rows[name]
        if self.softmax(name) is None:
            return None
        if isinstance(row.built.activation, nn.Softmax):
            return row.linear
        return self.rows[row.inputs[0]].output if isinstance(row.built.module, nn.Softmax) else row.output

    def linear(self, name: str) -> str:
        """The node before the layer's activation: its own, or for a layer that is an activation, or that pools
        what comes out of one, the node before that one."""
        row = self.rows[name]
        if row.built.activation is not None or not row.inputs:
            return row.linear
        if isinstance(row.built.module, nn.Softmax | nn.ReLU | nn.ReLU6):
            return self.rows[row.inputs[0]].output
        if row.built.pools:
            before = self.linear(row.inputs[0])
            return row.linear if before == self.rows[row.inputs[0]].output else before
        return row.linear

    def layer(self, name: str) -> Layer:
        row = self.rows[name]
        return Layer(
            name=name,
            kind=self.kinds[name],
            output_shape=row.shape,
            parameters=sum(_size(slot.shape) for slot in row.built.slots),
            receptive_field=row.field,
            trained=True,
            output=row.output,
            linear=self.linear(name),
            softmax=self.softmax(name),
            logits=self.logits(name),
            depends_on=self.ancestors(name),
        )


def read_graph(config: dict[str, Any], *, size: int = 224) -> KerasGraph:
    """Build a Keras model from its serialised config ({"class_name": "Functional", "config": {...}}).

    `size` stands in for picture sides that the config leaves open. A Rescaling layer right behind the input
    becomes part of the input spec (mean and std), so that the picture keeps the 0 to 255 scale outside the
    network; the layer keeps its name and its output.
    """
    kind = config.get("class_name")
    if kind not in ("Functional", "Model", "Sequential"):
        raise NetworkError(
            f"a Keras model of class {kind!r} has no graph to read; Functional and Sequential have"
        )
    reader = _Reader(config)
    for entry, inputs in _calls(config["config"], sequential=kind == "Sequential"):
        reader.read(entry, inputs, size)
    last = next(reversed(reader.rows.values()))
    reader.graph.output(reader.nodes[last.output])
    graph = fx.GraphModule(reader.root, reader.graph)
    slots = {n: (safe_attribute(n), row.built.slots) for n, row in reader.rows.items() if row.built.slots}
    layers = {name: reader.layer(name) for name in reader.rows}
    return KerasGraph(graph, layers, slots, _input_spec(reader, size))


def _calls(config: dict[str, Any], *, sequential: bool) -> Iterable[tuple[dict[str, Any], list[str]]]:
    """Each layer of the config with the names of the layers that feed it, in an order that runs."""
    previous: list[str] = []
    for entry in config["layers"]:
        name = entry["config"].get("name") or entry.get("name")
        if sequential:
            yield entry, previous
            previous = [name]
            continue
        calls = entry.get("inbound_nodes", [])
        if len(calls) > 1:
            raise NetworkError(
                f"layer {name!r} is used {len(calls)} times: shared layers are not supported yet"
            )
        yield entry, list(_histories(calls))


def _histories(value: Any) -> Iterable[str]:
    """The layers named by the `__keras_tensor__` entries (Keras 3) anywhere inside a call's arguments."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
        else:
            for inner in value.values():
                yield from _histories(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _histories(inner)


def _input_spec(reader: _Reader, size: int) -> InputSpec:
    first = next(iter(reader.rows.values()))
    channels, height, _ = first.shape
    mean, std = (0.0,) * channels, (1.0,) * channels
    if reader.lifted is not None:
        scale, offset = reader.lifted.get_buffer("scale"), reader.lifted.get_buffer("offset")
        mean = tuple(float(f"{v:.6g}") for v in (-offset / scale).tolist())
        std = tuple(float(f"{v:.6g}") for v in (1 / scale).tolist())
    flat = any(isinstance(row.built.module, Flatten) for row in reader.rows.values())
    return InputSpec(size=height or size, channels=channels, mean=mean, std=std, fixed=flat)


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
