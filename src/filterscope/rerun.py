"""Draw a picture again from the recipe inside its PNG, and from the photograph that it started from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from filterscope.cache import Cache
from filterscope.catalog import EMBEDDED, PACKAGED
from filterscope.concept import Concept
from filterscope.drawing.draw import draw
from filterscope.drawing.run import Given, Run
from filterscope.errors import ImageError, RecipeError, WeightsError
from filterscope.expression import read_objective
from filterscope.files import is_there
from filterscope.formats import PICTURE, REGISTER
from filterscope.networks import Network, open_network, opens_by_name
from filterscope.networks.concepts.reading import sha256_concepts
from filterscope.networks.pytorch.factory import is_factory
from filterscope.networks.pytorch.packaged import packaged_weights
from filterscope.networks.weights.table import RANDOM, part_of, sha256_weights
from filterscope.objective import Objective
from filterscope.pictures.networks import decode_parameters
from filterscope.pictures.picture import Picture, Scores
from filterscope.pictures.png import read_image, read_metadata
from filterscope.pictures.reading import Photograph, read_photograph
from filterscope.progress import OnStep
from filterscope.recipe import Cppn
from filterscope.records import PhotographRecord, PictureRecord, read_record
from filterscope.sides import Size, as_size, pixels_text, size_text
from filterscope.target import terms_of

_REGISTER = Cache("weights.json", REGISTER, "files")
LARGEST_BATCH = 128  # pictures that are drawn together for the sake of one's rounding


@dataclass(frozen=True)
class Again:
    """A picture drawn again, and how far it is from the file: levels are of 255. rendered: at another size from the
    weights in the file, so that there is nothing to compare."""

    picture: Picture
    original: dict[str, Any]
    mean_difference: float
    largest_difference: int
    rendered: bool = False

    @property
    def same_photographs(self) -> bool:
        """Whether both were drawn from the very same photographs, if from any."""
        mine, theirs = self.picture.photographs, self.original.get("photographs", {})
        return all(theirs.get(role, {}).get("sha256") == mine[role]["sha256"] for role in mine)

    @property
    def same_concepts(self) -> bool:
        """Whether both were drawn from the very same files of concepts, if from any."""
        return bool(self.original.get("concepts", {}) == self.picture.concepts)

    @property
    def same_weights(self) -> bool:
        """Whether both were drawn from the very same weights."""
        return bool(self.original.get("weights_sha256") == self.picture.weights_sha256)

    def summary(self) -> dict[str, Any]:
        """For machines."""
        if self.rendered:
            return {"target": str(self.picture.target), "size": as_size(*self.picture.image.shape[:2])}
        return {
            "target": str(self.picture.target),
            "identical": self.largest_difference == 0,
            "mean_difference": self.mean_difference,
            "largest_difference": self.largest_difference,
            "same_weights": self.same_weights,
            "same_photographs": self.same_photographs,
            "same_concepts": self.same_concepts,
            "activation": self.picture.scores.activation,
        }

    def describe(self) -> str:
        """For a person."""
        if self.rendered:
            return f"{self.picture.target}: drawn at {pixels_text(as_size(*self.picture.image.shape[:2]))} from its weights"
        if self.largest_difference == 0:
            text = f"{self.picture.target}: identical"
        else:
            text = (
                f"{self.picture.target}: differs by {self.mean_difference:.2f} of 255 levels on average, "
                f"{self.largest_difference} at most"
            )
        text += "" if self.same_photographs else " (drawn from another photograph than the file's)"
        text += "" if self.same_concepts else " (drawn from another file of concepts than the picture's)"
        return text if self.same_weights else f"{text} (drawn from other weights than the file's)"


def draw_again(
    path: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    image: str | os.PathLike[str] | None = None,
    guide: str | os.PathLike[str] | None = None,
    concepts: str | os.PathLike[str] | None = None,
    net: str | None = None,
    device: str = "auto",
    size: Size | None = None,
    on_step: OnStep | None = None,
) -> Again:
    """Draw the picture of a PNG again; ImageError where the file carries no recipe or the photograph that it was
    drawn from (`image`, and of a guided dream `guide`) is not to be found, WeightsError where its weights or its file of
    concepts (`concepts`) are not.

    `net` names the network where the picture's own record does not open it: it was drawn from a model object or
    from a person's own file, whose code no picture can have run. `size`: of a picture that is a network of coordinates, the
    size to draw it at from the weights in its record, without an ascent; RecipeError for any other picture.
    """
    recorded = read_metadata(path)
    if recorded is None:
        raise ImageError(f"{os.fspath(path)!r} carries no recipe of filterscope")
    recorded = PICTURE.newest(recorded, repr(os.fspath(path)))
    if recorded.get("kind") == "location":
        raise ImageError(
            f"{os.fspath(path)!r} was not drawn by an ascent: it shows where a unit is excited; ask again with "
            f"filterscope locate {recorded.get('network')} IMAGE {recorded.get('target')}"
        )
    record = read_record(recorded, repr(os.fspath(path)))
    if size is not None:
        return Again(_recorded_picture(path, record).render(size), recorded, 0.0, 0, rendered=True)
    network = _opened(recorded, record, Path(path), net, weights)
    files = _find_concepts(record, Path(path), concepts)
    targets = network.objectives(record.target, seed=record.seed, files=files)
    photographs = _find_photographs(record, Path(path), {"image": image, "guide": guide})
    # as many at a time as then: on some processors a batch's size changes rounding
    facets, batch = record.recipe.facet_count, min(record.batch, LARGEST_BATCH)
    goals = targets[:1] if photographs else targets * max(1, batch // facets)
    pictures = draw(
        network, goals, record.recipe, Run(record.seed, record.precision, device), photographs=photographs,
        given=Given(batch, record.attempt, None if record.recipe.facets else record.facet), on_step=on_step,
    )  # fmt: skip
    return _compared(path, next(p for p in pictures if p.facet == record.facet), recorded)


def _opened(
    recorded: dict[str, Any],
    record: PictureRecord,
    picture: Path,
    net: str | None,
    weights: str | os.PathLike[str] | None,
) -> Network:
    """The network that a picture was drawn from; only what a person names with `net` may run code of theirs."""
    if not record.networks:
        return _opened_one(recorded, record.network, picture, net, weights)
    if net is not None or weights is not None:
        return open_network(net or record.network, weights=weights)
    return open_network(
        {
            name: _opened_one({**recorded, **one.model_dump()}, one.network, picture, None, None)
            for name, one in record.networks.items()
        }
    )


def _opened_one(
    recorded: dict[str, Any],
    name: str,
    picture: Path,
    net: str | None,
    weights: str | os.PathLike[str] | None,
) -> Network:
    found = Path(weights) if weights else find_weights(recorded, picture)
    if net is not None:
        return open_network(net, weights=found)
    if found is not None and found.suffix in (".keras", ".pt2"):
        _, sign, options = name.partition("?")
        return open_network(f"{found}{sign}{options}")
    if is_factory(name.partition("?")[0]) or (found is None and not opens_by_name(name)):
        kind = "a person's own file" if is_factory(name.partition("?")[0]) else "a model object"
        raise ImageError(
            f"{str(picture)!r} was drawn from {kind} {name!r}, which its record alone does not open; name it "
            f"with net='path/to/file.py:factory', or draw it again in Python: "
            f"visualize(model, {str(recorded['target'])!r}, recipe=..., seed={recorded['seed']})"
        )
    return open_network(name, weights=found)


def _recorded_picture(path: str | os.PathLike[str], record: PictureRecord) -> Picture:
    """The picture of a file as its record has it, for what needs no network."""
    image = record.recipe.image
    if record.parameters is None or not isinstance(image, Cppn):
        raise RecipeError(
            f"{os.fspath(path)!r} cannot be drawn at another size again: only a picture whose image is of kind 'cppn' can, "
            f"and its image is of kind {image.kind!r}; draw one with show and image=cppn, or without size= draw "
            "this one again as it is"
        )
    pixels = np.asarray(read_image(path))
    return Picture(
        image=pixels if pixels.ndim == 3 else pixels[..., None],
        target=read_objective(record.target),
        network=record.network,
        recipe=record.recipe,
        seed=record.seed,
        scores=Scores(**{k: v for k, v in record.scores.items() if k in Scores.__dataclass_fields__}),  # type: ignore[arg-type]
        status=record.status,
        curve=record.curve,
        facet=record.facet,
        class_name=record.class_name,
        weights_sha256=record.weights_sha256 or "",
        weights_file=record.weights_file,
        precision=record.precision,
        device=record.device,
        batch=record.batch,
        attempt=record.attempt,
        carried_out=record.carried_out,
        parameters=decode_parameters(record.parameters, repr(os.fspath(path))),
    )


def _compared(path: str | os.PathLike[str], picture: Picture, recorded: dict[str, Any]) -> Again:
    file = read_image(path)
    if picture.parameters is not None and file.size[::-1] != picture.image.shape[:2]:
        picture = picture.render(file.size[::-1])
    again = picture.to_pil()
    before = np.asarray(file.convert(again.mode), dtype=np.int16)
    if before.shape[:2] != picture.image.shape[:2]:
        raise ImageError(
            f"{os.fspath(path)!r} is {pixels_text(before.shape[:2])}, its recipe says {size_text(picture.recipe.size or 0)}"
        )
    difference = np.abs(before - np.asarray(again, dtype=np.int16))
    return Again(picture, recorded, float(difference.mean()), int(difference.max()))


def remember_weights(network: Network) -> None:
    """Note where its weights' files lie, so that `rerun` finds them again by their hash; kept on this machine only."""
    for one in network.members.values() or [network]:
        if one.weights.path is not None:
            _remember(one.weights.sha256, one.weights.path)


