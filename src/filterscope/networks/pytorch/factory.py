"""A person's own Python file as the source of a network: `path/to/file.py:factory`, run as they ask."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from filterscope.errors import NetworkError, did_you_mean, first_line
from filterscope.networks.input_spec import InputOptions, InputSpec
from filterscope.networks.network import Network
from filterscope.networks.pytorch.open import Weights, known_input, opened, random_numbers

log = logging.getLogger("filterscope")


def open_factory(source: str, weights: Weights, options: InputOptions) -> Network | Any:
    """`path/to/file.py:factory`: the person's own code, run as they ask; what it makes, with their weights.

    factory is a function without required arguments, an nn.Module class, or a module. The file may say CLASSES
    (the classes' names in order) and INPUT (a dictionary of mean, std, range, size, channels). A Keras model is
    handed back as it is.
    """
    path, _, attribute = source.rpartition(":")
    own, made = _make(source, lambda one: isinstance(one, nn.Module))
    if not isinstance(made, nn.Module):
        raise NetworkError(f"{attribute} in {path} gives a {type(made).__name__}, no nn.Module")
    shown = f"{Path(path).name}:{attribute}"  # a picture never tells the file's folder
    if weights is None:
        log.warning("%s as the file makes it: whether anything trained its weights is not known", shown)
    if _is_keras(made):
        return made
    spec, classes = known_input(made)
    told = InputOptions.checked(**_input_of(own, path))
    if told != InputOptions():
        spec = (spec or InputSpec(size=0, high=1.0)).changed(told)
    names = getattr(own, "CLASSES", None)
    classes = [(str(n),) for n in names] if names is not None else classes
    return opened(
        made, shown, shown, weights, options, spec, classes, live=weights is None, vouched=weights is not None
    )


def load_factory(source: str, is_made: Callable[[Any], bool]) -> Any:
    """What `path/to/file.py:factory` makes where it is no network: the person's own code, run as they ask. The object itself
    where `is_made` says that it is what is wanted, else what it gives when it is called without arguments."""
    return _make(source, is_made)[1]


def _make(source: str, is_made: Callable[[Any], bool]) -> tuple[ModuleType, Any]:
    """The file as a module, and what its factory makes; NetworkError where it cannot."""
    path, _, attribute = source.rpartition(":")
    with random_numbers():
        own = _run_file(Path(path))
    if not hasattr(own, attribute):
        near = did_you_mean(attribute, [n for n in vars(own) if not n.startswith("_")])
        raise NetworkError(f"{path} has no {attribute!r}{near}")
    with random_numbers(), _own_errors(path):
        made = getattr(own, attribute)
        if not is_made(made) and callable(made):
            needs = _required(made)
            if needs:
                raise NetworkError(
                    f"{attribute} in {path} needs arguments ({', '.join(needs)}): give a function that needs none"
                )
            made = made()
    return own, made


def is_factory(name: str) -> bool:
    """Whether a text is path/to/file.py:factory."""
    path, sign, attribute = name.rpartition(":")
    return bool(sign) and path.endswith(".py") and attribute.isidentifier()


def factory_advice(name: str) -> str:
    """What to write where a Python file is named without what makes the network; the file is read and not run."""
    path = Path(name if name.endswith(".py") else name.rpartition(":")[0])
    if not path.is_file():
        return f"there is no file {str(path)!r}"
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        body = []
    made = [
        n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")
    ]
    has = f"; {path.name} has {', '.join(made)}" if made else ""
    return (
        f"{name!r} does not say what makes the network: write file.py:factory, the function or class "
        f"behind a colon, as {path}:{made[0] if made else 'make_network'}{has}"
    )


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NetworkError(f"there is no file {str(path)!r}")
    folder = str(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"filterscope_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise NetworkError(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles of the file look themselves up
    sys.path.insert(0, folder)
    try:
        with _own_errors(str(path)):
            spec.loader.exec_module(module)
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
    return module


@contextlib.contextmanager
def _own_errors(path: str) -> Iterator[None]:
    """What a person's own code raises, as one line that says where."""
    try:
        yield
    except (NetworkError, KeyboardInterrupt):
        raise
    except BaseException as error:
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == Path(path).name
        ]
        where = f"{path}, line {frames[-1].lineno}" if frames else path
        log.info("the error in %s", path, exc_info=error)
        raise NetworkError(f"{where}: {type(error).__name__}: {first_line(error)}") from error


def _required(factory: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]


def _input_of(own: ModuleType, path: str) -> dict[str, Any]:
    told = getattr(own, "INPUT", {})
    allowed = ("mean", "std", "range", "channels", "size")
    if not isinstance(told, dict):
        raise NetworkError(
            f"INPUT in {path} is a dictionary of {', '.join(allowed)} (got a {type(told).__name__})"
        )
    for key in told:
        if key not in allowed:
            near = did_you_mean(str(key), allowed)
            raise NetworkError(f"INPUT in {path} has no {key!r}{near} (known: {', '.join(allowed)})")
    return told


def _is_keras(model: Any) -> bool:
    return any(c.__module__.partition(".")[0] == "keras" for c in type(model).__mro__)
