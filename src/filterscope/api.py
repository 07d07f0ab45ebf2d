"""From targets to pictures, in a notebook: `visualize` and `draw`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, Unpack

from filterscope.drawing.choice import count_pictures
from filterscope.drawing.draw import Photographs
from filterscope.drawing.draw import draw as draw_goals
from filterscope.drawing.run import Run
from filterscope.errors import ArgumentError, TargetError, did_you_mean
from filterscope.expression import EXAMPLE, Expression, Interpolation
from filterscope.networks import Network, open_network
from filterscope.objective import Objective
from filterscope.pictures import Picture, Sheet
from filterscope.progress import OnStep, progress_bar
from filterscope.recipe import AUTO, AutoRecipe, Recipe, ask_recipe, get_recipe
from filterscope.selection import Selection
from filterscope.sides import Size
from filterscope.target import Algebra

Targets: TypeAlias = str | Objective | Sequence[str | Objective]
"""What to draw: a text, an objective, or several of these (see `visualize`)."""


class DrawingOptions(TypedDict, total=False):
    """How to draw: the options that every function which draws takes, as `visualize` explains them."""

    recipe: str | Recipe
    steps: int | None
    size: Size | None
    seed: int
    precision: str
    device: str
    settings: Mapping[str, Any] | None
    progress: bool
    on_step: OnStep | None


@dataclass(frozen=True)
class Asked:
    """What a function was asked to draw: the network opened, the targets as objectives, the options as values."""

    network: Network
    goals: list[Objective]
    recipe: Recipe | AutoRecipe
    run: Run
    progress: bool | None
    on_step: OnStep | None
    judge: Network | None = None

    @classmethod
    def read(cls, network: Any, targets: Any, options: DrawingOptions, judge: Any = None) -> Asked:
        """From a function's arguments; the errors of `visualize`."""
        run = read_run(options)
        net = open_network(network)
        recipe = read_asked(options)
        goals = list(dict.fromkeys(g for one in _each(targets) for g in net.objectives(one, seed=run.seed)))
        if not goals:
            raise TargetError(f"there is no target to draw; {EXAMPLE}")
        jury = None if judge is None else open_network(judge)
        return cls(net, goals, recipe, run, options.get("progress", True), options.get("on_step"), jury)

    @property
    def count(self) -> int:
        """How many pictures there will be."""
        return count_pictures(self.network, self.goals, self.recipe)

    def pictures(self, photographs: Photographs | None = None) -> Iterator[Picture]:
        """The pictures as they are finished, under a bar."""
        with progress_bar(self.progress, also=self.on_step) as bar:
            yield from draw_goals(
                self.network, self.goals, self.recipe, self.run,
                photographs=photographs, judge=self.judge, on_step=bar,
            )  # fmt: skip


def read_run(options: DrawingOptions) -> Run:
    """The seed, precision and device of a function's options; ArgumentError for an option that there is not."""
    known = [*DrawingOptions.__annotations__]
    for name in options:
        if name not in known:
            raise ArgumentError(f"there is no option {name!r}{did_you_mean(name, known)}")
    return Run(options.get("seed", 0), options.get("precision", "auto"), options.get("device", "auto"))


def read_recipe(options: DrawingOptions, recipe: str | Recipe | None = None) -> Recipe:
    """The recipe of a function's options, or another one with their steps, size and settings; `sharp` where none is
    named."""
    return get_recipe(
        options.get("recipe", "sharp") if recipe is None else recipe,
        **_changes(options),
    )


def read_asked(options: DrawingOptions) -> Recipe | AutoRecipe:
    """The recipe of a function's options, "auto" where none is named, with their steps, size and settings."""
    return ask_recipe(options.get("recipe"), **_changes(options))


def _changes(options: DrawingOptions) -> dict[str, Any]:
    """What the options change in a recipe, as `get_recipe` takes it."""
    return {name: options.get(name) for name in ("steps", "size", "settings")}


def draw(
    network: Any, target: Targets, *, judge: Any = None, **options: Unpack[DrawingOptions]
) -> Iterator[Picture]:
    """Draw pictures one after the other: each is given as soon as it is finished, and a loop may end early.

    Arguments and errors as for `visualize`; the errors are raised at once, not at the first picture.

    >>> for picture in draw("tiny-vgg16", "block1_conv1:3,5", steps=1, size=32, progress=False):
    ...     print(picture.target)
    block1_conv1:3
    block1_conv1:5
    """
    return Asked.read(network, target, options, judge).pictures()


