"""Several networks as one: each is given the same picture, at its own size and through its own preprocessing.

    net = open_network("a:efficientnet-lite0 + b:efficientnet-lite1")
    net.objectives("a:classifier:goldfish + b:classifier:goldfish")     # a sum over layers of both
    net.objectives("classifier:goldfish")                               # the same: of each network

The layers are those of its networks behind their names, `a:classifier`. Everything after `networks` takes an ensemble for a
network with two branches: its graph is put together of theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from filterscope.errors import ArgumentError, TargetError
from filterscope.expression import Expression, Interpolation, parse
from filterscope.networks.input_spec import InputSpec
from filterscope.networks.layer import Layer
from filterscope.networks.network import Network
from filterscope.objective import Direction, Likeness, Objective, WholeLayer
from filterscope.selection import Selection, name_key
from filterscope.sides import Sides, pixels_text, sides_of
from filterscope.target import Algebra, Sum, Target, terms_of

Named = TypeVar("Named", Selection, Target, WholeLayer, Direction, Likeness)
SPREAD = Selection | Target | WholeLayer | Direction | Likeness  # terms that each network may have


class Feed(nn.Module):
    """The picture of an ensemble, (B, C, H, W) from -1 to 1, as one of its networks takes it: resized by how large that
    network's own pictures are beside the ensemble's, or to the only size that it takes, then preprocessed."""

    scale: Tensor
    shift: Tensor

    def __init__(self, own: InputSpec, whole: InputSpec):
        super().__init__()
        black, white = (own.preprocess(torch.full((1, own.channels, 1, 1), v)) for v in (0.0, 255.0))
        self.register_buffer("scale", (white - black) / 2)
        self.register_buffer("shift", (white + black) / 2)
        self.bgr, self.only = own.bgr, sides_of(own.size) if own.fixed else None
        pairs = zip(sides_of(own.size), sides_of(whole.size), strict=True)
        self.shares = tuple(mine / all_of for mine, all_of in pairs)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.float()
        sides = self.sides((x.shape[-2], x.shape[-1]))
        if sides != tuple(x.shape[-2:]):
            pixels = F.interpolate(pixels, sides, mode="bilinear", align_corners=False, antialias=True)
        pixels = pixels.flip(1) if self.bgr else pixels
        fed = (pixels * self.scale.float() + self.shift.float()).to(x.dtype)
        last = x.is_contiguous(memory_format=torch.channels_last)
        return fed.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)

    def sides(self, of_ensemble: Sides) -> Sides:
        """Height and width that the network is given of the ensemble's."""
        high, wide = (max(1, round(n * share)) for n, share in zip(of_ensemble, self.shares, strict=True))
        return self.only or (high, wide)


@dataclass
class EnsembleWeights:
    """The weights of an ensemble's networks; its sha256 is that of their names and sha256s."""

    members: Mapping[str, Network]
    label: str
    path: Path | None = None

    @property
    def sha256(self) -> str:
        told = "\n".join(f"{name} {net.weights.sha256}" for name, net in self.members.items())
        return hashlib.sha256(told.encode()).hexdigest()

    def covers(self, layer: str) -> bool:
        name, _, own = layer.partition(":")
        return self.members[name].weights.covers(own)

    def load(self, module: nn.Module, layer: str) -> None:
        """Nothing: an ensemble lets its networks load theirs."""


