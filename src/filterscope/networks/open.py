"""open_network: a name, a file or an object in, a Network out."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from filterscope.catalog import EMBEDDED, PACKAGED, meant, network_names, split_ensemble, split_files
from filterscope.errors import ArgumentError, NetworkError
from filterscope.networks.ensemble import join
from filterscope.networks.files.kinds import require_network
from filterscope.networks.guesses import log_guesses, without_given
from filterscope.networks.input_spec import InputOptions
from filterscope.networks.keras.applications import APPLICATIONS
from filterscope.networks.keras.open import (
    is_keras_model,
    open_application,
    open_embedded,
    open_keras_file,
    open_keras_model,
)
from filterscope.networks.network import Network
from filterscope.networks.pytorch import open as pytorch
from filterscope.networks.pytorch.exported.build import open_exported
from filterscope.networks.pytorch.factory import factory_advice, is_factory, open_factory
from filterscope.networks.pytorch.packaged import open_packaged
from filterscope.networks.torch_state import OPENING, in_our_torch
from filterscope.sides import Size, largest_of, pixels_text, size_text


def opens_by_name(name: str) -> bool:
    """Whether a name alone, as a picture records it, is enough to open the network, and runs nobody's code."""
    bare = name.partition("?")[0]
    return bare in network_names() or (bare.startswith(("torchvision:", "timm:")) and not is_factory(bare))


