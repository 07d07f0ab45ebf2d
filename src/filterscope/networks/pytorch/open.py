"""Where torch networks come from: torchvision, timm, a live module; and how each is fed."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import json
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from filterscope.catalog import elsewhere
from filterscope.errors import DownloadError, NetworkError, did_you_mean, first_line
from filterscope.networks.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputOptions, InputSpec
from filterscope.networks.network import Network
from filterscope.networks.pytorch.checkpoint import Renaming, load_checkpoint
from filterscope.networks.pytorch.copying import unwrapped
from filterscope.networks.pytorch.kept import opened_once
from filterscope.networks.pytorch.module import Origin, open_module
from filterscope.networks.pytorch.transformers import (
    timm_module,
    timm_names,
    torchvision_names,
    torchvision_resized,
    usual_input,
)
from filterscope.networks.weights.table import RANDOM, sha256_weights, warn_of_random

log = logging.getLogger("filterscope")

Weights = str | os.PathLike[str] | None


def open_live(module: nn.Module, weights: Weights, options: InputOptions) -> Network:
    """A module that a person holds; weights from a file go into the copy, never into theirs. Opened again as it was,
    without weights of a file, it is what was made of it before."""
    inner = unwrapped(module)
    spec, classes = known_input(inner)

    def open_it() -> Network:
        return opened(
            inner, type(inner).__name__, "the model object", weights, options, spec, classes, live=True
        )

    return open_it() if weights is not None else opened_once(inner, options, open_it)


def open_torchvision(name: str, weights: Weights, options: InputOptions) -> Network:
    """`torchvision:NAME`: the weights that torchvision publishes, a file of them, or random ones."""
    models = _import("torchvision.models", "torchvision")
    known = [*models.list_models(module=models), *models.list_models(module=models.segmentation)]
    name = name.lower()
    if name not in known:
        near = elsewhere(name) or did_you_mean(name, known)
        raise NetworkError(
            f"torchvision has no network {name!r}{near} (torchvision.models.list_models() lists them)"
        )
    published = models.get_model_weights(name).DEFAULT
    spec = _torchvision_input(published, name)
    classes = imagenet() if len(published.meta.get("categories", ())) == 1000 else ()
    as_trained: dict[str, Any] = {"transform_input": True} if name in ("googlenet", "inception_v3") else {}

    def build(pretrained: bool) -> nn.Module:
        bare = {} if pretrained else dict(as_trained)
        if (
            not pretrained
            and "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters
        ):
            bare["weights_backbone"] = None  # else a backbone is downloaded
        module: nn.Module = models.get_model(name, weights=published if pretrained else None, **bare)
        return module

    module = torchvision_resized(models, name, _built(build, f"torchvision:{name}", weights), options.size)
    label = f"torchvision's {published}" if weights is None else "torchvision"
    names = torchvision_names(models, module)
    return opened(module, f"torchvision:{name}", label, weights, options, spec, classes, names=names)


def open_timm(name: str, weights: Weights, options: InputOptions) -> Network:
    """`timm:NAME` or `timm:NAME.TAG`: the weights that timm publishes, a file of them, or random ones."""
    timm = _import("timm", "timm")
    bare, _, tag = name.partition(".")
    if not timm.is_model(bare):
        near = elsewhere(name) or did_you_mean(bare, timm.list_models())
        raise NetworkError(f"timm has no network {bare!r}{near} (timm.list_models() lists them)")
    tags = [n.partition(".")[2] for n in timm.list_models(f"{bare}.*", pretrained=True)]
    if tag and tag not in tags:
        raise NetworkError(
            f"timm's {bare} has no weights {tag!r}{did_you_mean(tag, tags)} (known: {', '.join(tags) or 'none'})"
        )
    if weights is None and not tags:
        raise NetworkError(f"timm publishes no weights for {bare}: give weights=FILE, or weights='random'")
    fixed = bool((timm.get_pretrained_cfg(name) or timm.get_pretrained_cfg(bare)).fixed_input_size)
    channels = {"in_chans": options.channels} if options.channels else {}

    def build(pretrained: bool) -> nn.Module:
        create = functools.partial(timm.create_model, name, pretrained=pretrained, **channels)
        with _offline_if_unreachable() if pretrained else contextlib.nullcontext():
            return timm_module(timm, bare, create, options.size) if fixed else create()

    module = _built(build, f"timm:{name}", weights)
    spec, classes = known_input(module)
    spec = spec and usual_input(module, spec, bool(classes))
    label = "timm's published weights" if weights is None else "timm"
    names = timm_names(timm, bare, module)
    return opened(module, f"timm:{name}", label, weights, options, spec, classes, names=names)


def known_input(module: nn.Module) -> tuple[InputSpec | None, Sequence[Sequence[str]]]:
    """What a module's library says of its input and its classes: timm's `pretrained_cfg`, torchvision's usual."""
    config = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    module_of = type(module).__module__
    if config is not None and (get := getattr(config, "get", None) or getattr(config, "to_dict", None)):
        told = config if callable(getattr(config, "get", None)) else get()
        channels, _, size = told.get("input_size") or (3, 224, 224)
        spec = InputSpec(
            size=int(size), channels=int(channels), high=1.0, mean=tuple(told.get("mean") or IMAGENET_MEAN),
            std=tuple(told.get("std") or IMAGENET_STD),
        )  # fmt: skip
        current = getattr(getattr(module, "patch_embed", None), "img_size", None)
        if isinstance(current, tuple | list) and current and told.get("fixed_input_size"):
            spec = InputSpec(int(current[0]), spec.channels, 0.0, 1.0, spec.mean, spec.std)
        return spec, imagenet() if told.get("num_classes") == 1000 == getattr(
            module, "num_classes", 1000
        ) else ()
    if module_of.startswith("torchvision.models"):
        size = getattr(module, "image_size", 299 if type(module).__name__ == "Inception3" else 224)
        outputs = [m.out_features for m in module.modules() if isinstance(m, nn.Linear)]
        channels = next((m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)), 3)
        known = outputs[-1:] == [1000] or type(module).__name__ == "SqueezeNet"
        spec = InputSpec(size if isinstance(size, int) else 224, 3, 0.0, 1.0, IMAGENET_MEAN, IMAGENET_STD)
        return (spec if channels == 3 else None), (imagenet() if known else ())
    return None, ()


