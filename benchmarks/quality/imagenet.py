"""Networks trained on photographs, and pictures of their units by our recipes and by a peer, kept so that runs go on.

A program is "default" (what a person gets who names no recipe), a preset or a peer. tf-keras-vis draws Keras models, which
none of these networks is.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality import peers
from benchmarks.quality.store import Kept, Store, digest
from benchmarks.runners.torchvision_cpu import torchvision_operators

import filterscope
from filterscope.measure.natural import NaturalActivations
from filterscope.networks import Network, open_network
from filterscope.recipe import PRESETS
from filterscope.target import Target

PEERS = ("lucent",)
PROGRAMS = ("default", *PRESETS, *PEERS)


@dataclass(frozen=True)
class Subject:
    """A network whose hidden units are drawn: how it opens, four layers by depth, and the network whose features answer the
    two-alternative test."""

    source: str
    layers: tuple[str, ...]
    features: str
    weights: str | None = None

    def open(self, models: Path | None) -> Network:
        """models: the folder of weights files."""
        torchvision_operators()  # timm's import beside a CPU-only torch
        if self.weights is None:
            return open_network(self.source)
        if models is None:
            raise SystemExit(f"{self.source} needs --models DIR, a folder with {self.weights}")
        return open_network(self.source, weights=models / self.weights)


SUBJECTS = {
    "efficientnet-lite0": Subject(
        "efficientnet-lite0", ("blocks.1.1.bn2", "blocks.3.2.bn2", "blocks.5.2.bn2", "bn2"), "efficientnet-lite2"
    ),
    "efficientnet-lite2": Subject(
        "efficientnet-lite2", ("blocks.1.1.bn2", "blocks.3.2.bn2", "blocks.5.2.bn2", "bn2"), "efficientnet-lite0"
    ),
    "dinov2": Subject(
        "timm:vit_small_patch14_dinov2",
        ("blocks.2.mlp.act", "blocks.5.mlp.act", "blocks.8.mlp.act", "blocks.11.mlp.act"),
        "efficientnet-lite0",
        "dinov2-vits14.safetensors",
    ),
}  # fmt: skip


def choose_units(natural: Mapping[str, NaturalActivations], count: int) -> list[Target]:
    """`count` units of each layer by chance, the same each time, of those that photographs excite differently."""
    chosen = []
    for layer, found in natural.items():
        least = found.mean * 0 if found.least is None else found.least
        live = [unit for unit in range(len(found.best)) if found.best[unit] > least[unit]]
        random.Random(f"legibility/{layer}").shuffle(live)
        chosen += [Target(layer, unit) for unit in sorted(live[:count])]
    return chosen


def pictures(
    name: str, net: Network, program: str, targets: Sequence[Target], store: Store, args: argparse.Namespace
) -> dict[Target, Kept]:
    """The program's pictures of the targets, drawn where they are missing; name: of the network, in the store."""
    if program in PEERS:
        mark = peers.label(program, net, args.seed)
        units = [(target.layer, target.unit) for target in targets]
        complaint = peers.draw(
            program,
            net,
            units,
            store,
            seed=args.seed,
            venvs=args.venvs,
            name=name,
            plan=peers.exported_plan_of,
        )
        if complaint:
            raise SystemExit(complaint)
    else:
        mark = _draw_ours(name, net, program, targets, store, args)
    found = {target: store.read(name, program, target.layer, target.unit, mark) for target in targets}
    return {target: kept for target, kept in found.items() if kept is not None}


def _draw_ours(
    name: str, net: Network, program: str, targets: Sequence[Target], store: Store, args: argparse.Namespace
) -> str:
    recipe = {} if program == "default" else {"recipe": program}
    settings = PRESETS[program].model_dump(mode="json") if recipe else filterscope.__version__
    mark = digest(program, settings, net.weights.sha256, args.seed, args.precision)
    missing = [
        target
        for target in targets
        if args.fresh or store.read(name, program, target.layer, target.unit, mark) is None
    ]
    if missing:
        options = {"seed": args.seed, "precision": args.precision, "progress": sys.stderr.isatty(), **recipe}
        for picture in filterscope.draw(net, missing, **options):
            store.write(program, picture, mark, network=name)
    return mark