def visualize(
    network: Any,
    target: Targets,
    *,
    recipe: str | Recipe = AUTO,
    steps: int | None = None,
    size: Size | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    judge: Any = None,
    progress: bool = True,
    on_step: OnStep | None = None,
) -> Picture | Sheet:
    """Draw the picture that excites a unit most: a Picture for one unit, a Sheet for several.

    Where a type checker is to know which, `visualize_one` gives a Picture and `visualize_sheet` a Sheet.

    network: a name, file or Keras model (see `open_network`), or an opened Network.
    target: "LAYER:UNIT", "LAYER" (16 units chosen by the seed), "LAYER:0-15", "LAYER:3,7", "LAYER:*",
        "LAYER:CLASS", "LAYER:UNIT@ROW,COLUMN", "layer(LAYER)", a weighted sum, "A -> B [24]" for 24 frames of what lies
        between two of these (see expression.py), an Objective, or several of these. What has a place, @ROW,COLUMN, is
        drawn without the recipe's transforms that move the picture: a neuron has one place of it.
    recipe: "auto", the preset that suits each target ("sharp" for units that respond to a small part of the picture,
        "robust" for classes and others, see `drawing.choice`), a preset ("sharp", "robust", "natural", "distill", which
        is the defaults of lucid, the library of Olah et al. 2017, "maco", or the blog's "naive", "linear", "lp", "tv")
        or a Recipe.
    steps, size: steps of the ascent, side of the picture in pixels or (height, width); the recipe's own where None.
    seed: same seed, same machine, same picture.
    precision: "auto", "float32" or "bfloat16", of the network; the picture is float32 always. The variable
        FILTERSCOPE_PRECISION says which of the two "auto" is; without it the processor decides.
    device: "auto" or a device of torch's: "cpu", "cuda", "mps".
    settings: recipe settings by dotted key, as {"optimizer.lr": 0.1}.
    judge: another network, as for `network` (or opened with weights of its own), which classifies each picture
        (Picture.judge).
    progress: whether to show a bar. on_step: called with a Step after each step.

    Raises TargetError, RecipeError, NetworkError, WeightsError or ArgumentError for what cannot be drawn as
    asked.

    >>> visualize("tiny-vgg16", "predictions:goldfish", steps=2, size=32, progress=False).class_name
    'goldfish'
    """
    sheet = visualize_sheet(
        network, target, recipe=recipe, steps=steps, size=size, seed=seed, precision=precision, device=device,
        settings=settings, judge=judge, progress=progress, on_step=on_step,
    )  # fmt: skip
    return sheet[0] if len(sheet) == 1 else sheet


def visualize_one(
    network: Any, target: str | Objective, *, judge: Any = None, **options: Unpack[DrawingOptions]
) -> Picture:
    """Draw one picture; TargetError where the target is several. Arguments and errors as for `visualize`.

    >>> visualize_one("tiny-vgg16", "block1_conv1:3", steps=1, size=32, progress=False).image.shape
    (32, 32, 3)
    """
    asked = Asked.read(network, target, options, judge)
    return _only(asked, f"visualize_one draws one picture (got {target}, which is {asked.count})")


def visualize_sheet(
    network: Any, target: Targets, *, judge: Any = None, **options: Unpack[DrawingOptions]
) -> Sheet:
    """Draw a Sheet, of one picture too. Arguments and errors as for `visualize`.

    >>> len(visualize_sheet("tiny-vgg16", "block1_conv1:3,5", steps=1, size=32, progress=False))
    2
    """
    return Sheet(list(draw(network, target, judge=judge, **options)))


def visualize_filter(
    network: Any, layer: str, unit: int | str, *, judge: Any = None, **options: Unpack[DrawingOptions]
) -> Picture:
    """Draw one unit's picture, by the blog post's own function name; options as for `visualize`.

    >>> str(visualize_filter("tiny-vgg16", "block1_conv1", 3, steps=1, size=32, progress=False).target)
    'block1_conv1:3'
    """
    asked = Asked.read(network, f"{layer}:{unit}", options, judge)
    return _only(asked, f"visualize_filter draws one unit (got {unit!r})")


def _only(asked: Asked, message: str) -> Picture:
    if asked.count != 1:
        raise TargetError(f"{message}; visualize draws several")
    return next(asked.pictures())


def _each(target: Any) -> list[Any]:
    """The targets that were passed, alone or in any collection; TargetError for what is none."""
    kinds = str | Algebra | Selection | Expression | Interpolation
    asked = [target] if isinstance(target, kinds) else target
    if isinstance(asked, Iterable) and not isinstance(asked, bytes | Mapping):
        asked = list(asked)
        if all(isinstance(one, kinds) for one in asked):
            return asked
    raise TargetError(f"a target is a text, an Objective or several of these (got {target!r}); {EXAMPLE}")