@in_our_torch
def open_network(
    source: Any,
    *,
    weights: str | os.PathLike[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    range: Sequence[float] | None = None,
    channels: int | None = None,
    size: Size | None = None,
    show_channels: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
) -> Network:
    """Open a trained network.

    source: a name (`filterscope models` lists them; "torchvision:NAME" and "timm:NAME" are theirs), the path of
        a `.keras` or `.h5` file or a `torch.export` program (`.pt2`), "path/to/file.py:factory" (your own code, which is
        run), a Keras model or a torch module, which is read and never changed. Several are drawn as one: names and
        what each opens, {"a": "tiny-vgg16", "b": module}, or as text "a:efficientnet-lite0 + b:efficientnet-lite1".
    weights: a file to use instead of the network's own weights: `.safetensors`, `.weights.h5` or `.h5` for Keras,
        a checkpoint (`.pt .pth .th .ckpt .bin .safetensors`, "FILE#ema" for a part of one) for PyTorch. It may
        cover only some layers; a target
        in or behind any other is refused. "random": the bare architecture of a name or a factory, with
        seeded numbers that nothing trained. Of an ensemble "a:FILE + b:FILE", for the networks that are to have others.
    mean, std, range, channels, size: what the network takes, where what was found is wrong. mean and std in the
        values of `range`, which are those of black and white; size is the side it was trained on, or (height,
        width) where they differ. They may stand behind the name too, and stay in it: "timm:resnet18?size=96&range=-1,1",
        "own.keras?size=64x128".
    show_channels: which channels are shown as red, green and blue; of three (2, 1, 0) says that it takes BGR.
    classes: the classes' names, in the order of the network's outputs.

    Raises NetworkError for an unknown name or a network that cannot be rebuilt, WeightsError for a weights
    file that is missing, damaged, unsafe or of another architecture, DownloadError where weights cannot be fetched.

    >>> open_network("tiny-vgg16").layer("block3_conv1").units
    128
    """
    options = InputOptions.checked(
        mean=mean, std=std, range=range, channels=channels, size=size, shown=show_channels
    )
    if not isinstance(weights, str | os.PathLike | None):
        raise ArgumentError(f"weights is a file's name, or 'random' (got {weights!r})")
    if weights is not None and not os.fspath(weights).strip():
        raise ArgumentError("weights is a file's name, or 'random' (got an empty text)")
    if not isinstance(classes, Iterable | None) or isinstance(classes, str):
        raise ArgumentError(f"classes takes the classes' names in order (got {classes!r})")
    several = _several(source)
    if several:
        return _open_ensemble(several, weights, {"classes": classes, **dataclasses.asdict(options)})
    if isinstance(source, str) and "?" in source:
        source, _, told = source.partition("?")
        options = options.over(InputOptions.parse(told))
    with contextlib.nullcontext() if isinstance(source, Network) else OPENING:
        net = without_given(_open(source, weights, options), options)
    log_guesses(net, source)
    if classes is not None:
        net = _with_classes(net, list(classes))
    return (
        net
        if options == InputOptions()
        else dataclasses.replace(net, name=f"{net.name.partition('?')[0]}?{options}")
    )


def _several(source: Any) -> dict[str, Any]:
    """The networks of an ensemble by name; empty for one network. NetworkError for dictionaries of anything else."""
    if isinstance(source, Mapping):
        if source and all(isinstance(value, torch.Tensor) for value in source.values()):
            raise NetworkError(
                "a state dict holds weights and no architecture: make the module, load_state_dict into it, and pass that"
            )
        if not source:
            raise NetworkError(
                'several networks are a dictionary with a name for each, {"a": ..., "b": ...} (got {})'
            )
        return dict(source)
    return dict(split_ensemble(source)) if isinstance(source, str) else {}


def _open_ensemble(
    sources: Mapping[str, Any], weights: str | os.PathLike[str] | None, told: Mapping[str, Any]
) -> Network:
    """Each network with its own weights; ArgumentError for what is told of an ensemble and belongs to one network."""
    given = [name for name, value in told.items() if value is not None]
    if given:
        raise ArgumentError(
            f"an ensemble's networks have an input each: write {given[0]} behind the one that it is of, as "
            f"{next(iter(sources))}:NET?{given[0]}=..."
        )
    files = {} if weights is None else split_files(os.fspath(weights))
    for name in set(files) - set(sources):
        raise ArgumentError(
            f"there is no network {name!r} to have weights: the ensemble is of {', '.join(map(str, sources))}"
        )
    return join({name: open_network(one, weights=files.get(name)) for name, one in sources.items()})


def _with_classes(net: Network, classes: Sequence[str]) -> Network:
    units = {row.units for row in net.layers.values() if row.softmax is not None} or {len(classes)}
    if len(classes) not in units:
        raise ArgumentError(f"{net.name} tells {min(units)} classes apart (got {len(classes)} names)")
    return dataclasses.replace(net, classes=[(str(name),) for name in classes])


def _open(source: Any, weights: str | os.PathLike[str] | None, options: InputOptions) -> Network:
    if isinstance(source, Network):
        if weights is not None:
            raise NetworkError(f"{source!r} is open already; give its weights where it is opened")
        return _fed_as(source, options)
    found = _open_torch(source, weights, options)
    if isinstance(found, Network):
        return found
    net = _open_keras(source if found is None else found, weights)
    made = found is not None and weights is None  # by a person's own file: nobody knows what trained it
    return _fed_as(dataclasses.replace(net, vouched=not made), options)


def _open_torch(source: Any, weights: str | os.PathLike[str] | None, options: InputOptions) -> Any:
    """A torch network opened, a Keras model that a person's own file made, or None for what is not of torch."""
    if not isinstance(source, str | os.PathLike):
        is_torch = isinstance(source, torch.nn.Module) and not _is_keras(source)
        return pytorch.open_live(source, weights, options) if is_torch else None
    name = os.fspath(source)
    if is_factory(name):
        return open_factory(name, weights, options)
    if name.rpartition(":")[0].endswith(".py") or name.endswith(".py"):
        raise NetworkError(factory_advice(name))
    if name.lower() in PACKAGED:
        return open_packaged(name.lower(), weights, options)
    if name.startswith("torchvision:"):
        return pytorch.open_torchvision(name.removeprefix("torchvision:"), weights, options)
    if name.startswith("timm:"):
        return pytorch.open_timm(name.removeprefix("timm:"), weights, options)
    if _keras_name(name) not in network_names():
        require_network(name)
    return open_exported(Path(name), weights, options) if name.endswith(".pt2") else None


def _instead(source: Any) -> str:
    """What to pass for an object that people take for a network."""
    if isinstance(source, type):
        return f"; a class is none yet: make one, {source.__name__}(...)"
    if isinstance(source, Sequence) and source:
        return '; several networks are a dictionary with a name for each, {"a": ..., "b": ...}'
    return ""


def _keras_name(name: str) -> str:
    return name.lower().removeprefix("keras:")


def _fed_as(net: Network, options: InputOptions) -> Network:
    """The network with what a person says of its input in place of what was found."""
    if options == InputOptions():
        return net
    spec = net.input.changed(options)
    if spec.channels != net.input.channels:
        raise ArgumentError(f"{net.name} takes {net.input.channels} channels (got {spec.channels})")
    if spec.fixed and spec.size != net.input.size:
        raise ArgumentError(
            f"{net.name} takes pictures of {pixels_text(net.input.size)} only (got {size_text(spec.size)})"
        )
    if spec.size == net.input.size:
        return dataclasses.replace(net, input=spec)
    rows = net.layers.values()
    shapes = net.shapes.of_all([row.output for row in rows], spec.channels, spec.size)
    if None in shapes:
        least = size_text(largest_of(map(net.smallest_size, net.layers)))
        raise ArgumentError(
            f"{net.name} does not run at {size_text(spec.size)} px; the smallest size that works is {least} px"
        )
    fitted = {
        r.name: dataclasses.replace(r, output_shape=r.shaped(s))
        for r, s in zip(rows, shapes, strict=True)
        if s
    }
    return dataclasses.replace(net, input=spec, layers=fitted)


def _is_keras(model: Any) -> bool:
    return any(c.__module__.partition(".")[0] == "keras" for c in type(model).__mro__)


def _open_keras(source: Any, weights: str | os.PathLike[str] | None) -> Network:
    if not isinstance(source, str | os.PathLike):
        if not is_keras_model(source):
            raise NetworkError(
                f"cannot open a {type(source).__name__}: pass a name, a model file (.keras, .h5, .pt2), "
                f"a Keras model or a torch module{_instead(source)}"
            )
        return open_keras_model(source, weights)
    name = os.fspath(source)
    if name.endswith((".keras", ".h5", ".hdf5")) or os.sep in name:
        return open_keras_file(Path(name), weights)
    name = _keras_name(name)
    if name == EMBEDDED:
        return open_embedded(weights)
    if name in APPLICATIONS:
        return open_application(name, weights)
    raise NetworkError(
        f"unknown network {name!r}{meant(name)} (known: {', '.join(network_names())}, torchvision:NAME, timm:NAME, "
        "FILE.keras, FILE.h5, FILE.pt2, FILE.py:FACTORY)"
    )
