"""The commands as functions: each takes a network as `open_network` does, and the options of `visualize`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, overload

from PIL import Image

from filterscope.api import Asked, DrawingOptions, Targets, read_asked, read_recipe, read_run
from filterscope.catalog import EMBEDDED
from filterscope.comparison.compare import Comparison, compare
from filterscope.concept import How
from filterscope.drawing.recording import Recorder, record_again
from filterscope.errors import ArgumentError, TargetError
from filterscope.expression import Interpolation, parse
from filterscope.files import check_writable
from filterscope.ladder import Ladder
from filterscope.ladder import draw_ladder as draw_stages
from filterscope.measure.classify import Guess
from filterscope.measure.classify import classify as classify_files
from filterscope.measure.examples import SHOWN, example_sheet, require_folders, unit_rows
from filterscope.measure.examples import find_examples as find_activations
from filterscope.measure.gathering import BEST
from filterscope.measure.natural import chosen_units
from filterscope.networks import Network, open_network
from filterscope.objective import Between, Objective
from filterscope.photographs.presets import photograph_recipe
from filterscope.photographs.sources import Source, photograph_of
from filterscope.photographs.zoom import zoom as draw_zoom
from filterscope.pictures.animation import FPS, check_format, save_animation, save_between
from filterscope.pictures.kernels import kernel_sheet, kernel_units
from filterscope.pictures.reading import Photograph
from filterscope.progress import OnStep, Step, progress_bar
from filterscope.recipe import LADDER, Recipe
from filterscope.rerun import Again, draw_again
from filterscope.sides import Size
from filterscope.table import Table
from filterscope.target import Target

Place = str | os.PathLike[str]
FRAMES = 32  # of an animation, where nothing is said


def list_layers(network: Any) -> Table:
    """The layers of a network: name, kind, output shape, units, parameters, receptive field in pixels (None: the whole
    picture), and whether it is trained (None: it has no weights, or that is not known).

    >>> list_layers("tiny-vgg16")[1:3]
    name           kind       output_shape  units  parameters  receptive_field  trained
    preprocessing  Rescaling  3, 64, 64     3      0           1                -
    block1_conv1   Conv2D     32, 64, 64    32     896         3                True
    """
    return open_network(network).table()


def draw_ladder(
    network: Any,
    target: Targets,
    *,
    recipes: Sequence[str | Recipe] = LADDER,
    **options: Unpack[DrawingOptions],
) -> Ladder:
    """Draw the same targets by several recipes side by side, of themselves the blog's four stages.

    recipes: the columns. Options as for `visualize`; a `recipe` is one more column.

    >>> ladder = draw_ladder("tiny-vgg16", "predictions:goldfish", steps=1, size=32, progress=False)
    >>> [picture.recipe.name for picture in ladder.rows[0]]
    ['naive', 'linear', 'lp', 'tv']
    """
    asked = Asked.read(network, target, options)
    columns = [*recipes, options["recipe"]] if "recipe" in options else recipes
    chosen = [read_recipe(options, recipe) for recipe in columns]
    if not chosen:
        raise ArgumentError("a ladder needs a recipe for each column (got none)")
    with progress_bar(asked.progress, also=asked.on_step) as bar:
        return draw_stages(asked.network, asked.goals, chosen, asked.run, on_step=bar)


def draw_kernels(network: Any, layer: str) -> Image.Image:
    """A convolution's weights as a Pillow image: colour pictures of a first layer, grey slices of a deeper one.

    layer: "LAYER" (all kernels of a first layer, 16 of a deeper one) or "LAYER:0-7".

    >>> draw_kernels("tiny-vgg16", "block1_conv1:0-7").mode
    'RGB'
    """
    net = open_network(network)
    return kernel_sheet(net, *kernel_units(net, layer))


@overload
def classify(network: Any, images: Place, *, top: int = 5, size: Size | None = None) -> list[Guess]: ...
@overload
def classify(
    network: Any, images: Sequence[Place], *, top: int = 5, size: Size | None = None
) -> list[list[Guess]]: ...
def classify(
    network: Any, images: Place | Sequence[Place], *, top: int = 5, size: Size | None = None
) -> list[Guess] | list[list[Guess]]:
    """The most probable classes of a picture file, best first; of several files a list for each.

    size: to which a photograph is resized and cropped, a side or (height, width); the network's own where None.
    Raises ArgumentError for a network without classes, ImageError for a file that is no picture.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (64, 64), "orange").save(f"{folder}/orange.png")
    ...     guesses = classify("tiny-vgg16", f"{folder}/orange.png", top=3)
    >>> len(guesses), guesses[0].probability > guesses[1].probability
    (3, True)
    """
    net = open_network(network)
    if isinstance(images, str | os.PathLike):
        return classify_files(net, [images], top=top, size=size)[0]
    return classify_files(net, images, top=top, size=size)


def find_examples(
    network: Any,
    target: str | Sequence[str],
    images: Place,
    *,
    size: Size | None = None,
    fresh: bool = False,
    by_class: bool = False,
    progress: bool = True,
) -> Table:
    """The pictures in a folder that excite each unit most: a row for each unit with the mean, 99th percentile and
    largest activation, its selectivity and sparsity (see selectivity.py), and the pictures that excite it most, forty at
    most.

    target: layers, "LAYER:3,7" for some units, or "*" for all layers. fresh: compute again what the cache has.
    by_class: also the ten classes that excite the unit most, each with its best pictures, where the pictures'
    subfolders are classes; ArgumentError where there are none. From then on pictures of these units have excitations:
    their activation over the largest one found here.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (64, 64), "orange").save(f"{folder}/orange.png")
    ...     found = find_examples("tiny-vgg16", "block1_conv1:3", folder, progress=False)
    >>> found[0]["unit"], found[0]["top"]
    (3, ['orange.png'])
    """
    net = open_network(network)
    texts = [target] if isinstance(target, str) else list(target)
    found = find_activations(net, texts, Path(images), size=size, fresh=fresh, shown=progress)
    rows = {name: unit_rows(own, by_class=by_class) for name, own in found.items()}
    return Table(example_rows(net, texts, rows))


def draw_examples(
    network: Any,
    target: str,
    images: Place,
    *,
    count: int = SHOWN,
    by_class: bool = False,
    **options: Unpack[DrawingOptions],
) -> Image.Image:
    """Units of a layer as a sheet: of each the picture that is drawn of it, and beside it its best photographs from a
    folder, cropped to the unit's effective receptive field and dark outside of it (Luo et al. 2016).

    target: "LAYER:3,7", or "LAYER" for 16 units. count: photographs of each unit, at most 40. by_class: a row for
    each of the ten classes that excite the unit most, where the photographs' subfolders are classes; ArgumentError
    where there are none. Options as for `visualize`, of the pictures that are drawn.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("RGB", (64, 64), "orange").save(f"{folder}/orange.png")
    ...     sheet = draw_examples("tiny-vgg16", "block1_conv1:3", folder, steps=1, size=32, progress=False)
    >>> sheet.size
    (242, 124)
    """
    asked = Asked.read(network, target, options)
    goals = [goal for goal in asked.goals if isinstance(goal, Target)]
    layers = {goal.layer for goal in goals}
    if len(goals) != len(asked.goals) or len(layers) != 1 or any(goal.at for goal in goals):
        raise TargetError(f"examples are of whole units of one layer, LAYER:3,7 (got {target})")
    if not isinstance(count, int) or not 1 <= count <= BEST:
        raise ArgumentError(f"count is the number of photographs of a unit, 1 to {BEST} (got {count!r})")
    (layer,) = layers
    found = find_activations(asked.network, [layer], Path(images), shown=asked.progress)[layer]
    if by_class:
        require_folders(found)
    pictures = {picture.target.unit: picture.to_pil() for picture in asked.pictures() if not picture.facet}  # type: ignore
    return example_sheet(
        asked.network,
        found,
        [goal.unit for goal in goals],
        Path(images),
        pictures=pictures,
        count=count,
        by_class=by_class,
    )


def example_rows(
    network: Network, texts: Sequence[str], found: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The rows of the units that the texts name, or all where they name layers alone."""
    chosen = chosen_units(network, texts)
    return [row for name in found for row in found[name] if not chosen or (name, row["unit"]) in chosen]


