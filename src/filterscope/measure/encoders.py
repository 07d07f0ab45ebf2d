"""Encoders of images and words into one space, such as CLIP (Radford et al. 2021): of open_clip by name, or any object.

    encoder = open_encoder("ViT-B-32:openai")     # extra: clip
    encode_images(encoder, images)                # (B, D), of unit length
    encode_words(encoder, ["dog", "red"])         # (2, D), of unit length

An encoder is any object with `encode_image` and `encode_text`. `encode_image` gets a list of Pillow images, RGB, or, where
the object has a `preprocess` (a Pillow image to a tensor), the stacked tensors. `encode_text` gets a list of texts or, where
it has a `tokenizer`, what that makes of them. Both give (B, D): a tensor, an array or lists.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from filterscope.errors import ArgumentError, FilterscopeError, WorkError, did_you_mean, kind_and_line
from filterscope.measure.clarity import unit_length
from filterscope.networks.pytorch.factory import is_factory, load_factory

PRETRAINED = "openai"  # whose weights are taken where none are named, as CLIP-Dissect does
TOGETHER = 32  # images that are encoded at once
EXTRA = "pip install 'filterscope[clip]'"


class Encoder(Protocol):
    """Gives images and texts features in one space, (B, D)."""

    def encode_image(self, images: Any) -> Any:
        """Features of a list of Pillow images, or of what `preprocess` makes of them."""

    def encode_text(self, texts: Any) -> Any:
        """Features of a list of texts, or of what `tokenizer` makes of them."""


def open_encoder(encoder: Any) -> Encoder:
    """An encoder from a name, or the object itself.

    encoder: "NAME" or "NAME:PRETRAINED" of open_clip, as "ViT-B-32:laion2b_s34b_b79k", PRETRAINED a checkpoint's file too;
    "hf-hub:OWNER/NAME"; "FILE.py:FACTORY", a function of your own, which is run, that makes one; or an object with
    `encode_image` and `encode_text`. ArgumentError where it is none of these.
    """
    if not isinstance(encoder, str):
        return _checked(encoder, f"a {type(encoder).__name__}")
    if is_factory(encoder):
        return _checked(load_factory(encoder, _is_encoder), encoder)
    return _open_clip(encoder)


def encode_images(encoder: Encoder, images: Sequence[Image.Image]) -> np.ndarray:
    """Features of images, (B, D), of unit length. ArgumentError where the encoder gives something else."""
    prepare = getattr(encoder, "preprocess", None)
    found = []
    for begin in range(0, len(images), TOGETHER):
        some = [image.convert("RGB") for image in images[begin : begin + TOGETHER]]
        with torch.no_grad(), _own_errors("encode_image"):
            given = torch.stack([prepare(image) for image in some]) if prepare else some
            found.append(_features(encoder.encode_image(given), len(some), "images"))
    return unit_length(np.concatenate(found))


def encode_words(encoder: Encoder, words: Sequence[str]) -> np.ndarray:
    """Features of words, (T, D), of unit length. ArgumentError where the encoder gives something else."""
    tokenize = getattr(encoder, "tokenizer", None)
    found = []
    for begin in range(0, len(words), 256):
        some = list(words[begin : begin + 256])
        with torch.no_grad(), _own_errors("encode_text"):
            given = tokenize(some) if tokenize else some
            found.append(_features(encoder.encode_text(given), len(some), "texts"))
    return unit_length(np.concatenate(found))


def require_same_size(images: np.ndarray, words: np.ndarray) -> None:
    """ArgumentError where images and words have features of different sizes."""
    if images.shape[1] != words.shape[1]:
        raise ArgumentError(
            f"the encoder gives images {images.shape[1]} features and texts {words.shape[1]}: the two need one space, as "
            "CLIP's have"
        )


@dataclass(frozen=True)
class _OpenClip:
    """A model of open_clip with its own preprocessing and tokenizer."""

    model: Any
    preprocess: Any
    tokenizer: Any

    def encode_image(self, images: Tensor) -> Tensor:
        return self.model.encode_image(images)  # type: ignore[no-any-return]

    def encode_text(self, texts: Tensor) -> Tensor:
        return self.model.encode_text(texts)  # type: ignore[no-any-return]


def _open_clip(name: str) -> Encoder:
    try:
        import open_clip
    except ImportError:
        raise ArgumentError(f"the encoder {name!r} needs open_clip: {EXTRA}") from None
    if name.startswith("hf-hub:"):
        model, pretrained = name, None
    else:
        model, _, given = name.partition(":")
        pretrained = given or PRETRAINED
        _check_names(model, pretrained, open_clip)
    try:
        made, _, preprocess = open_clip.create_model_and_transforms(
            model, pretrained=pretrained, weights_only=True
        )
        tokenizer = open_clip.get_tokenizer(model)
    except Exception as error:  # of a download, a file, or its shapes
        raise WorkError(f"the encoder {name!r} could not be opened: {kind_and_line(error)}") from error
    return _OpenClip(made.eval(), preprocess, tokenizer)


def _check_names(model: str, pretrained: str, open_clip: Any) -> None:
    """ArgumentError with the nearest name for a model, or weights of one, that open_clip does not have."""
    models = open_clip.list_models()
    if model not in models:
        raise ArgumentError(f"open_clip has no model {model!r}{did_you_mean(model, models)}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags and not Path(pretrained).is_file():
        raise ArgumentError(
            f"{model} has no weights {pretrained!r}{did_you_mean(pretrained, tags)} (it has: {', '.join(tags) or 'none'}; "
            "a checkpoint's path is taken too)"
        )


def _checked(encoder: Any, what: str) -> Encoder:
    if not _is_encoder(encoder):
        missing = [n for n in ("encode_image", "encode_text") if not callable(getattr(encoder, n, None))]
        raise ArgumentError(
            f"an encoder is the name of a model of open_clip, or an object with encode_image and encode_text ({what} has no "
            f"{' and no '.join(missing) or 'such functions of its own: it is a class'})"
        )
    return encoder  # type: ignore[no-any-return]


def _is_encoder(one: Any) -> bool:
    own = (getattr(one, name, None) for name in ("encode_image", "encode_text"))
    return not inspect.isclass(one) and all(map(callable, own))


@contextlib.contextmanager
def _own_errors(function: str) -> Iterator[None]:
    """What an encoder's own code raises, as one line."""
    try:
        yield
    except FilterscopeError:
        raise
    except Exception as error:
        raise WorkError(f"the encoder's {function} failed: {kind_and_line(error)}") from error


def _features(given: Any, count: int, what: str) -> np.ndarray:
    """What an encoder gave as an array, (B, D); ArgumentError where it is none."""
    values = (
        given.detach().cpu().float().numpy() if isinstance(given, Tensor) else np.asarray(given, np.float32)
    )
    if values.ndim != 2 or len(values) != count:
        raise ArgumentError(
            f"the encoder gives {count} {what} features of shape {values.shape}: they are one row each, (B, D)"
        )
    if not np.isfinite(values).all():
        raise WorkError(f"the encoder's features of {what} are not all finite numbers")
    return np.asarray(values, np.float32)
