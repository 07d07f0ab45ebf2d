"""Concepts checked against a network: the layer that is meant, the width, the numbers read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from filterscope.concept import ANY_LAYER, Concept, ConceptSelection
from filterscope.errors import TargetError, WeightsError
from filterscope.networks.concepts.hooks import block_of, layer_of
from filterscope.networks.concepts.reading import read_concepts
from filterscope.networks.concepts.table import ConceptFile
from filterscope.target import Algebra, At, terms_of


class KnownLayers(Protocol):
    """What is asked of a network."""

    name: str
    layers: dict[str, Any]
    tokens: dict[str, Any]

    def layer(self, name: str) -> Any:
        """Its row of the layer table; TargetError where there is none."""


def select_concepts(
    network: KnownLayers, selection: ConceptSelection, files: Mapping[str, str] | None = None
) -> list[Concept]:
    """The concepts that a text means, with their numbers. files: where files lie, by the name that the text has."""
    file = read_concepts((files or {}).get(selection.file, selection.file))
    numbers = selection.resolve(file.table.count, file.table.names)
    layer, file = place_concepts(network, file, selection.layer, selection.at)
    return [file.concept(number, selection.how, layer, selection.at) for number in numbers]


def bind_concept(network: KnownLayers, concept: Concept, files: Mapping[str, str] | None = None) -> Concept:
    """A concept with its numbers; one that has them stays as it is, checked against this network."""
    if concept.numbers is not None:
        _require_width(network, len(concept.numbers.values), concept.layer, concept.file)
        return concept
    number: int = concept.number
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise TargetError(f"concepts are counted from 0 (got {number!r})")
    selection = ConceptSelection(concept.layer, concept.file, (number,), concept.how, concept.at)
    return select_concepts(network, selection, files)[0]


def place_concepts(
    network: KnownLayers, file: ConceptFile, layer: str, at: At | None = None
) -> tuple[str, ConceptFile]:
    """The layer at which a file's concepts are drawn, and the file as it is drawn there; TargetError where the file is of
    another layer, names none that is here, or is of another width."""
    wanted, sign, token = layer.partition("@")
    chosen, where = _choose(network, file, wanted)
    if not sign and at is None and file.table.token and f"{chosen}@{file.table.token}" in network.tokens:
        sign, token = "@", file.table.token
        where += f", at its token {token}, the only one that they are of"
    placed = f"{chosen}{sign}{token}"
    row = network.layer(placed)
    own = _of_maps(file, row, bool(network.tokens))
    _require_width(network, own.table.width, placed, own.name)
    own.say(where, loudly=file.table.layer not in (None, placed))
    return placed, own


def require_one_name(goal: Algebra) -> None:
    """TargetError for a sum of concepts of two files of one name, which its record could not tell apart."""
    found: dict[str, str] = {}
    for _, term in terms_of(goal):
        if isinstance(term, Concept) and found.setdefault(term.file, term.sha256) != term.sha256:
            raise TargetError(
                f"{goal} has concepts of two files that are called {term.file}: rename one of them"
            )


def _choose(network: KnownLayers, file: ConceptFile, wanted: str) -> tuple[str, str]:
    """A layer's name, and what is said of it."""
    named = file.table.layer
    mapped = None if named is None else layer_of(named, network.layers)
    if wanted == ANY_LAYER:
        if named is None:
            raise TargetError(
                f"{file.name} ({file.table.form}) names no layer: name it, concept(LAYER, {file.name}, 17), or for an atlas "
                "with layers="
            )
        if mapped is None:
            raise TargetError(
                f"{file.name} is of {named}, which is no layer of {network.name} that is known by it: name the layer, "
                f"concept(LAYER, {file.name}, 17)"
            )
        is_here = "" if mapped.exact else f", which is the output of {mapped.layer}"
        return mapped.layer, f"of {named}{is_here}"
    network.layer(wanted)
    if named is None or named == wanted:
        return wanted, f"drawn at {wanted}"
    other_block = None not in (block_of(named), block_of(wanted)) and block_of(wanted) != (
        mapped.block if mapped else block_of(named)
    )
    if mapped is not None and mapped.layer != wanted and (mapped.exact or other_block):
        raise TargetError(
            f"{file.name} holds concepts of {named}, which is {mapped.layer} of {network.name} (got {wanted}); "
            f"write concept({mapped.layer}, {file.name}, 17)"
        )
    return wanted, f"of {named}, drawn at {wanted} as the target says"


def _of_maps(file: ConceptFile, row: Any, has_tokens: bool) -> ConceptFile:
    """A file whose rows are of whole maps, channels x places: each row's mean over the places."""
    table, shape = file.table, row.output_shape
    places = math.prod(shape[1:])
    if not table.flat or places == 1 or has_tokens or table.width != shape[0] * places:
        return file
    rows = table.directions.reshape(table.count, shape[0], places).mean(2)
    note = f"holds a value for each of {' x '.join(map(str, shape[1:]))} places: their mean is the direction"
    return replace(
        file, table=replace(table, directions=np.ascontiguousarray(rows), notes=(*table.notes, note))
    )


def _require_width(network: KnownLayers, width: int, layer: str, file: str) -> None:
    row = network.layer(layer)
    if width == row.units:
        return
    others = [name for name, own in network.layers.items() if own.units == width]
    fits = f"; of that width are: {', '.join(others[:6])}{', ...' if others[6:] else ''}" if others else ""
    raise WeightsError(
        f"{file} holds concepts of {width} channels, expected {row.units}, as {layer} of {network.name} has{fits}"
    )