def redraw(
    picture: Place,
    *,
    weights: Place | None = None,
    image: Place | None = None,
    guide: Place | None = None,
    concepts: Place | None = None,
    net: str | None = None,
    device: str = "auto",
    size: Size | None = None,
    progress: bool | None = True,
) -> Again:
    """Draw a picture again from the recipe in its PNG file; the result says how far the two differ.

    weights, image, guide, concepts: the network's weights, the photographs and the file of concepts it was drawn from,
        where they have moved.
    net: the network, where it is a file of your own: "path/to/file.py:factory".
    size: of a picture with image "cppn", the size to draw it at, from the weights in its file, without an ascent.

    >>> import tempfile
    >>> from filterscope import visualize_one
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     drawn = visualize_one("tiny-vgg16", "block1_conv1:3", steps=1, size=32, progress=False)
    ...     redraw(drawn.save(f"{folder}/drawn.png"), progress=False).largest_difference
    0
    """
    with progress_bar(progress) as bar:
        return draw_again(
            picture,
            weights=weights,
            image=image,
            guide=guide,
            concepts=concepts,
            net=net,
            device=device,
            size=size,
            on_step=bar,
        )


def make_atlas(
    network: Any,
    out: Place,
    *,
    layers: Sequence[str] | None = None,
    weights: Place | None = None,
    images: Place | None = None,
    name: str | None = None,
    retry: bool = False,
    overwrite: bool = False,
    on: str = "local",
    address: str | None = None,
    workers: int | None = None,
    alpha: bool = False,
    judge: Any = None,
    encoder: Any = None,
    labels: Place | Iterable[Mapping[str, Any]] | None = None,
    concepts: Place | None = None,
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
    images: Place,
    out: Place,
    *,
    grid: Sequence[int] = (15,),
    weights: Place | None = None,
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
    folder: Place,
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


def animate(
    network: Any,
    target: str | Objective,
    path: Place,
    *,
    frames: int = FRAMES,
    fps: float = FPS,
    image: Source | None = None,
    zoom: float | None = None,
    **options: Unpack[DrawingOptions],
) -> Path:
    """Write an animation of one target's ascent, with the activation's curve beneath, or of what lies between two targets,
    "A -> B"; returns its file.

    path: ends in .webp, .gif or .mp4 (extra: video). frames: how many, the last one the finished picture.
    image: a photograph to start from; the recipe is then "dream" where none is given, as for
    "layer(block4_conv2)". zoom: magnification per frame of an endless zoom into that dream, as 1.04.
    Options as for `visualize`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     animate("tiny-vgg16", "block1_conv1:3", f"{folder}/3.webp", frames=3, steps=4, size=32, progress=False).name
    '3.webp'
    """
    place = Path(path)
    check_format(place.suffix, fps)
    if not isinstance(frames, int) or frames < 2:
        raise ArgumentError(f"an animation has 2 frames or more (got {frames!r})")
    if zoom is not None and (image is None or not 1 < zoom <= 2):
        raise ArgumentError(f"zoom is above 1 and at most 2, into a photograph's dream (got {zoom!r})")
    photographs = {} if image is None else {"image": photograph_of(image)}
    if photographs:
        options["recipe"] = photograph_recipe(options.get("recipe", "dream"))
    parsed = parse(target) if isinstance(target, str) else target
    if isinstance(parsed, Interpolation):
        return _animate_between(
            Asked.read(network, parsed.with_frames(frames), options), place, fps, photographs
        )
    asked = Asked.read(network, target, options)
    if asked.count != 1:
        raise TargetError(f"an animation is of one picture (got {target}, which is {asked.count})")
    first = photographs["image"].image if photographs else None
    recorder = Recorder(0 if zoom else frames, first=first)
    (picture,) = replace(asked, on_step=_both(recorder, asked.on_step)).pictures(photographs)
    if zoom is not None:
        zoomed = draw_zoom(
            asked.network, asked.goals[0], picture.recipe, photographs, picture,
            frames=frames, factor=zoom, run=asked.run,
        )  # fmt: skip
        return save_animation(list(zoomed), place, fps=fps, hold=0)
    if picture.attempt:
        recorder = record_again(asked.network, picture, asked.run, frames)
    return recorder.save(0, place, finished=picture.to_pil(), curve=image is None, fps=fps)


def _animate_between(asked: Asked, place: Path, fps: float, photographs: Mapping[str, Photograph]) -> Path:
    """The animation of what lies between two targets."""
    paths = {goal.path for goal in asked.goals if isinstance(goal, Between)}
    if len(paths) != 1 or len(asked.goals) == 1:
        raise TargetError(f"an animation is of what lies between two targets (got {len(paths)} pairs)")
    return save_between(list(asked.pictures(photographs)), place, fps=fps)


def _both(first: OnStep, second: OnStep | None) -> OnStep:
    def on_step(step: Step) -> None:
        first(step)
        if second is not None:
            second(step)

    return on_step


def run_demo(out: Place = "filterscope-demo", *, progress: bool = True) -> Path:
    """Draw a tour of tiny-vgg16 on one page, offline, in about a minute; returns the page.

    Raises OutputError where it cannot be written.

    >>> run_demo("/dev/null/demo")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    filterscope.errors.OutputError: cannot write to '/dev/null/demo'
    """
    check_writable(Path(out))
    from filterscope.demo import run_demo as draw_demo

    say: Callable[[str], None] = print if progress else lambda _: None
    return draw_demo(open_network(EMBEDDED), Path(out), shown=progress, say=say)