@dataclass(repr=False)
class Ensemble(Network):
    """A network that is several; see the module."""

    def class_names(self, layer: str) -> Sequence[Sequence[str]]:
        net, own = self._inside(self.layer(layer).name)
        return net.class_names(own)

    def class_of(self, goal: Objective) -> Target | None:
        """The class that an objective is for: one class of each network that it is of, all of one name; the first."""
        found = [super(Ensemble, self).class_of(term) for _, term in terms_of(goal)]  # type: ignore[arg-type]
        if None in found or any(weight <= 0 for weight, _ in terms_of(goal)):
            return None
        classes = [target for target in found if target is not None]
        return classes[0] if len(self._shared_names(classes)) else None

    def objectives(
        self,
        text: str | Selection | Expression | Interpolation | Objective,
        *,
        seed: int = 0,
        files: Mapping[str, str] | None = None,
    ) -> list[Objective]:
        """What pictures a text asks for; a target without a network's name is that of each network, added up."""
        parsed = parse(text) if isinstance(text, str) else text
        if isinstance(parsed, Selection) and not self._names_one(parsed.layer):
            return [*self._in_each(parsed, seed)]
        if isinstance(parsed, Expression):
            parsed = self._side(parsed)
        elif isinstance(parsed, Interpolation):
            parsed = replace(parsed, first=self._side(parsed.first), second=self._side(parsed.second))
        elif isinstance(parsed, Algebra):
            terms = [*self._spread(terms_of(parsed))]
            parsed = parsed if len(terms) == len(terms_of(parsed)) else Sum(tuple(terms))
        return super().objectives(parsed, seed=seed, files=files)

    def cut(self, ends: Sequence[str]) -> fx.GraphModule:
        """The parts of the networks that compute the named nodes, behind one picture."""
        root, graph = nn.Module(), fx.Graph()
        picture, found = graph.placeholder("picture"), dict[str, fx.Node]()
        for name, net in self.members.items():
            own = [end.partition(":")[2] for end in dict.fromkeys(ends) if end.partition(":")[0] == name]
            if own:
                outputs = _inlined(root, graph, picture, name, Feed(net.input, self.input), net.cut(own))
                found |= {f"{name}:{end}": output for end, output in zip(own, outputs, strict=True)}
        graph.output(tuple(found[end] for end in ends))
        return fx.GraphModule(root, graph)

    def kernel_module(self, layer: str) -> nn.Module | None:
        net, own = self._inside(self.layer(layer).name)
        return net.kernel_module(own)

    def _load(self, row: Layer) -> None:
        net, own = self._inside(row.name)
        net._load(net.layer(own))

    def _inside(self, layer: str) -> tuple[Network, str]:
        """The network that a layer is of, and what it is called there."""
        name, _, own = layer.partition(":")
        return self.members[name], own

    def _names_one(self, layer: str) -> bool:
        """Whether a layer's name begins with a network's."""
        return layer.partition(":")[0] in self.members and ":" in layer

    def _in_each(self, selection: Selection, seed: int) -> Iterator[Objective]:
        """A selection's units in each network: those of one name where it has names, else of one number."""
        nets = list(self.members.items())
        first = nets[0][1].targets(selection, seed=seed)
        named = isinstance(selection.units, tuple) and any(isinstance(u, str) for u in selection.units)
        numbers = Selection(first[0].layer, tuple(t.unit for t in first), first[0].at)
        others = [net.targets(selection if named else numbers, seed=seed) for _, net in nets[1:]]
        for same in zip(first, *others, strict=True):
            units = [_behind(name, t) for (name, _), t in zip(nets, same, strict=True)]
            if all(self.class_names(t.layer) for t in units) and not self._shared_names(units):
                called = " and ".join(f"{self.class_names(t.layer)[t.unit][0]!r} ({t})" for t in units)
                apart = " + ".join(map(str, units))
                raise TargetError(
                    f"{selection} is {called}: name what is meant of each network, as {apart!r}"
                )
            yield Sum(tuple((1.0, unit) for unit in units))

    def _side(self, asked: Selection | Expression) -> Expression:
        """A sum, or one end of what lies between two targets, in all networks."""
        terms = asked.terms if isinstance(asked, Expression) else ((1.0, asked),)
        return Expression(tuple(self._spread(terms)))

    def _spread(self, terms: Sequence[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
        """Terms, those without a network's name once for each network; a concept's file is of one layer."""
        for weight, term in terms:
            once = not isinstance(term, SPREAD) or self._names_one(term.layer)
            yield from (
                (weight, term if once else _behind(name, term))
                for name in [*self.members][: 1 if once else None]
            )

    def _shared_names(self, classes: Sequence[Target]) -> set[str]:
        names = [{name_key(n) for n in self.class_names(t.layer)[t.unit]} for t in classes]
        return set.intersection(*names)


def join(members: Mapping[str, Network]) -> Ensemble:
    """Networks, by the names that they are to have, as one; ArgumentError where they cannot be."""
    if len(members) < 2:
        raise ArgumentError(f"an ensemble is two networks or more (got {', '.join(members) or 'none'})")
    specs = {name: net.input for name, net in members.items()}
    for name, net in members.items():
        if not str(name).isidentifier():
            raise ArgumentError(f"a network's name in an ensemble is letters, digits and _ (got {name!r})")
        if type(net).cut is not Network.cut:
            raise ArgumentError(f"{net.name} cannot be one of an ensemble: it {_why_not(net)}")
    largest = max(specs.values(), key=lambda spec: sides_of(spec.size))
    for name, spec in specs.items():
        _require_fit(name, spec, largest)
    whole = InputSpec(largest.size, largest.channels, low=-1.0, high=1.0, shown=largest.shown)
    layers = {
        f"{n}:{r.name}": _renamed(n, r, net, whole) for n, net in members.items() for r in net.layers.values()
    }
    tokens = {
        f"{n}:{key}": _renamed(n, r, net, whole)
        for n, net in members.items()
        for key, r in net.tokens.items()
    }
    weights = EnsembleWeights(dict(members), " and ".join(net.weights.label for net in members.values()))
    called = " + ".join(f"{name}:{net.name}" for name, net in members.items())
    return Ensemble(
        called, _empty(), layers, whole, weights, tokens=tokens, members=dict(members),
        vouched=all(net.vouched for net in members.values()),
    )  # fmt: skip


def _why_not(net: Network) -> str:
    return "is an ensemble itself" if net.members else "cannot be traced, or takes one picture at a time"


def _require_fit(name: str, spec: InputSpec, largest: InputSpec) -> None:
    """ArgumentError where one picture cannot be given to both."""
    if spec.channels != largest.channels:
        raise ArgumentError(
            f"networks of an ensemble take pictures of one kind ({name} has {spec.channels} channels, "
            f"another {largest.channels})"
        )
    (high, wide), (most_high, most_wide) = sides_of(spec.size), sides_of(largest.size)
    if high * most_wide != wide * most_high:
        raise ArgumentError(
            f"networks of an ensemble take pictures of one shape ({name} takes {pixels_text(spec.size)}, another "
            f"{pixels_text(largest.size)})"
        )


def _renamed(name: str, row: Layer, net: Network, whole: InputSpec) -> Layer:
    """A network's layer as one of the ensemble; its receptive field in the ensemble's pixels."""
    field, larger = row.receptive_field, sides_of(whole.size)[0] / sides_of(net.input.size)[0]
    node = {
        key: value and f"{name}:{value}" for key, value in vars(row).items() if key in ("softmax", "logits")
    }
    return replace(
        row, name=f"{name}:{row.name}", output=f"{name}:{row.output}", linear=f"{name}:{row.linear}",
        softmax=node["softmax"], logits=node["logits"], depends_on=tuple(f"{name}:{n}" for n in row.depends_on),
        receptive_field=None if field is None else round(field * larger),
    )  # fmt: skip


def _behind(name: str, term: Named) -> Named:
    return replace(term, layer=f"{name}:{term.layer}")


def _empty() -> fx.GraphModule:
    graph = fx.Graph()
    graph.output((graph.placeholder("picture"),))
    return fx.GraphModule(nn.Module(), graph)


def _inlined(
    root: nn.Module, graph: fx.Graph, picture: fx.Node, name: str, feed: Feed, part: fx.GraphModule
) -> Sequence[fx.Node]:
    """A network's part behind its feed, as nodes of the ensemble's graph; its outputs."""
    held = nn.Module()
    held.add_module("feed", feed)
    held.add_module("net", part)
    root.add_module(name, held)
    copies: dict[fx.Node, fx.Node] = {}
    ends: list[fx.Node] = []
    for node in part.graph.nodes:
        if node.op == "placeholder":
            copies[node] = graph.call_module(f"{name}.feed", (picture,))
        elif node.op == "output":
            ends = [copies[end] for end in node.args[0]]
        else:
            copies[node] = graph.node_copy(node, lambda other: copies[other])
            if node.op in ("call_module", "get_attr"):
                copies[node].target = f"{name}.net.{node.target}"
    return ends
