"""Words for a unit, from a vocabulary: CLIP-Dissect's soft-WPMI over a folder of pictures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from filterscope.errors import ArgumentError
from filterscope.measure.activations import OnSkip, gather
from filterscope.measure.encoders import (
    TOGETHER,
    Encoder,
    encode_images,
    encode_words,
    open_encoder,
    require_same_size,
)
from filterscope.measure.labels import Label, read_vocabulary, write_labels
from filterscope.measure.units import check_layers, chosen_units
from filterscope.networks import Network, open_network
from filterscope.pictures.png import read_image
from filterscope.pictures.reading import list_images, mode_of, plain
from filterscope.sides import Size
from filterscope.table import Table

TOP = 100  # best images of a unit that its words are found by, as published...
SHARE = 0.1  # ...but no more than this share of all, where there are few
LEAST_TOP = 5
SHARPNESS = 10.0  # published as a: what cosines are multiplied by before the softmax over words
FIRST, LAST = 0.998, 0.97  # published: how surely the best and the last of them belong to the concept
TINY = 1e-7


def soft_wpmi(activations: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """The soft weighted pointwise mutual information of units and words: (units, words), larger for words that fit.

    activations: (images, units). cosines: (images, words), of an encoder's features. Oikarinen and Weng 2023,
    "CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision Networks", with their code's constants:

        p(t | x)  = softmax over the words of 10 cos(x, t)
        p(x in B) = 0.998 for the unit's best image x, falling linearly to 0.97 for the last of its 100 best, B
        log p(t | B) = sum over x in B of log(1 + p(x in B) (p(t | x) - 1))
        soft-WPMI = log p(t | B) - log p(t), where p(t) is the mean over the units of p(t | B)

    Of fewer than 1,000 images B is a tenth, at least 5.
    """
    count = min(TOP, max(LEAST_TOP, round(SHARE * len(activations))), len(activations))
    best = np.argsort(-activations, axis=0, kind="stable")[:count]  # (count, units)
    scaled = SHARPNESS * cosines.astype(np.float64)
    shares = np.exp(scaled - scaled.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    belongs = FIRST - np.arange(count) / count * (FIRST - LAST)
    fits = np.stack(
        [np.log(1 + belongs[:, None] * (shares[own] - 1) + TINY).sum(0) for own in best.T]
    )  # (units, words)
    largest = fits.max(0)
    usual = largest + np.log(np.exp(fits - largest).mean(0))
    return np.asarray(fits - usual)


def label_layers(
    network: Network,
    layers: Sequence[str],
    folder: Path,
    vocabulary: Sequence[str],
    encoder: Encoder,
    *,
    size: Size | None = None,
    on_image: Callable[[int, int], object] = lambda done, of: None,
    on_skip: OnSkip | None = None,
) -> list[Label]:
    """The word of the vocabulary that fits each unit of some layers best, by soft-WPMI over a folder of pictures.

    on_image: called with how many of how many steps are done. on_skip: called with each file that is no picture, which is
    left out; without it such a file raises ImageError. ArgumentError where the encoder's images and words have features
    of different sizes.
    """
    mode_of(network.input.channels, network.name)  # before any picture is read
    images = list_images(folder)
    words = encode_words(encoder, vocabulary)
    require_same_size(encode_images(encoder, [_first(images)]), words)
    steps = 2 * len(images)
    found = gather(
        network,
        layers,
        images,
        folder=folder,
        size=size,
        on_skip=on_skip,
        on_batch=lambda done: on_image(done, steps),
    )
    cosines = []
    for begin in range(0, len(found.names), TOGETHER):
        some = [plain(read_image(folder / name)) for name in found.names[begin : begin + TOGETHER]]
        cosines.append(encode_images(encoder, some) @ words.T)
        on_image(len(images) + begin + len(some), steps)
    labels = []
    for layer in layers:
        fits = soft_wpmi(found.layers[layer].values, np.concatenate(cosines))
        best = fits.argmax(1)
        labels += [
            Label(layer, unit, vocabulary[word], float(fits[unit, word])) for unit, word in enumerate(best)
        ]
    return labels


def _first(images: Sequence[Path]) -> Image.Image:
    """The first picture that can be read, which an encoder is tried with before the long work."""
    for path in images:
        try:
            return plain(read_image(path))
        except ArgumentError:
            continue
    return Image.new("RGB", (64, 64))


def label_units(
    network: Any,
    layer: str | Sequence[str],
    images: str | os.PathLike[str],
    vocabulary: str | os.PathLike[str] | Iterable[str],
    encoder: Any,
    *,
    size: Size | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = True,
) -> Table:
    """The word of a vocabulary that fits each unit best, by soft-WPMI (Oikarinen and Weng 2023, see `soft_wpmi`): a
    row a unit with layer, unit, description and similarity.

    network: as for `open_network`. layer: a layer, several, "LAYER:3,7" for some units, or "*" for all layers.
    images: a folder of pictures with its subfolders; a thousand or more are best. vocabulary: words, or a text file
    with one on each line. encoder: "NAME" or "NAME:PRETRAINED" of open_clip (extra: clip), "FILE.py:FACTORY", or an
    object with `encode_image`, which gets a list of Pillow images, and `encode_text`, which gets a list of texts;
    both give (B, D). size: as the network is given the pictures; its own where None. out: a CSV file to write, as
    `make_atlas` takes it.

    Raises ArgumentError for an empty vocabulary, or an encoder whose images and texts have features of different sizes.

    >>> import tempfile
    >>> class Stripes:
    ...     def encode_image(self, images):
    ...         return [[1.0, 0.0] for image in images]
    ...     def encode_text(self, texts):
    ...         return [[float(text == "stripes"), 1.0] for text in texts]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (64, 64), "orange").save(f"{folder}/orange.png")
    ...     words = ["spots", "stripes"]
    ...     found = label_units("tiny-vgg16", "block1_conv1:3", folder, words, Stripes(), progress=False)
    >>> found[0]["layer"], found[0]["unit"], found.columns
    ('block1_conv1', 3, ['layer', 'unit', 'description', 'similarity'])
    """
    from tqdm.auto import tqdm

    net, words = open_network(network), read_vocabulary(vocabulary)
    texts = [layer] if isinstance(layer, str) else list(layer)
    names = check_layers(net, texts)
    chosen = chosen_units(net, texts)
    with tqdm(total=1, unit="step", disable=None if progress is None else not progress, leave=False) as bar:

        def on_image(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        found = label_layers(
            net, names, Path(images), words, open_encoder(encoder), size=size, on_image=on_image,
            on_skip=lambda path, why: warnings.warn(f"left out: {why}", stacklevel=2),
        )  # fmt: skip
    labels = [label for label in found if not chosen or (label.layer, label.unit) in chosen]
    if out is not None:
        write_labels(out, labels)
    return Table(map(asdict, labels))
