"""Torch modules opened as a Network: traced into the one graph, or run as they are where that cannot be."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from filterscope.errors import FilterscopeError, NetworkError, first_line, is_out_of_memory
from filterscope.networks.input_spec import InputOptions, InputSpec
from filterscope.networks.network import Network
from filterscope.networks.pytorch.comparing import example_of, is_close, outputs_of, trace_checked
from filterscope.networks.pytorch.copying import private_copy
from filterscope.networks.pytorch.input import Taken, take_input
from filterscope.networks.pytorch.layer_table import read_traced
from filterscope.networks.pytorch.own_hooks import keep_hooks
from filterscope.networks.pytorch.random_numbers import RANDOM, UNSEEDED, is_unseeded, watched
from filterscope.networks.pytorch.single import SingleNetwork
from filterscope.networks.pytorch.state import named_tensors
from filterscope.networks.pytorch.trace import UntraceableError
from filterscope.networks.pytorch.untraced import UntracedNetwork
from filterscope.networks.pytorch.untraced_table import read_untraced
from filterscope.networks.torch_state import WithoutAutocast
from filterscope.networks.weights.table import sha256_arrays
from filterscope.sides import pixels_text

log = logging.getLogger("filterscope")

CHANGES = (
    "gives other values for the same picture the next time it runs: its forward pass counts, changes a buffer or draws "
    "random numbers, so that scores depend on how often it has run"
)


@dataclass
class TorchWeights:
    """Weights that are in the network already: a source that only says where they came from."""

    label: str
    digest: Callable[[], str]
    path: Path | None = None
    copies: Mapping[str, Tensor] = field(
        default_factory=dict, repr=False
    )  # all of the module's tensors, as they were

    @cached_property
    def sha256(self) -> str:
        return self.digest()

    def covers(self, layer: str) -> bool:
        return True

    def load(self, module: nn.Module, layer: str) -> None:
        return


@dataclass(frozen=True)
class Origin:
    """What is known of a module beside itself.

    input: how it wants its pictures, where that is known; the size 0 is found out. trained: the modules with
    trained weights, None for all. random: nothing trained it. vouched: False where nobody knows that. hooked: the
    person's own module where the one that is opened is a copy already. notes: what a person should know of its weights.
    """

    name: str
    label: str
    input: InputSpec | None = None
    classes: Sequence[Sequence[str]] = ()
    path: Path | None = None
    digest: Callable[[], str] | None = None
    trained: Collection[str] | None = None
    random: bool = False
    vouched: bool = True
    hooked: nn.Module | None = None
    notes: tuple[str, ...] = ()


def open_module(module: nn.Module, origin: Origin, options: InputOptions) -> Network:
    """A torch module as a Network; the module itself is read and never changed.

    Raises NetworkError for a module without numbers, one that no picture of any size goes through, or one of which no
    layer is found.
    """
    if _is_quantised(module):
        raise NetworkError(
            f"cannot open a {type(module).__name__} whose layers are quantised: whole numbers give no gradient to climb; "
            "pass the float network that it was converted from"
        )
    net = private_copy(module)
    if not any(True for _ in net.parameters()):
        raise NetworkError(
            f"cannot open a {type(module).__name__}: it has no weights that could have learned anything"
        )
    with watched(net), WithoutAutocast():  # a person's random numbers go on as they would have
        return _open_copy(net, module, origin, options)


def _state_of(net: nn.Module) -> dict[str, Tensor]:
    """The state dict's tensors; of quantised layers, which keep theirs in tuples, as the numbers that they stand for."""
    state = {}
    for name, value in net.state_dict().items():
        for i, tensor in enumerate(t for t in tree_leaves(value) if isinstance(t, Tensor)):
            state[f"{name}.{i}" if i else name] = (
                tensor.detach().dequantize() if tensor.is_quantized else tensor.detach()
            )
    return state


def _is_quantised(module: nn.Module) -> bool:
    """Whether layers compute with whole numbers from their input on, as torch.ao's statically quantised ones do."""
    kinds = {type(part) for part in module.modules()}
    homes = [
        kind.__module__ for kind in kinds if kind.__name__ != "LinearPackedParams"
    ]  # of dynamic ones too
    return any(re.match(r"torch\.ao\.nn\.(intrinsic\.)?quantized\.modules", home) for home in homes)


def _open_copy(net: nn.Module, module: nn.Module, origin: Origin, options: InputOptions) -> Network:
    """A private copy of a person's module as a Network."""
    copies = named_tensors(net)
    taken = take_input(net, origin.name, origin.input, options)
    kept, failed = keep_hooks(origin.hooked or module, net, lambda: net(example_of(taken.spec, 1)))
    if kept:
        log.info(
            "%s: forward hooks of your own change what %s gives; they are kept", origin.name, ", ".join(kept)
        )
    notes = tuple(f"has a forward hook that cannot be run and is left out: at {where}" for where in failed)
    tensors = _state_of(net)
    digest = origin.digest or (lambda: sha256_arrays({n: t.numpy() for n, t in tensors.items()}))
    weights = TorchWeights(origin.label, digest, origin.path, copies)
    if taken.single is not True and origin.input is None and _mixes_pictures(net, taken.spec):
        taken = replace(taken, single=True)
        if _changes(net, taken.spec):
            notes += (CHANGES,)
        else:
            log.info(
                "%s mixes the pictures of a batch: each goes through by itself, which is slower", origin.name
            )
    try:
        found, whole = _opened(net, origin, taken, weights, single=taken.single is True)
    except NetworkError:
        if taken.single is not None:
            raise
        found, whole = None, False  # it does not run for several pictures together
    if not whole and not taken.single:  # pictures may go through one by one
        singly, _ = _opened(net, origin, taken, weights, single=True)
        found = max(
            (n for n in (found, singly) if n), key=lambda n: len({c.partition("#")[0] for c in n.layers})
        )
    if found is None or not _can_be_drawn(found):
        raise NetworkError(why_no_layers(net, origin.name))
    if found.notes:  # which say why
        notes = tuple(note for note in notes if note != CHANGES)
    return replace(found, guessed=taken.guessed, notes=(*origin.notes, *found.notes, *notes))