def opened(
    module: nn.Module,
    name: str,
    label: str,
    weights: Weights,
    options: InputOptions,
    spec: InputSpec | None,
    classes: Sequence[Sequence[str]],
    *,
    live: bool = False,
    vouched: bool = True,
    names: Renaming | None = None,
) -> Network:
    """A module as a Network, with its own weights, seeded random ones or those of a file.

    names: what gives a file's tensors the module's names, where it may hold them under others.
    """
    if weights is None or str(weights) == RANDOM:
        random = str(weights) == RANDOM
        if random:
            if live:
                raise NetworkError(f"{name} has weights of its own: leave out weights='random'")
            label = f"random weights ({label})"
            warn_of_random(name)
        origin = Origin(name, label, spec, classes, random=random, vouched=vouched)
        return open_module(module, origin, options)
    path, hooked = Path(weights), module if live else None
    if live:
        from filterscope.networks.pytorch.copying import private_copy

        module = private_copy(module)
    fitted = load_checkpoint(module, path, names)
    origin = Origin(
        name,
        path.name,
        spec,
        classes,
        path,
        lambda: sha256_weights(path),
        fitted.trained,
        hooked=hooked,
        notes=fitted.notes,
    )
    return open_module(module, origin, options)


def _built(build: Callable[[bool], nn.Module], name: str, weights: Weights) -> nn.Module:
    """The network with the weights its library publishes, or to be filled: random numbers, the same every time."""
    if weights is not None:
        with random_numbers():
            return build(False)
    try:
        with contextlib.redirect_stdout(sys.stderr), random_numbers():
            return build(True)
    except (
        Exception
    ) as error:  # urllib, huggingface_hub and their like raise all sorts where there is no network
        raise DownloadError(
            f"the weights of {name} could not be downloaded ({first_line(error)}); pass a file you have as "
            "weights=FILE, try again where there is a network, or see the bare architecture with weights='random'"
        ) from error


@contextlib.contextmanager
def random_numbers() -> Iterator[None]:
    """Seed torch for what is made inside, and leave the person's own random numbers as they were."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield


@contextlib.contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """huggingface_hub tries for a minute where there is no network; then what it has on disk is asked alone."""
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname or "huggingface.co"
    before = constants.HF_HUB_OFFLINE
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _import(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in (extra, module):
            raise
        raise NetworkError(f"{extra} is not installed: pip install 'filterscope[{extra}]'") from None
    except (ImportError, RuntimeError, OSError) as error:
        raise NetworkError(
            f"{extra} is installed but does not import ({first_line(error)}): its build must be the one made for "
            f"torch {torch.__version__}"
        ) from error


def _torchvision_input(published: Any, name: str) -> InputSpec:
    crop = published.transforms()
    size = getattr(crop, "crop_size", None) or getattr(crop, "resize_size", None) or [224]
    mean, std = tuple(getattr(crop, "mean", IMAGENET_MEAN)), tuple(getattr(crop, "std", IMAGENET_STD))
    return InputSpec(size[0] if isinstance(size, list | tuple) else int(size), 3, 0.0, 1.0, mean, std)


def imagenet() -> Sequence[Sequence[str]]:
    """For each of ImageNet's classes (name, WordNet id), in the order of every network's outputs."""
    rows = json.loads(
        (resources.files("filterscope.networks") / "data" / "imagenet-classes.json").read_text("utf-8")
    )
    return [(title, wnid) for wnid, title in rows]