def remember_photograph(photograph: Photograph) -> None:
    """Note where a photograph lies, so that `rerun` finds it again by its hash; kept on this machine only."""
    if photograph.path is not None:
        _remember(photograph.sha256, photograph.path)


def remember_concepts(goals: Iterable[Objective]) -> None:
    """Note where the files of concepts lie that goals were read from, so that `rerun` finds them again by their hashes;
    kept on this machine only."""
    places = {t.sha256: t.place for goal in goals for _, t in terms_of(goal) if isinstance(t, Concept)}
    for sha256, place in places.items():
        if place:
            _remember(sha256, Path(place))


def _remember(sha256: str, path: Path) -> None:
    _REGISTER.add(sha256, str(path.resolve()))


def _find_photographs(
    record: PictureRecord, picture: Path, given: dict[str, str | os.PathLike[str] | None]
) -> dict[str, Photograph]:
    """The photographs that a picture was drawn from, by role: those given, or those with the recorded hashes."""
    roles = record.photographs
    for role, path in given.items():
        if path is not None and role not in roles:
            raise ImageError(f"{str(picture)!r} was drawn without a photograph: leave out {role}=")
    return {role: _find_photograph(role, entry, picture, given.get(role)) for role, entry in roles.items()}


def _find_photograph(
    role: str, entry: PhotographRecord, picture: Path, given: str | os.PathLike[str] | None
) -> Photograph:
    if given is not None:
        return read_photograph(given)
    sha256 = entry.sha256
    own = Path(entry.file).name if entry.file else None
    beside = [place / own for place in (picture.parent, picture.parent.parent, Path())] if own else []
    for place in ([Path(_known()[sha256])] if sha256 in _known() else []) + beside:
        if _is(place, sha256):
            return read_photograph(place)
    raise ImageError(
        f"the picture was drawn from the photograph {own or 'of an image object'!r} (sha256 {sha256}), which is not "
        f"here; say where it is with {role}=FILE"
    )


