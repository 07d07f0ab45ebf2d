"""From targets to pictures, in a notebook: `visualize`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from filterscope.drawing.draw import draw
from filterscope.drawing.run import Run
from filterscope.errors import TargetError
from filterscope.networks import open_network
from filterscope.objective import EXAMPLE, Expression, Objective
from filterscope.pictures import Picture, Sheet
from filterscope.progress import progress_bar
from filterscope.recipe import DEFAULT, Recipe, get_recipe
from filterscope.sides import Size
from filterscope.target import Algebra, Selection


def visualize(
    network: Any,
    target: str | Objective | Sequence[str | Objective],
    *,
    recipe: str | Recipe = DEFAULT,
    steps: int | None = None,
    size: Size | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    judge: Any = None,
    progress: bool = True,
) -> Picture | Sheet:
    """Draw the picture that excites a unit most: a Picture for one unit, a Sheet for several.

    network: a name, file or Keras model (see `open_network`), or an opened Network.
    target: "LAYER:UNIT", "LAYER" (16 units chosen by the seed), "LAYER:0-15", "LAYER:3,7", "LAYER:*",
        "LAYER:CLASS", "LAYER:UNIT@ROW,COLUMN", "layer(LAYER)", a weighted sum (see objective.py), an Objective,
        or several of these. What has a place, @ROW,COLUMN, is drawn without the recipe's transforms that move
        the picture: a neuron looks at one place of it.
    recipe: a preset ("sharp", "natural", "distill", which is the defaults of lucid, the library of Olah et al. 2017,
        "maco", or the blog's "naive", "linear", "lp", "tv") or a Recipe.
    steps, size: steps of the ascent, side of the picture in pixels or (height, width); the recipe's own where None.
    seed: same seed, same machine, same picture.
    precision: "auto", "float32" or "bfloat16", of the network; the picture is float32 always. The variable
        FILTERSCOPE_PRECISION says which of the two "auto" is; without it the processor decides.
    settings: recipe settings by dotted key, as {"optimizer.lr": 0.1}.
    judge: another network, as for `network` (or opened with weights of its own), that says what it sees in each
        picture (Picture.judge).

    Raises TargetError, RecipeError, NetworkError, WeightsError or ArgumentError for what cannot be drawn as
    asked.

    >>> visualize("tiny-vgg16", "predictions:goldfish", steps=2, size=32, progress=False).class_name
    'goldfish'
    """
    run = Run(seed, precision, device)
    net = open_network(network)
    chosen = get_recipe(recipe, steps=steps, size=size, settings=settings)
    targets = list(dict.fromkeys(t for one in _asked(target) for t in net.objectives(one, seed=run.seed)))
    if not targets:
        raise TargetError(f"there is no target to draw; {EXAMPLE}")
    jury = None if judge is None else open_network(judge)
    with progress_bar(progress) as on_step:
        pictures = list(draw(net, targets, chosen, run, judge=jury, on_step=on_step))
    return pictures[0] if len(pictures) == 1 else Sheet(pictures)


def _asked(target: Any) -> list[Any]:
    """The targets that were passed, alone or in any collection; TargetError for what is none."""
    kinds = str | Algebra | Selection | Expression
    asked = [target] if isinstance(target, kinds) else target
    if isinstance(asked, Iterable) and not isinstance(asked, bytes | Mapping):
        asked = list(asked)
        if all(isinstance(one, kinds) for one in asked):
            return asked
    raise TargetError(f"a target is a text, an Objective or several of these (got {target!r}); {EXAMPLE}")


def visualize_filter(network: Any, layer: str, unit: int | str, **settings: Any) -> Picture:
    """Draw one unit's picture, by the blog post's own function name; settings as for `visualize`."""
    picture = visualize(network, f"{layer}:{unit}", **settings)
    if not isinstance(picture, Picture):
        raise TargetError(f"visualize_filter draws one unit (got {unit!r}); visualize draws several")
    return picture
