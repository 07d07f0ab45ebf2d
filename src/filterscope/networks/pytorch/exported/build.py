"""torch.export programs (`.pt2`), read as data: a graph of named tensor operations, and raw tensors.

torch's own loader unpickles and evaluates parts of such a file, so that a file could run code; here nothing of it
is ever run but operations of ATen, and of these none that takes a file's name. Layers are named by the modules
that the program's operations came from.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from filterscope.errors import NetworkError, first_line
from filterscope.networks.checkpoints.reading import check_archive
from filterscope.networks.input_spec import InputOptions, InputSpec
from filterscope.networks.network import Network
from filterscope.networks.pytorch.exported.program import (
    DTYPES,
    Program,
    int_values,
    read_program,
    require_small,
)
from filterscope.networks.pytorch.input import UNIT_RANGE
from filterscope.networks.pytorch.layer_table import read_traced
from filterscope.networks.pytorch.module import TorchWeights
from filterscope.networks.pytorch.single import SingleNetwork
from filterscope.networks.pytorch.trace import INPUT, Call, Traced, without_mutation
from filterscope.networks.weights.table import sha256_file
from filterscope.sides import Size, as_size, others_of, sides_of

FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
OPERATORS = (
    "add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow", "getitem", "eq", "ne", "lt", "le", "gt", "ge", "and_",
    "or_", "not_",
)  # fmt: skip
# what strings may say; a file's name is not among it
_WORDS = {"padding", "approximate", "mode", "reduce", "rounding_mode", "indexing", "equation"}
_CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size")


def open_exported(path: Path, weights: Any, options: InputOptions) -> Network:
    """A `.pt2` file as a Network. NetworkError where it is damaged, or holds what only running code could read."""
    if weights is not None:
        raise NetworkError(f"{path.name} has weights of its own: leave out weights=")
    if not path.is_file():
        raise NetworkError(f"there is no program {str(path)!r}")
    try:
        check_archive(path)
        built = _Builder(read_program(path), path.name)
    except NetworkError:
        raise
    except Exception as error:  # whatever is missing or out of place in a damaged file
        raise NetworkError(f"{path.name} is no whole torch.export program: {_reason(error)}") from error
    spec = built.spec.changed(replace(options, size=None))
    if spec.channels != built.spec.channels or options.size not in (None, built.spec.size):
        sides = " x ".join(map(str, sides_of(built.spec.size)))
        raise NetworkError(f"{path.name} was exported for {built.spec.channels} x {sides} pictures")
    found = read_traced(built.traced)
    source = TorchWeights(path.name, lambda: sha256_file(path), path)
    parts = (path.name, found.graph, found.layers, spec, source)
    if built.any_batch:
        return Network(*parts, tokens=found.tokens)
    return SingleNetwork(*parts, tokens=found.tokens, batch=built.batch)


class _Builder:
    """A program as a Traced graph: its tensors under the modules that held them, its operations as nodes."""

    def __init__(self, program: Program, file: str):
        self.program, self.file = program, file
        self.holder, self.graph = nn.Module(), fx.Graph()
        self.holder.add_module("net", nn.Module())
        self.nodes: dict[str, Any] = {}
        self.stacks: dict[fx.Node, list[tuple[str, str]]] = {}
        self.spec, self.batch = self._inputs()
        for entry in program.graph["nodes"]:
            self._node(entry)
        self.any_batch = self._evaluated(self.batch + 1)
        if not self.any_batch and not self._evaluated(self.batch):
            raise NetworkError(f"{file}: its operations do not fit together")
        others = others_of(self.spec.size)
        self.spec = replace(self.spec, fixed=not any(self._runs(s) for s in others))
        self._evaluated(self.batch + 1 if self.any_batch else self.batch)
        without_mutation(self.graph, self.holder)
        outputs = self._outputs()
        self.traced = Traced(self.holder, self.graph, self._calls(), outputs, False)

    def _inputs(self) -> tuple[InputSpec, int]:
        spec: InputSpec | None = None
        batch = 1
        for entry in self.program.inputs:
            ((kind, told),) = entry.items()
            name = (
                (told["arg"].get("as_tensor") or told["arg"])["name"] if isinstance(told["arg"], dict) else ""
            )
            if kind == "user_input":
                if spec is not None:
                    raise NetworkError(f"{self.file} takes several inputs; networks of one picture open")
                shape = int_values(self.program.graph["tensor_values"][name]["sizes"])
                if len(shape) != 4:
                    raise NetworkError(
                        f"{self.file} takes an input of shape {list(shape)}; expected pictures"
                    )
                batch, channels, height, width = shape
                spec = replace(UNIT_RANGE, size=as_size(height, width)).changed(
                    InputOptions(channels=channels)
                )
                self.nodes[name] = self.graph.placeholder(INPUT)
            else:
                own = str(
                    told.get("parameter_name") or told.get("buffer_name") or told.get("tensor_constant_name")
                )
                self.nodes[name] = (own, kind)
        if spec is None:
            raise NetworkError(f"{self.file} takes no picture")
        for name, value in list(self.nodes.items()):
            if isinstance(value, tuple):
                self.nodes[name] = self._attribute(*value)
        return spec, batch

    def _outputs(self) -> dict[str, fx.Node]:
        """What the program gives, by place, as the layers of its outputs are named."""
        values = [self._value(v) for v in self.program.graph["outputs"]]
        nodes = [v for v in values if isinstance(v, fx.Node)]
        return (
            {"": nodes[0]} if len(values) == len(nodes) == 1 else {f"[{i}]": n for i, n in enumerate(nodes)}
        )

    def _attribute(self, own: str, kind: str) -> fx.Node:
        if own not in self.program.tensors:
            raise NetworkError(f"{self.file} lacks the tensor {own}")
        tensor = self.program.tensors[own]
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        path, _, name = own.rpartition(".")
        place = self._place(path)
        if kind == "parameter":
            place.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
        else:
            place.register_buffer(name, tensor)
        return self.graph.get_attr(f"net.{own}")

    def _place(self, path: str) -> nn.Module:
        place = self.holder.get_submodule("net")
        for name in path.split(".") if path else ():
            if name not in place._modules:
                place.add_module(name, nn.Module())
            place = place.get_submodule(name)
        return place

    def _node(self, entry: dict[str, Any]) -> None:
        target = self._target(entry["target"])
        if target is None:
            return
        args = [self._value(i["arg"]) for i in entry["inputs"] if i.get("kind", 1) != 2]
        kwargs = {i["name"]: self._value(i["arg"]) for i in entry["inputs"] if i.get("kind", 1) == 2}
        node = self.graph.call_function(target, tuple(args), kwargs)
        self.stacks[node] = _stack(entry.get("metadata", {}).get("nn_module_stack", ""))
        outputs = entry["outputs"]
        names = [_name(o) for o in outputs]
        if len(outputs) == 1 and "as_tensors" in outputs[0]:
            names = [o["name"] for o in outputs[0]["as_tensors"]]
        elif len(names) == 1:
            self.nodes[names[0]] = node
            return
        for i, name in enumerate(names):
            self.nodes[name] = self.graph.call_function(operator.getitem, (node, i))
            self.stacks[self.nodes[name]] = self.stacks[node]

    def _target(self, name: str) -> Callable[..., Any] | None:
        """The operation of a name: ATen's, or plain arithmetic on sizes; None for checks, which are left out."""
        parts = name.split(".")
        if parts[0] == "_operator" and len(parts) == 2 and parts[1] in OPERATORS:
            return getattr(operator, parts[1])  # type: ignore[no-any-return]
        if parts[:3] != ["torch", "ops", "aten"] or len(parts) not in (4, 5):
            raise NetworkError(f"{self.file} is refused: it asks for {name}, which is no operation of ATen")
        if parts[3] in _CHECKS:
            return None
        packet = getattr(torch.ops.aten, parts[3], None)
        found = getattr(packet, parts[4] if len(parts) == 5 else "default", None)
        if not isinstance(found, torch._ops.OpOverload):
            raise NetworkError(f"{self.file} asks for {name}, which this torch does not have")
        for argument in found._schema.arguments:
            if "str" in str(argument.type) and argument.name not in _WORDS:
                raise NetworkError(
                    f"{self.file} is refused: it asks for {name}, which takes a {argument.name}"
                )
        return found

    def _value(self, arg: Mapping[str, Any]) -> Any:
        ((kind, value),) = arg.items()
        if kind in ("as_tensor", "as_name"):
            return self.nodes[value["name"] if isinstance(value, dict) else value]
        if kind in ("as_tensors", "as_optional_tensors"):
            return [self._value(v) if _is_union(v) else self.nodes[v["name"]] for v in value]
        if kind in ("as_sym_int", "as_sym_float", "as_sym_bool", "as_optional_tensor"):
            return self._value(value)
        if kind in ("as_sym_ints", "as_sym_floats"):
            return [self._value(v) for v in value]
        if kind == "as_none":
            return None
        if kind == "as_scalar_type":
            return DTYPES[value]
        if kind == "as_memory_format":
            return FORMATS[value]
        if kind == "as_layout":
            return torch.strided
        if kind == "as_device":
            return torch.device("cpu")
        if kind in ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string"):
            return value
        raise NetworkError(
            f"{self.file} is refused: an argument of the kind {kind} is no number, tensor or word"
        )

    def _evaluated(self, batch: int, size: Size | None = None) -> bool:
        """Give every node its value's shape for a batch of pictures; False where the program does not run for it."""
        sides = sides_of(size or self.spec.size)
        picture = torch.empty(batch, self.spec.channels, *sides, device="meta")
        for node in self.graph.nodes:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
            if "device" in kwargs:
                kwargs = {**kwargs, "device": torch.device("meta")}
            try:
                with torch.no_grad():
                    value = picture if node.op == "placeholder" else None
                    if node.op == "get_attr":
                        owner, _, name = str(node.target).rpartition(".")
                        value = getattr(self.holder.get_submodule(owner), name).to("meta")
                    elif node.op == "call_function":
                        value = node.target(*args, **kwargs)
            except Exception:  # operations of sizes that do not fit
                return False
            if isinstance(value, Tensor) and node.op == "call_function":
                require_small(tuple(value.shape), node.name, self.file)
            node.meta["val"] = value
        return True

    def _runs(self, size: Size) -> bool:
        return self._evaluated(self.batch + 1 if self.any_batch else self.batch, size)

    def _calls(self) -> list[Call]:
        """Every module's calls: operations in a row that came from it, of which the last gave what it gave."""
        calls: list[Call] = []
        counts: dict[str, int] = {}
        open_: dict[str, tuple[fx.Node, str]] = {}
        for node in [*self.graph.nodes, None]:
            if node is not None and (
                node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor)
            ):
                continue
            stack = dict(self.stacks.get(node, ())) if node is not None else {}
            for path in [p for p in reversed(open_) if p not in stack]:  # innermost first
                counts[path] = counts.get(path, 0) + 1
                calls.append(self._call(path, counts[path], *open_.pop(path)))
            if node is not None:
                open_ |= {path: (node, kind) for path, kind in stack.items() if path}
        return calls

    def _call(self, path: str, count: int, node: fx.Node, kind: str) -> Call:
        module = self._place(path)
        if type(module) is nn.Module:
            module.__class__ = type(kind, (nn.Module,), {})
        return Call(path, count, node, module)


def _stack(text: str) -> list[tuple[str, str]]:
    """(path, class) of the modules that an operation came from, outermost first."""
    found = []
    for entry in text.split(";"):
        parts = entry.split(",")
        if len(parts) >= 3:
            found.append((parts[1], parts[2].rpartition(".")[2] or "Module"))
    return found


def _name(output: Mapping[str, Any]) -> str:
    ((_, value),) = output.items()
    return str(value if isinstance(value, str) else value.get("name") or value.get("as_name"))


def _is_union(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith("as_")


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return first_line(error)
