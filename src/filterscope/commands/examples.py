"""What natural images excite units most, as functions: a table, a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from PIL import Image

from filterscope.api import Asked, DrawingOptions
from filterscope.errors import ArgumentError, TargetError
from filterscope.files import StrPath
from filterscope.measure.examples import SHOWN, example_sheet, require_folders, unit_rows
from filterscope.measure.examples import find_examples as find_activations
from filterscope.measure.gathering import BEST
from filterscope.measure.units import chosen_units
from filterscope.networks import Network, open_network
from filterscope.sides import Size
from filterscope.table import Table
from filterscope.target import Target


def find_examples(
    network: Any,
    target: str | Sequence[str],
    images: StrPath,
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
    images: StrPath,
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
