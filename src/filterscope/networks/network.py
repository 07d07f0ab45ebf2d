"""Network: a torch graph, its layer table, its input spec and its class names.

Every source (Keras, PyTorch, files) ends here, and everything after starts here.
"""

from __future__ import annotations

import contextlib
import html
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import fx, nn

from filterscope.catalog import network_names
from filterscope.concept import Concept, ConceptSelection
from filterscope.errors import TargetError, did_you_mean
from filterscope.expression import EXAMPLE, Expression, Interpolation, parse
from filterscope.networks.concepts.binding import bind_concept, require_one_name, select_concepts
from filterscope.networks.input_spec import InputSpec
from filterscope.networks.layer import Layer, Part, Parts
from filterscope.networks.sizes import Sizes
from filterscope.networks.subgraph import Shapes, cut
from filterscope.networks.torch_state import OPENING, in_our_torch
from filterscope.networks.weights.table import WeightSource
from filterscope.objective import Between, Direction, Objective
from filterscope.selection import Selection, sum_advice
from filterscope.sides import Size
from filterscope.table import Table
from filterscope.target import Algebra, Sum, Target, terms_of

SHOWN = 8  # layers that a message names


@dataclass
class Network:
    """A trained network: `layers` by name in order, `input`, `classes` (names each class answers to).

    net = open_network("tiny-vgg16")
    net.layer("block3_conv1").units          # 128
    net.targets("predictions:goldfish")      # [Target("predictions", 0)]
    """

    name: str
    graph: fx.GraphModule
    layers: dict[str, Layer]
    input: InputSpec
    weights: WeightSource
    classes: Sequence[Sequence[str]] = ()
    loaded: set[str] = field(default_factory=set)
    tokens: dict[str, Layer] = field(default_factory=dict)  # LAYER@cls, where layers have such tokens
    random: bool = False  # weights that nothing trained
    vouched: bool = True  # False: whether anything trained them is not known
    notes: tuple[str, ...] = ()  # what a person should know of how it was opened, said once
    guessed: tuple[str, ...] = ()  # of its input, "range" and "size": what nothing told (see guesses.py)
    members: Mapping[str, Network] = field(default_factory=dict)  # by name, of an ensemble (see ensemble.py)
    shapes: Shapes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.shapes = Shapes(self.cut)

    def __repr__(self) -> str:
        return f"<Network {self.name}: {len(self.layers)} layers, {self.input}>"

    def _repr_html_(self) -> str:
        """The network with its layers, for a notebook."""
        said = html.escape(f"{self.name}: {self.input}; weights: {self.weights_file or self.weights.label}")
        layers = f"<summary>{len(self.layers)} layers</summary>{self.table()._repr_html_()}"
        return f"<div><p>{said}</p><details>{layers}</details></div>"

    def table(self) -> Table:
        """The layers: name, kind, output shape, units, parameters, receptive field in pixels (None: the whole picture), and
        whether it is trained (None: it has no weights, or that is not known)."""
        return Table(
            {
                "name": row.name,
                "kind": row.kind,
                "output_shape": list(row.output_shape),
                "units": row.units,
                "parameters": row.parameters,
                "receptive_field": row.receptive_field,
                "trained": self._is_trained(row),
            }
            for row in self.layers.values()
        )

    def has_weights(self, layer: str) -> bool:
        """Whether the layer and all before it have trained weights, so that it can be drawn."""
        return all(self.layer(name).trained for name in (*self.layer(layer).depends_on, layer))

    def _is_trained(self, row: Layer) -> bool | None:
        if not row.parameters or not (self.vouched or not row.trained):
            return None
        return row.trained and not self.random

    @property
    def weights_file(self) -> str | None:
        """The name of the file that the weights were read from, without its folder; "random" where nothing trained
        them; None for other sources."""
        if self.random:
            return "random"
        return self.weights.path.name if self.weights.path else None

    def layer(self, name: str) -> Layer:
        """The layer of that name; TargetError with the nearest name where there is none."""
        if name in self.tokens:
            return self.tokens[name]
        if name not in self.layers:
            self._require_token(name)
            colons = [own for own in self.layers if ":" in own and ":" in name]
            near = did_you_mean(name, colons) or sum_advice(name) or did_you_mean(name, self.layers)
            raise TargetError(f"{self.name} has no layer {name!r}{near} ({self._where_listed()})")
        return self.layers[name]

    def _where_listed(self) -> str:
        """Where a person finds the layers' names: a command for what opens by name or file, else the first of them."""
        name, path = self.name.partition("?")[0], self.weights.path
        if path is not None and name == path.stem and path.suffix in (".keras", ".h5", ".hdf5", ".pt2"):
            return f"filterscope layers {path.name} lists them"
        if name in network_names() or ":" in name:
            return f"filterscope layers {shlex.quote(self.name)} lists them"
        shown = list(self.layers)[:SHOWN]
        more = "; list_layers names all" if len(self.layers) > SHOWN else ""
        return f"its layers are {', '.join(shown)}" + (
            f" and {len(self.layers) - SHOWN} more{more}" if more else ""
        )

    def _require_token(self, name: str) -> None:
        """TargetError with the tokens of a layer that has no such one."""
        layer, sign, token = name.rpartition("@")
        if not sign or layer not in self.layers:
            return
        known = [own.rpartition("@")[2] for own in self.tokens if own.rpartition("@")[0] == layer]
        has = (
            f"its tokens are {', '.join(known)}" if known else "it has no tokens beside the picture's places"
        )
        raise TargetError(f"{layer} of {self.name} has no token {token!r}: {has}")

    def class_names(self, layer: str) -> Sequence[Sequence[str]]:
        """For each unit of a layer of classes the names it answers to; empty for other layers."""
        row = self.layer(layer)
        is_last = row.softmax is not None or layer == list(self.layers)[-1]
        return self.classes if is_last and row.units == len(self.classes) else ()

    def class_of(self, goal: Objective) -> Target | None:
        """The class that an objective is for, None for anything else."""
        return goal if isinstance(goal, Target) and self.class_names(goal.layer) else None

    def class_name(self, goal: Objective) -> str | None:
        """The name a person reads for a class or for a concept whose file has one, None for anything else."""
        if isinstance(goal, Concept):
            return goal.name
        target = self.class_of(goal)
        return None if target is None else self.class_names(target.layer)[target.unit][0]

    def objectives(
        self,
        text: str | Selection | Expression | Interpolation | Objective,
        *,
        seed: int = 0,
        files: Mapping[str, str] | None = None,
    ) -> list[Objective]:
        """What pictures a text asks for (see expression.py), checked against this network; or an objective. files: where
        the files of concepts lie, by the names that the text has; as paths where there is none."""
        parsed = parse(text) if isinstance(text, str) else text
        if isinstance(parsed, Selection):
            return [*self.targets(parsed, seed=seed)]
        if not isinstance(parsed, Expression | Interpolation | Algebra):
            raise TargetError(f"a target is a text or an Objective (got {parsed!r}); {EXAMPLE}")
        found: list[Objective]
        if isinstance(parsed, Expression | Interpolation):
            found = parsed.resolve(lambda selection: self._selected(selection, seed, files))
        else:
            found = [self._bound(parsed, files)]
        for goal in found:
            for end in (goal.first, goal.second) if isinstance(goal, Between) else (goal,):
                for _, term in terms_of(end):
                    self._check_term(term)
            require_one_name(goal)
        return found

    def _selected(
        self, selection: Selection | ConceptSelection, seed: int, files: Mapping[str, str] | None
    ) -> Sequence[Target | Concept]:
        if isinstance(selection, ConceptSelection):
            return select_concepts(self, selection, files)
        return self.targets(selection, seed=seed)

    def _bound(self, goal: Objective, files: Mapping[str, str] | None) -> Objective:
        """An objective whose concepts have been read."""
        if isinstance(goal, Between):
            first, second = (self._bound(end, files) for end in (goal.first, goal.second))  # type: ignore[arg-type]
            return Between.at_frame(first, second, goal.frame, goal.frames)
        if isinstance(goal, Sum):
            return Sum(tuple((weight, self._bound(term, files)) for weight, term in goal.terms))  # type: ignore[arg-type]
        return bind_concept(self, goal, files) if isinstance(goal, Concept) else goal

    def _check_term(self, term: Algebra) -> None:
        for name in term.layers:
            row = self.layer(name)
            if row.kind == "InputLayer":
                raise TargetError(f"{row.name} is the network's input: it has no units to excite")
            self._require_trained(row)
        if isinstance(term, Target | Direction | Concept):
            row = self.layer(term.layer)
            asked = [term.unit] if isinstance(term, Target) else [i for i, weight in term.vector if weight]
            if not asked:
                raise TargetError(f"{term} has no direction: every weight is 0")
            wrong = [
                i for i in asked if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < row.units
            ]
            if wrong:
                raise TargetError(f"{row.name} has units 0 to {row.units - 1} (got {wrong[0]!r} in {term})")
            if term.at is not None:
                row.require_place(term.at)

    def selection(self, text: str | Selection) -> Selection:
        """A target's text read by the layers' names, of which the longest that fits is meant."""
        known = [*self.layers, *self.tokens]
        found = Selection.parse(text, known) if isinstance(text, str) else text.among(known)
        odd = isinstance(found.units, tuple) and any(isinstance(u, str) and ":" in u for u in found.units)
        if odd and any(":" in name for name in known) and not self.class_names(found.layer):
            return Selection.parse(str(text))  # no class's name: a layer's, mistyped
        return found

    def targets(self, text: str | Selection, *, seed: int = 0) -> list[Target]:
        """The units that a text means, checked against this network."""
        selection = self.selection(text)
        row = self.layer(selection.layer)
        if row.kind == "InputLayer":
            raise TargetError(f"{row.name} is the network's input: it has no units to excite")
        targets = selection.resolve(row.units, seed=seed, names=self.class_names(row.name))
        if selection.at is not None:
            row.require_place(selection.at)
        self._require_trained(row)
        return targets

    def part(self, layer: str, *, softmax: bool = False) -> Part:
        """The part of the network that the layer needs, its weights loaded; with its softmax if asked for."""
        parts = self.parts([layer], softmax=softmax)
        return Part(parts.graph, self.layer(layer), with_softmax=bool(parts.with_softmax))

    @in_our_torch
    def parts(self, layers: Sequence[str], *, softmax: bool = False) -> Parts:
        """The part of the network that several layers need, with their weights loaded."""
        ends, with_softmax = [], []
        for row in map(self.layer, layers):
            self._load(row)
            ends += [row.linear, row.logits or row.output]  # a class is its value before the softmax
            if softmax and row.softmax:
                ends.append(row.softmax)
                with_softmax.append(row.name)
        sigmoids = [name for name in with_softmax if self.layer(name).sigmoid]
        return Parts(self.cut(ends), layers, with_softmax, sigmoids)

    def cut(self, ends: Sequence[str]) -> fx.GraphModule:
        """The part of the graph that computes the named nodes; a graph that returns a tuple."""
        return cut(self.graph, ends)

    def kernel_module(self, layer: str) -> nn.Module | None:
        """The module whose weights are the layer's kernels, loaded; None where the layer has none of its own."""
        row = self.layer(layer)
        graph = self.part(layer).graph
        target = next(
            (n.target for n in graph.graph.nodes if n.name == row.linear and n.op == "call_module"), None
        )
        return graph.get_submodule(str(target)) if target and row.parameters else None

    def _load(self, row: Layer) -> None:
        self._require_trained(row)
        missing = [name for name in (*row.depends_on, row.name) if name not in self.loaded]
        with OPENING if missing else contextlib.nullcontext():
            for name in missing:
                self.weights.load(self.graph, name)
                self.loaded.add(name)

    def map_layer(self, layer: str) -> str:
        """The layer itself where its output is a map, else the last before it whose output is one."""
        row = self.layer(layer)
        maps = [name for name in row.depends_on if self.layers[name].spatial and self.layers[name].parameters]
        return layer if row.spatial or not maps else maps[-1]

    @in_our_torch
    def probe(self, layers: Sequence[str]) -> fx.GraphModule:
        """The network up to several layers at once: input (B, C, H, W), preprocessed, to a tuple of their
        activation maps, (B, C, H, W) or (B, units), classes before their softmax."""
        rows = [self.layer(name) for name in layers]
        for row in rows:
            self._load(row)
        return self.cut([row.logits or row.output for row in rows])

    def picture_size(self, layer: str, usual: int | Literal["own"] | None = None) -> Size:
        """The size of a picture of the layer where nothing says otherwise: `usual` ("own" is the network's) or the
        network's own, 128 where that is smaller so that there is room to see something; the only size where it takes
        just one.
        A network made for small pictures gets its own: on larger ones a class is wallpaper, or nothing at all.
        Of a network for pictures that are not square the longer side, in its proportions."""
        return self._sizes.usual(self.layer(layer), usual)

    def takes_one_size(self, layer: str) -> bool:
        """Whether the layer runs at the network's own size alone, as all behind a Flatten do."""
        return self._sizes.takes_one(self.layer(layer))

    def output_shape(self, layer: str, size: Size) -> tuple[int, ...]:
        """The shape of a layer's output, without the batch, for pictures of `size` pixels.

        ArgumentError with the smallest size that works where this one is too small, or the only one where
        the network takes one size alone.
        """
        return self._sizes.require_shape(self.layer(layer), size)

    def is_here(self, layer: str) -> bool:
        """Whether all weights that the layer needs are trained and on this machine, so that nothing is downloaded."""
        here = getattr(self.weights, "is_here", None)
        needed = (*self.layer(layer).depends_on, layer)
        return all(n in self.loaded or (self.layer(n).trained and (here is None or here(n))) for n in needed)

    def runs(self, layer: str, size: Size) -> bool:
        """Whether the layer runs at a size."""
        return self._sizes.runs(self.layer(layer), size)

    def smallest_size(self, layer: str) -> Size:
        """The smallest side in pixels at which the layer runs; its only size where it takes just one."""
        return self._sizes.smallest(self.layer(layer))

    @property
    def _sizes(self) -> Sizes:
        return Sizes(self.name, self.input, self.shapes)

    def _require_trained(self, row: Layer) -> None:
        missing = [n for n in (*row.depends_on, row.name) if not self.layer(n).trained]
        if not missing:
            return
        covered = [n for n, r in self.layers.items() if r.parameters and r.trained]
        behind = (
            "has no trained weights"
            if row.name in missing
            else f"lies behind {missing[0]}, without trained weights"
        )
        raise TargetError(
            f"{row.name} {behind} in {self.weights.label}; covered are: {', '.join(covered) or 'no layers'}"
        )