def _find_concepts(
    record: PictureRecord, picture: Path, given: str | os.PathLike[str] | None
) -> dict[str, str]:
    """Where the files of concepts lie that a picture was drawn from, by their names in its record."""
    if given is not None and len(record.concepts) != 1:
        many = "several files" if record.concepts else "no file"
        raise ImageError(f"{str(picture)!r} was drawn from {many} of concepts: leave out concepts=")
    if given is not None:
        return dict.fromkeys(record.concepts, os.fspath(given))
    return {name: _find_concept_file(name, sha256, picture) for name, sha256 in record.concepts.items()}


def _find_concept_file(name: str, sha256: str, picture: Path) -> str:
    own = Path(name).name
    known = [Path(_known()[sha256])] if sha256 in _known() else []
    for place in (*known, *(folder / own for folder in (picture.parent, picture.parent.parent, Path()))):
        with contextlib.suppress(OSError, ValueError, WeightsError):
            if is_there(part_of(place)[0]) and sha256_concepts(place) == sha256:
                return str(place)
    raise ImageError(
        f"the picture was drawn from the file of concepts {own!r} (sha256 {sha256}), which is not here; say where it is "
        "with concepts=FILE"
    )


def find_weights(recorded: dict[str, Any], picture: Path) -> Path | None:
    """The weights file that a picture's (or network's) record names: where it was then, beside the picture, or
    here. None where it names none; WeightsError where it is not to be found."""
    name, sha256 = recorded.get("weights_file"), recorded.get("weights_sha256")
    if not name:
        return None
    if name == RANDOM:  # no file: the bare architecture's own numbers, the same every time
        return Path(RANDOM)
    name = Path(str(name)).name
    for place in (_known().get(str(sha256)), picture.parent / name, Path(name)):
        if place and _is(Path(place), sha256):
            return Path(place)
    network = str(recorded.get("network")).partition("?")[0]
    if network == EMBEDDED or (network in PACKAGED and _is(packaged_weights(network), sha256)):
        return None
    raise WeightsError(
        f"the picture was drawn from {name!r} (sha256 {sha256}), which is not here; pass it with weights=FILE"
    )


def _known() -> dict[str, str]:
    return {sha256: place for sha256, place in _REGISTER.read().items() if isinstance(place, str)}


def _is(place: Path, sha256: str | None) -> bool:
    """Whether a file is there, can be read and has that hash."""
    try:
        return part_of(place)[0].is_file() and sha256_weights(place) == sha256
    except (OSError, ValueError):
        return False
