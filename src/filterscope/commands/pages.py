"""Atlases, activation atlases and comparisons of two networks: pages of many pictures, as functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from filterscope.api import DrawingOptions, read_asked, read_run
from filterscope.comparison.compare import Comparison, compare
from filterscope.concept import How
from filterscope.errors import ArgumentError
from filterscope.files import StrPath
from filterscope.networks import Network, open_network
from filterscope.progress import progress_bar


def make_atlas(
    network: Any,
    out: StrPath,
    *,
    layers: Sequence[str] | None = None,
    weights: StrPath | None = None,
    images: StrPath | None = None,
    name: str | None = None,
    retry: bool = False,
    overwrite: bool = False,
    on: str = "local",
    address: str | None = None,
    workers: int | None = None,
    alpha: bool = False,
    judge: Any = None,
    encoder: Any = None,
    labels: StrPath | Iterable[Mapping[str, Any]] | None = None,
    concepts: StrPath | None = None,
    how: How = "dot",
    on_message: Callable[[str], object] = lambda _: None,
    **options: Unpack[DrawingOptions],
) -> dict[str, Any]:
    """Draw every unit of a network's layers as pages for a browser, or go on with what is there; returns a summary.

    network: as for `open_network`; on Ray a name or file, since a model object cannot be sent.
    out: a folder, or an fsspec address ("s3://...", "gs://...", "memory://...").
    layers: names of layers; all that have units worth a picture where None.
    weights: as for `open_network`, of a network that is not opened yet.
    images: folder of natural images, for excitations, each unit's best forty, selectivity and sparsity.
    name: the network's folder in the atlas, its own name where None.
    retry: draw failed and dead units again, the dead from other noise.
    overwrite: draw anew what is there and was drawn otherwise, instead of refusing.
    on, address, workers: "local" or "ray"; the cluster's address; how many workers.
    alpha: write each picture with an alpha channel too, `Picture.transparency`.
    judge: another network, as for `network`, by whose features each picture's legibility is measured on the `images`, and
        the clarity and polysemanticity of each unit's examples where there is no encoder.
    encoder: as for `label_units`, by which the examples' clarity and polysemanticity are measured.
    labels: a CSV file of units' labels, or the rows that `label_units` gives. With labels alone, for a network that is in
        the atlas, nothing is drawn: they are added to what is there.
    concepts: a file or folder of concepts (see docs/concepts.md), which are drawn instead of units, at each of the
        `layers`, or at the layer that it names. how: by the product ("dot"), the "cosine" or the "latent" of an autoencoder.
    on_message: called with what is done now, a line at a time. Options as for `visualize`, but for `on_step`. Which
    recipe suits a layer is written down; where none is named an atlas goes on with what it was begun with.

    Raises ArgumentError for what cannot be drawn as asked, OutputError where it cannot be written.

    >>> summary = make_atlas(
    ...     "tiny-vgg16", "memory://example", layers=["block1_conv1"], steps=1, size=32, progress=False
    ... )
    >>> summary["pictures"]
    32
    """
    from filterscope.atlas.run.request import AtlasRequest
    from filterscope.atlas.run.run import make_atlas as write_atlas

    run = read_run(options)
    if options.get("on_step") is not None:
        raise ArgumentError("an atlas has no on_step: on_message is called with what is done")
    request = AtlasRequest(
        layers, read_asked(options), run, weights=None if weights is None else os.fspath(weights),
        images=None if images is None else Path(images), name=name, retry=retry, overwrite=overwrite, on=on,
        address=address, workers=workers, alpha=alpha, judge=None if judge is None else open_network(judge),
        encoder=encoder, labels=labels,
        concepts=None if concepts is None else os.fspath(concepts), how=how,
    )  # fmt: skip
    return write_atlas(network, out, request, progress=options.get("progress", True), on_message=on_message)


def make_map(
    network: Any,
    layer: str,
    images: StrPath,
    out: StrPath,
    *,
    grid: Sequence[int] = (15,),
    weights: StrPath | None = None,
    name: str | None = None,
    retry: bool = False,
    overwrite: bool = False,
    on: str = "local",
    address: str | None = None,
    workers: int | None = None,
    beside: Any = None,
    on_message: Callable[[str], object] = lambda _: None,
    **options: Unpack[DrawingOptions],
) -> dict[str, Any]:
    """Draw an activation atlas (Carter et al. 2019) of a layer as a page that pans and zooms; returns a summary.

    One place of each image, chosen by the seed, is laid out by its activations (UMAP, extra "umap"; else t-SNE, extra
    "concepts"), and each cell of a grid with 6 activations or more is drawn from their mean: the product with it times the
    squared cosine, at the middle of the layer's map.

    layer: whose output is a map. images: a folder of 50 pictures or more, better thousands.
    grid: cells a side; several are levels of detail. The recipe is "natural" where none is given, at the network's own size.
    beside: another network, another checkpoint say, whose map is drawn too, on the same layout, with a page of both.
    The others as for `make_atlas`.

    Raises ArgumentError for what cannot be drawn as asked, OutputError where it cannot be written.

    >>> make_map("tiny-vgg16", "block4_conv3", "no-such-folder", "memory://map")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    filterscope.errors.ImageError: there is no folder 'no-such-folder'
    """
    from filterscope.atlas.run.mapping import MapRequest, map_recipe
    from filterscope.atlas.run.mapping import make_map as write_map
    from filterscope.atlas.run.request import AtlasRequest

    run = read_run(options)
    if options.get("on_step") is not None:
        raise ArgumentError("an activation atlas has no on_step: on_message is called with what is done")
    recipe = map_recipe(options.get("recipe"), **{k: options.get(k) for k in ("steps", "size", "settings")})
    atlas = AtlasRequest(
        None, recipe, run, weights=None if weights is None else os.fspath(weights), images=Path(images), name=name,
        retry=retry, overwrite=overwrite, on=on, address=address, workers=workers,
    )  # fmt: skip
    request = MapRequest(layer, atlas, tuple(grid))
    if beside is not None:
        from filterscope.comparison.maps import compare_maps

        first = open_network(network, weights=weights)
        shown = options.get("progress", True)
        return compare_maps(first, beside, out, request, progress=shown, on_message=on_message)
    return write_map(network, out, request, progress=options.get("progress", True), on_message=on_message)


def compare_networks(
    network_a: Any, network_b: Any, target: str | Sequence[str] = (), **options: Unpack[DrawingOptions]
) -> Comparison:
    """Draw the same units of two networks, and order them by how much they changed.

    network_a, network_b: two checkpoints of one network, or two networks that share layer names.
    target: as text, for both; where there is none, four units of every layer with weights that both have.
    Options as for `visualize`. Raises TargetError for a unit that one of the networks does not have.

    >>> found = compare_networks(
    ...     "tiny-vgg16", "tiny-vgg16", "block1_conv1:3", steps=1, size=32, progress=False
    ... )
    >>> round(found.pairs[0].change, 3)
    0.0
    """
    run = read_run(options)
    with progress_bar(options.get("progress", True), also=options.get("on_step")) as bar:
        return compare(
            network_a, network_b, target, recipe=read_asked(options), seed=run.seed, precision=run.precision,
            device=run.device, on_step=bar,
        )  # fmt: skip


def view_atlas(
    folder: StrPath,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    networks: Mapping[str, Network] | None = None,
    on_ready: Callable[[str], object] = print,
) -> None:
    """Serve an atlas and draw units on demand, until Ctrl-C.

    host, port: where to listen; port 0 takes any free one. token: what drawing needs; a random one where `host`
    reaches further than this machine and none is given. networks: opened networks by their folder in the atlas, for
    one of model objects. on_ready: called with the viewer's address, its token included.

    Raises ArgumentError where there is no atlas, OutputError where the port is taken.

    >>> view_atlas("no-such-atlas")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    filterscope.errors.ArgumentError: no-such-atlas holds no atlas
    """
    from filterscope.viewer import import_viewer

    import_viewer().view(folder, host=host, port=port, token=token, networks=networks, on_ready=on_ready)
