"""Which layers an explanation looks at where none are named, and the named ones, checked.

The rule: the layers before the target that are maps of more than one place, in the picture's proportions, that have
units worth a picture and are no pool's or softmax's are grouped by the size of their maps. Of each size that layer is
taken which, in this order of importance, everything on the way to the target passes through (no shortcut around it),
has an activation of its own, and is the last. The three smallest sizes are taken. A network with fewer sizes, such as a
transformer, gives layers at a third, two thirds and the end of its depth by the same preferences. A layer that has no
effect on the target is passed over, as the patches behind the last attention of a transformer whose classes come from
one token.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence

from filterscope.ascent.engine.passes import is_untraced
from filterscope.errors import ArgumentError, TargetError
from filterscope.explanation.split import is_passed_by_all, source_of
from filterscope.measure.units import layers_with_units
from filterscope.networks.layer import Layer
from filterscope.networks.network import Network
from filterscope.objective import Objective
from filterscope.sides import sides_of

USUAL = 3  # layers
NO_UNITS = ("Pool", "Softmax", "Dropout")  # kinds whose channels are no units of their own
TRIES = 24  # layers of a group whose effect is asked for
ODD = 1.5  # how far a map's proportions may be from the picture's: what is further counts something else than places


def choose_layers(
    network: Network,
    goal: Objective,
    among: Collection[str] = (),
    *,
    works: Callable[[str], bool] = lambda _: True,
) -> list[str]:
    """The layers of an explanation of a goal where none are named, the deepest last.

    among: where some of the layers to choose from are in it, only these are, as those of an atlas. works: whether a layer
    has an effect on the goal; asked of the preferred ones until one has.

    ArgumentError where the network has no such map before the goal, or cannot be traced.
    """
    ranks = _ranks(network, goal)
    names = [name for name in ranks if name in among] or list(ranks)
    sizes: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        sizes.setdefault(network.layers[name].output_shape[1:], []).append(name)
    groups = [sizes[size] for size in sorted(sizes, key=lambda size: -math.prod(size))][-USUAL:]
    if len(groups) < USUAL:
        groups = [names[len(names) * i // USUAL : len(names) * (i + 1) // USUAL] for i in range(USUAL)]
    chosen = set()
    for group in groups:
        order = sorted(group, key=lambda name: (ranks[name], names.index(name)), reverse=True)
        chosen |= {*itertools.islice(filter(works, order[:TRIES]), 1)}
    if not chosen:
        raise ArgumentError(_nothing(network, goal))
    return [name for name in names if name in chosen]


def named_layers(network: Network, layers: str | Sequence[str], goal: Objective) -> list[str]:
    """The layers that a person named, each once; TargetError where one is not there, or is the goal's own."""
    texts = [layers] if isinstance(layers, str) else layers
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ArgumentError(f"layers are named by text, as in block3_conv1 (got {layers!r})")
    names = list(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    if not names:
        raise ArgumentError("layers names no layer; leave it out for the usual ones")
    for name in names:
        row = network.layer(name)
        if row.kind == "InputLayer":
            raise TargetError(f"{name} is the network's input: it has no units")
        if name in goal.layers:
            raise TargetError(f"{name} is the layer of {goal} itself: name layers before it")
    return names


def _is_map(network: Network, row: Layer) -> bool:
    if (
        not row.spatial
        or row.output_shape[1] * row.output_shape[2] < 2
        or any(w in row.kind for w in NO_UNITS)
    ):
        return False
    height, width = sides_of(network.input.size)
    skew = row.output_shape[1] / row.output_shape[2] * width / height
    return 1 / ODD <= skew <= ODD


def _nothing(network: Network, goal: Objective) -> str:
    return (
        f"no layer before {goal} of {network.name} is a map that its gradient comes to: name layers (layers=)"
    )


def _ranks(network: Network, goal: Objective) -> dict[str, tuple[bool, bool]]:
    """The layers to choose from in the network's order: whether all passes through each, and whether it has an activation of
    its own."""
    names = [
        n for n in layers_with_units(network) if _is_map(network, network.layers[n]) and n not in goal.layers
    ]
    whole = network.probe([*names, *goal.layers])
    if is_untraced(whole):
        raise ArgumentError(
            f"{network.name} cannot be traced as a graph, so that no gradient can be taken at its layers: explain needs a "
            "traced network"
        )
    (output,) = [node for node in whole.graph.nodes if node.op == "output"]
    ends, targets = output.args[0][: len(names)], output.args[0][len(names) :]
    found: dict[str, tuple[bool, bool]] = {}
    for name, end in zip(names, ends, strict=True):
        if source_of(end, targets) is not None:
            row = network.layers[name]
            found[name] = (is_passed_by_all(end, targets), row.linear != row.output)
    if not found:
        raise ArgumentError(_nothing(network, goal))
    return found
