"""What is wrong with a recipe's data, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from filterscope.errors import did_you_mean

MAX_SHOWN = 160  # signs of a value that is shown
Kinds: TypeAlias = tuple[type[BaseModel], ...]


def explain(error: ValidationError, data: Any, whole: type[BaseModel]) -> str:
    """What is wrong in the data of a recipe, or of a part of one, by the keys of settings; three things at most."""
    found: dict[str, str] = {}
    for one in error.errors(include_url=False):
        key, kinds, part = _where(one["loc"], data, whole)
        found.setdefault(key, _sentence(one, key, kinds, part, whole))
    return "; ".join([*found.values()][:3])


def _sentence(
    one: ErrorDetails, key: str, kinds: Kinds, part: type[BaseModel], whole: type[BaseModel]
) -> str:
    got = f"(got {_short(one['input'])})"
    message = one["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if one["type"] == "extra_forbidden":
        name = key.rpartition(".")[2]
        return f"{_called(whole)} has no setting {key!r}{did_you_mean(name, part.model_fields)}"
    if one["type"] == "missing":
        return f"{_called(whole)} needs the setting {key!r}"
    if one["type"] == "frozen_instance":
        return f"{_called(whole)} is never changed in place; a recipe's changed({{{key!r}: VALUE}}) gives a new one"
    if not key:
        return f"{_called(whole)}: {message} {got}"
    if one["type"].startswith("union_tag"):
        tags = [_kind(kind) for kind in kinds]
        if one["type"] == "union_tag_not_found":
            return f"setting {key!r} needs a kind: one of {', '.join(tags)} {got}"
        tag = str(one["ctx"]["tag"])
        return f"setting {key!r} has no kind {tag!r}{did_you_mean(tag, tags)} (known: {', '.join(tags)})"
    if key.startswith(("optimizer.options.", "options.")):
        return f"setting {key!r} must be a number, true or false, or a pair of numbers {got}"
    return f"setting {key!r} {message} {got}"


def _called(whole: type[BaseModel]) -> str:
    return "a recipe" if whole.__name__ == "Recipe" else whole.__name__


def _where(loc: Sequence[str | int], data: Any, whole: type[BaseModel]) -> tuple[str, Kinds, type[BaseModel]]:
    """The dotted key of a place in a recipe's data, the kinds that may stand there, the part that it belongs to.

    Pydantic names the kind that it took, or the type that it tried, as if it were one step more on the way.
    """
    key: list[str] = []
    part, node = whole, data
    kinds: Kinds = ()
    for step in loc:
        node = node.model_dump() if isinstance(node, BaseModel) else node
        if isinstance(node, dict) and step == node.get("kind") and step not in node:
            part = next((kind for kind in kinds if _kind(kind) == step), part)
        elif isinstance(node, list | tuple) and isinstance(step, int) and step < len(node):
            key.append(str(step))
            node = node[step]
        elif isinstance(node, dict) and isinstance(step, str):
            key.append(step)
            node = node.get(step)
            inner = _parts_in(part.model_fields[step].annotation) if step in part.model_fields else ()
            kinds, part = (inner, part) if len(inner) > 1 else (kinds, inner[0] if inner else part)
    return ".".join(key), kinds, part


def _parts_in(annotation: Any) -> Kinds:
    """The parts that may stand in a field, by what it is declared as."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(part for inner in get_args(annotation) for part in _parts_in(inner))


def _kind(part: type[BaseModel]) -> Any:
    return part.model_fields["kind"].default


def _short(value: Any) -> str:
    """A value in a message; of parts their kinds or scales, which is what their order is judged by."""
    text = repr(value)
    if isinstance(value, list | tuple) and value:
        data = [part.model_dump() if isinstance(part, BaseModel) else part for part in value]
        named = [part.get("kind", part.get("scale")) if isinstance(part, dict) else part for part in data]
        text = ", ".join(f"{name:g}" if isinstance(name, float) else str(name) for name in named)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