def _mixes_pictures(net: nn.Module, spec: InputSpec) -> bool:
    """Whether what a network gives for a picture depends on the others of its batch, as batch norms without statistics
    do. False where that cannot be tried: then something else is said of it."""
    pictures = example_of(spec, 2)
    try:
        together, alone = outputs_of(net, pictures), outputs_of(net, pictures[:1])
    except Exception:  # whatever a person's own code raises
        return False
    return any(
        together[place].ndim > 0
        and len(together[place]) == 2
        and len(out) == 1
        and not is_close(together[place][:1], out)
        for place, out in alone.items()
        if place in together
    )


def _changes(net: nn.Module, spec: InputSpec) -> bool:
    """Whether the same picture gets other values the next time."""
    picture = example_of(spec, 1)
    first, second = outputs_of(net, picture), outputs_of(net, picture)
    return any(place in second and not is_close(second[place], out) for place, out in first.items())


def _opened(
    net: nn.Module, origin: Origin, taken: Taken, weights: TorchWeights, *, single: bool
) -> tuple[Network, bool]:
    """The network as a graph where it can be traced, else run as it is; and whether all of its modules are layers.

    NetworkError where its forward pass fails on numbers.
    """
    try:
        return _graph_or_whole(net, origin, taken, weights, single=single)
    except FilterscopeError:
        raise
    except Exception as error:  # whatever a person's own code raises
        if is_out_of_memory(error):
            raise
        raise NetworkError(
            f"{origin.name} does not run for pictures of {pixels_text(taken.spec.size)} with {taken.spec.channels} "
            f"channels: {type(error).__name__}: {first_line(error)}"
        ) from error


def _graph_or_whole(
    net: nn.Module, origin: Origin, taken: Taken, weights: TorchWeights, *, single: bool
) -> tuple[Network, bool]:
    spec = taken.spec
    try:
        traced = trace_checked(net, spec, taken.trials, 1 if single else 2)
    except UntraceableError as error:
        log.info("%s runs untraced, which is right but slower: %s", origin.name, error)
        hooked = _untraced(net, origin, spec, weights, single=single)
        return hooked, any(row.kind not in ("InputLayer", "Output") for row in hooked.layers.values())
    found = read_traced(traced, trained=origin.trained, classes=len(origin.classes))
    kind = SingleNetwork if single else Network
    network = kind(
        origin.name, found.graph, found.layers, spec, weights, origin.classes, tokens=found.tokens, random=origin.random,
        vouched=origin.vouched,
    )  # fmt: skip
    return network, not found.uncaptured


def _untraced(
    net: nn.Module, origin: Origin, spec: InputSpec, weights: TorchWeights, *, single: bool
) -> Network:
    if origin.trained is not None:
        raise NetworkError(
            f"{origin.name}: only some layers have weights, and its forward pass cannot be traced to tell which "
            "layers depend on the others; give a file with all weights"
        )
    example = example_of(spec, 1 if single else 2)
    with watched(net) as numbers:
        table = read_untraced(net, example, classes=len(origin.classes))
        steady = numbers.changed()
    notes = (UNSEEDED,) if is_unseeded(net, example) else (RANDOM,) if steady else ()
    return UntracedNetwork(
        origin.name, table.graph, table.layers, spec, weights, origin.classes, tokens=table.tokens, random=origin.random,
        vouched=origin.vouched, net=net, captures=table.captures, single=single or steady, steady=steady, notes=notes,
    )  # fmt: skip


def _can_be_drawn(found: Network) -> bool:
    """Whether anything but the input is found; of outputs alone, whether a gradient leads back from one."""
    rows = [row for row in found.layers.values() if row.kind != "InputLayer"]
    if any(row.kind != "Output" for row in rows):
        return True
    picture = example_of(found.input, 1).requires_grad_()
    return any(found.cut([row.output])(picture)[0].requires_grad for row in rows)


def why_no_layers(net: nn.Module, name: str) -> str:
    """Why nothing can be captured in a network that runs."""
    hidden = [
        f"{path}.{attribute}".lstrip(".")
        for path, part in net.named_modules()
        for attribute, value in vars(part).items()
        if attribute != "_modules" and isinstance(value, list | tuple | dict) and _modules_in(value)
    ]
    children = [f".{n}" for n, m in net.named_children() if any(True for _ in m.parameters())]
    if inspect.isgeneratorfunction(inspect.unwrap(type(net).forward)):
        why = "its forward pass is a generator (it yields), which runs nothing when it is called"
        what = "return the tensors, in a list say"
    elif hidden:
        why = f"it keeps modules where torch does not see them ({', '.join(hidden)}: a plain list or dictionary)"
        what = f"pass one of them, as net.{hidden[0]}[0], or keep them in an nn.ModuleList or nn.ModuleDict"
    elif children:
        why = "its forward pass calls none of its parts, as a wrapper that runs a copy of them"
        what = f"pass the network inside: {', '.join(children[:4])}"
    else:
        why = "its forward pass calls no module and gives no tensor that keeps the pictures apart"
        what = "write its operations as modules, or return tensors with the batch first"
    return f"{name} runs, and no layer of it can be captured: {why}; {what}"


def _modules_in(value: Any) -> bool:
    return any(isinstance(v, nn.Module) for v in (value.values() if isinstance(value, dict) else value))
