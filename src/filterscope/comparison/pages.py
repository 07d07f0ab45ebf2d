"""A comparison as pages: the pairs, most changed first, and both networks' galleries behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filterscope.atlas.gallery.data import LayerPages, NetworkPages, group_units, thin_curve
from filterscope.atlas.gallery.pages import make_script, render, write_assets, write_network
from filterscope.atlas.gallery.paths import folder_name
from filterscope.atlas.storage.manifest import LayerEntry, NetworkManifest
from filterscope.atlas.storage.rows import Row
from filterscope.atlas.storage.store import open_store
from filterscope.comparison.pairs import Pair, name_files, name_folders
from filterscope.measure.natural import recall
from filterscope.networks import Network
from filterscope.pictures import Picture
from filterscope.recipe import AutoRecipe, record_asked


def write_pages(
    folder: Path, pairs: Sequence[Pair], names: tuple[str, str], networks: tuple[Network, Network]
) -> None:
    """Write index.html with the pairs, its data, and the pages of both networks."""
    store = open_store(folder)
    write_assets(store, ["compare.js"])
    cards = []
    for side, place in enumerate(name_folders(names)):
        pictures = [(pair.a, pair.b)[side] for pair in pairs]
        network = _network(networks[side], place, pictures, names[side])
        rows = [_row(networks[side], place, p) for p in pictures]
        layers = [
            LayerPages(network.info(n), group_units(r for r in rows if r.layer == n))
            for n in network.layers()
        ]
        cards.append(write_network(store, network, layers))
    shown = [_pair(pair, pair.report(name_files(names, pair.a.target, pair.b.target))) for pair in pairs]
    store.write("pairs.js", make_script("pairs", shown, list(names)))
    store.write("index.html", render("compare.html", root="", names=names, cards=cards, pairs=shown))


def _pair(pair: Pair, report: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a pair."""
    layer, _, unit = report["target"].rpartition(":")
    return {
        "layer": layer,
        "unit": unit,
        "name": report["class_name"] or "",
        "target": report["target"],
        "target_b": report["target_b"],
        "change": report["change"],
        "difference": report["difference"],
        "reach": [report["reach_a"], report["reach_b"]],
        "crossed": [report["activation_a_of_b"], report["activation_b_of_a"]],
        "sides": [
            {k: report[side][k] for k in ("file", "activation", "excitation", "probability", "status")}
            for side in ("a", "b")
        ],
        "curves": [thin_curve(pair.a.curve), thin_curve(pair.b.curve)],
    }


def _network(network: Network, place: str, pictures: Sequence[Picture], name: str) -> NetworkPages:
    counts: dict[str, int] = {}
    for picture in pictures:
        counts[picture.target.layers[0]] = counts.get(picture.target.layers[0], 0) + 1
    layers = [
        LayerEntry(
            name=n, folder=folder_name(n), kind=row.kind, units=row.units, output_shape=list(row.output_shape),
            receptive_field=row.receptive_field,
        )
        for n, row in network.layers.items()
    ]  # fmt: skip
    record = NetworkManifest(
        name=name, input=str(network.input), weights_sha256=pictures[0].weights_sha256,
        weights_file=network.weights_file, recipe=_recipe(pictures), layers=layers,
    )  # fmt: skip
    units = {n: counts[n] for n in network.layers if n in counts}
    return NetworkPages(place, record, units, home="Comparison")


def _recipe(pictures: Sequence[Picture]) -> dict[str, Any]:
    """What all pictures were drawn with; where that differs, that it was chosen for each."""
    if len({picture.recipe.name for picture in pictures}) > 1:
        return AutoRecipe().record()
    return record_asked(pictures[0].recipe)


def _row(network: Network, place: str, picture: Picture) -> Row:
    """A picture as a row of an atlas' index."""
    layer, unit = picture.target.layers[0], int(getattr(picture.target, "unit", 0))
    natural = recall(network, layer)
    known: dict[str, float] = {}
    if natural is not None:
        known = {f"natural_{k}": float(getattr(natural, k)[unit]) for k in ("mean", "p99", "best")}
    return Row(
        network=place,
        layer=layer,
        unit=unit,
        class_name=picture.class_name,
        status=picture.status,
        file=f"{place}/{folder_name(layer)}/{picture.stem}.png",
        seconds=picture.seconds,
        attempt=picture.attempt,
        seed=picture.seed,
        recipe=picture.recipe.name,
        curve=list(picture.curve),
        **known,
        **{k: v for k, v in picture.scores.record().items() if k != "top_unit"},
    )
