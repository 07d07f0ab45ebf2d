"""A photograph that a visitor drops into the viewer: read within bounds, and what each of its places says of the classes.

Only JPEG, PNG and WebP are decoded, and only in the thread that draws.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, ValidationError

from filterscope.atlas.gallery.data import Data, round_number
from filterscope.atlas.storage.manifest import NetworkManifest
from filterscope.errors import ArgumentError, ImageError, shortened

if TYPE_CHECKING:
    from filterscope.explanation.votes import Votes
    from filterscope.networks import Network

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 24_000_000
DIGITS = 3


@dataclass(frozen=True)
class PhotographRequest:
    """What to look at: a photograph's file and a network of the atlas."""

    network: str
    data: bytes = field(repr=False)


class _Body(BaseModel):
    """The body of a request; `image` is the file in base64."""

    model_config = ConfigDict(extra="forbid", strict=True)

    network: object = None
    image: str = ""


def parse_photograph(body: object, networks: Mapping[str, NetworkManifest]) -> PhotographRequest:
    """What a visitor sends, checked: {"network", "image"}, the image a JPEG, PNG or WebP file in base64.

    ArgumentError with what is allowed.
    """
    try:
        asked = _Body.model_validate(body)
        data = base64.b64decode(asked.image, validate=True)
    except (ValidationError, binascii.Error, ValueError):
        raise ArgumentError(
            "a photograph is sent as an object of network and image, a file in base64"
        ) from None
    if not isinstance(asked.network, str) or asked.network not in networks:
        raise ArgumentError(
            f"this atlas has no network {shortened(asked.network, 60)}; it has {', '.join(networks)}"
        )
    if not data:
        raise ImageError("the photograph is empty")
    return PhotographRequest(asked.network, data)


def look_at(request: PhotographRequest, network: Network, manifest: NetworkManifest) -> Data:
    """The photograph as the network takes it, the classes it names, and each place's units, for the page."""
    from filterscope.explanation.masks import enlarged
    from filterscope.explanation.votes import count_votes
    from filterscope.pictures.reading import read_photograph

    photograph = read_photograph(decoded(request.data))
    seen, layers = count_votes(network, photograph, [entry.name for entry in manifest.layers])
    buffer = io.BytesIO()
    enlarged(seen.image).convert("RGB").save(buffer, "JPEG", quality=85)
    return {
        "image": f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}",
        "classes": [[guess.name, guess.unit, round_number(guess.probability, 4)] for guess in seen.classes],
        "layers": [_layer(votes) for votes in layers],
    }


def decoded(data: bytes) -> Image.Image:
    """A picture from a file's bytes; ImageError where it is none of the formats, damaged or too large."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"the photograph has {image.width} x {image.height} px; the viewer takes up to {MAX_PIXELS:,} pixels"
                )
            image.load()
            return image
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"this is no JPEG, PNG or WebP file that can be read: {error}") from None


def _layer(votes: Votes) -> dict[str, Any]:
    """A list for each row and column of [unit, activation, votes for each class]."""
    rows = zip(votes.units, votes.activations, votes.votes, strict=True)
    return {
        "name": votes.layer,
        "places": [[_place(*one) for one in zip(*row, strict=True)] for row in rows],
    }


def _place(units: Any, activations: Any, votes: Any) -> list[list[Any]]:
    return [
        [int(unit), round_number(float(activation), DIGITS), [round_number(float(v), DIGITS) for v in own]]
        for unit, activation, own in zip(units, activations, votes, strict=True)
    ]
