"""One of Ray's workers: a process that holds the network and draws the chunks that it is given."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from filterscope.atlas.plan import Chunk, ChunkResult
from filterscope.atlas.storage.journal import write_files
from filterscope.atlas.storage.store import open_store
from filterscope.concept import How
from filterscope.drawing.run import Run
from filterscope.errors import WorkError
from filterscope.files import is_there
from filterscope.networks.concepts.reading import concept_files
from filterscope.networks.weights.table import part_of
from filterscope.objective import Objective

if TYPE_CHECKING:
    from filterscope.measure.concepts import ConceptUnits
    from filterscope.networks import Network


@dataclass(frozen=True)
class SentConcepts:
    """A file or folder of concepts at a layer. files: its bytes by name, for workers that lack it."""

    path: str
    sha256: str
    layer: str
    how: How
    files: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs. recipes: of each layer that is drawn, as JSON. best: by layer every unit's largest natural
    activation. files: what it may lack of files, by path. address: of the atlas, where the worker can write there itself.
    goals: what is drawn of layers that are not units of the network's. layers: the network's, whose weights are read
    first, where they are not those of `recipes`."""

    source: str
    weights: str | None
    sha256: str
    recipes: Mapping[str, str]
    run: Run
    best: Mapping[str, np.ndarray]
    threads: int = 1
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    address: str | None = None
    folder: str = ""
    alpha: bool = False
    concepts: Sequence[SentConcepts] = ()
    goals: Mapping[str, Sequence[Objective]] = field(default_factory=dict, repr=False)
    layers: Sequence[str] = ()


class Worker:
    """Draws chunks; the network is opened once."""

    def __init__(self, setup: WorkerSetup):
        import torch

        torch.set_num_threads(setup.threads)
        from filterscope.atlas.run.drawer import ChunkDrawer
        from filterscope.networks import open_network
        from filterscope.recipe import read_recipe

        with tempfile.TemporaryDirectory(prefix="filterscope.") as folder:
            paths = {
                given: _find_file(given, setup.files, Path(folder))
                for given in (setup.source, setup.weights)
                if given is not None
            }
            weights = None if setup.weights is None else paths[setup.weights]
            network = open_network(paths[setup.source], weights=weights)
            # read now: the folder goes, and a hash must not fetch a file of its own
            for name in () if setup.concepts else setup.layers or setup.recipes:
                network.part(name)
            found = network.weights.sha256
            concepts = [_received(network, one, Path(folder)) for one in setup.concepts]
        if found != setup.sha256:
            raise WorkError(
                f"the worker on {platform.node()} has other weights for {setup.source} than the driver: sha256 "
                f"{found} and {setup.sha256}; give the same file as weights="
            )
        recipes = {layer: read_recipe(text) for layer, text in setup.recipes.items()}
        self._drawer = ChunkDrawer(
            network, recipes, setup.run, setup.best, setup.alpha, concepts, setup.goals
        )
        self._store = None if setup.address is None else open_store(setup.address)
        self._folder = setup.folder

    def ready(self) -> int:
        """Answers once the network is open; the process's number."""
        return os.getpid()

    def draw(self, chunk: Chunk) -> ChunkResult:
        """Draw a chunk; where the store can be reached from here its files are written here too."""
        result = self._drawer.draw(chunk)
        if self._store is None:
            return result
        write_files(self._store, self._folder, result.files)
        return replace(result, files={})

    def trial(self, chunk: Chunk, steps: int) -> float:
        """Draw a chunk for a few steps and throw it away; the seconds that took."""
        return self._drawer.trial(chunk, steps)


def read_given_files(*paths: str | None) -> dict[str, bytes]:
    """What workers on other machines need of files here: their bytes by the path as given."""
    return {path: Path(path).read_bytes() for path in paths if path is not None and Path(path).is_file()}


def send_concepts(one: ConceptUnits, *, whole: bool) -> SentConcepts:
    """A file or folder of concepts for workers: where it lies and, for those on other machines, the `whole` of it."""
    path = one.file.path
    own = part_of(path)[0]
    files = {file.name: file.read_bytes() for file in concept_files(own)} if whole else {}
    return SentConcepts(str(path), one.file.sha256, one.layer, one.how, files)


def _received(network: Network, sent: SentConcepts, folder: Path) -> ConceptUnits:
    """The concepts here: where the driver has them, or written anew from its bytes."""
    from filterscope.measure.concepts import concepts_at

    path = Path(sent.path)
    if not is_there(part_of(path)[0]):
        whole = part_of(path)[0]
        place = folder / "concepts" / whole.name if len(sent.files) > 1 else folder / "concepts"
        place.mkdir(parents=True, exist_ok=True)
        for name, data in sent.files.items():
            (place / Path(name).name).write_bytes(data)
        is_folder = len(sent.files) > 1
        path = place if is_folder else place / path.name
    found = concepts_at(network, str(path), sent.layer, sent.how)
    if found.file.sha256 != sent.sha256:
        raise WorkError(
            f"the worker on {platform.node()} has another file of concepts at {sent.path} than the driver: sha256 "
            f"{found.file.sha256} and {sent.sha256}"
        )
    return found


def _find_file(given: str, files: Mapping[str, bytes], folder: Path) -> str:
    """A file's path here: where it was given, or written anew from the driver's bytes."""
    if given not in files or Path(given).is_file():
        return given
    path = folder / Path(given).name
    path.write_bytes(files[given])
    return str(path)
