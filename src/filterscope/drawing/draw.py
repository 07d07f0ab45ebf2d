"""From objectives to measured pictures: what every command, function and page calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from torch import Tensor

from filterscope.ascent.engine.batch import choose_batch
from filterscope.ascent.engine.device import FreedMemory
from filterscope.ascent.engine.prepare import choose_device, precision_for
from filterscope.drawing.attempts import Batch, Report
from filterscope.drawing.choice import recipe_for
from filterscope.drawing.run import NOTHING, USUAL, Given, Run
from filterscope.drawing.sizes import fitted
from filterscope.errors import ArgumentError, TargetError, explain_out_of_memory
from filterscope.measure.judge import Judge
from filterscope.measure.scores import Measurers
from filterscope.networks.network import Network
from filterscope.networks.torch_state import in_our_torch
from filterscope.objective import Between, Objective, has_place, roles
from filterscope.pictures.picture import Picture
from filterscope.pictures.reading import Photograph
from filterscope.progress import OnStep, Step
from filterscope.recipe import AutoRecipe, Recipe
from filterscope.sides import as_size

Photographs: TypeAlias = Mapping[str, Photograph]
"""By role: "image", which the picture starts from or is compared with, and "guide"."""


@in_our_torch
def draw(
    net: Network,
    goals: Sequence[Objective],
    recipe: Recipe | AutoRecipe,
    run: Run = USUAL,
    *,
    photographs: Photographs | None = None,
    judge: Network | None = None,
    given: Given = NOTHING,
    on_step: OnStep | None = None,
) -> Iterator[Picture]:
    """Pictures of the goals as they are finished, in order, with all their facets; a few are drawn at a time.

    photographs: what each picture starts from, or is compared with; it then has the photograph's proportions, and its
    longer side is the recipe's size, else the smaller of `usual_size` and the photograph's own. judge: another
    network, whose opinion of each picture is kept with it. on_step: called after each step; those of restarts have an
    `attempt` and add nothing to what is done.

    Raises TargetError, RecipeError or ArgumentError for what cannot be drawn so.
    """
    judging = None if judge is None else Judge(judge)
    known = _checked(goals, photographs or {})
    batches = _batches(net, goals, recipe, run, known, given)
    asked = set(goals)
    freed, done, drawn = FreedMemory(), 0, 0
    total = sum(len(batch.drawn) * batch.recipe.steps for batch in batches)
    for batch in batches:
        pictures = batch.pictures(given.attempt, _reported(batch, drawn, done, total, on_step))
        pictures = [picture for picture in pictures if picture.target in asked]  # of frames perhaps one alone
        yield from pictures if judging is None else judging.judged(net, pictures)
        done += len(batch.drawn) * batch.recipe.steps
        drawn += len(pictures)
        freed.hand_back()


def _checked(goals: Sequence[Objective], photographs: Photographs) -> Photographs:
    """The photographs, if they are those that the goals need."""
    for goal in goals:
        for role in roles(goal) - set(photographs):
            raise TargetError(f"{goal} is compared with a photograph (the {role}), and none was given")
    if photographs and any(isinstance(goal, Between) for goal in goals):
        raise TargetError("what lies between two targets is drawn from noise, not from a photograph")
    if photographs and "image" not in photographs:
        raise ArgumentError(
            f"a picture's photographs are an image and, beside it, a guide (got {[*photographs]})"
        )
    return photographs


@explain_out_of_memory()
def _batches(
    net: Network,
    goals: Sequence[Objective],
    recipe: Recipe | AutoRecipe,
    run: Run,
    photographs: Photographs,
    given: Given,
) -> list[Batch]:
    """The goals by what is drawn together."""
    device = choose_device(run.device)
    measurers = given.measurers or Measurers(net, device)
    goals = _with_frames(goals)
    fits = {
        goal: fitted(
            net,
            goal,
            _without_facets(recipe_for(net, goal, recipe), goal, photographs),
            photographs.get("image"),
        )
        for goal in goals
    }
    batches: list[Batch] = []
    for path, same in groupby(goals, key=lambda goal: (goal.layers, has_place(goal), _path(goal))):
        group = list(same)
        own, sides = fits[group[0]]
        facets = range(own.facet_count) if given.facet is None else (given.facet,)
        dtype = precision_for(net, group[:1], run.precision, device)
        count = 1 if photographs else len(group) if path[-1] else given.batch
        count = count or choose_batch(
            net, group, own.carried_out_for(group[0]), size=as_size(*sides), dtype=dtype, device=device
        )
        together = max(1, count // own.facet_count)
        for begin in range(0, len(group), together):
            drawn = [(goal, facet) for goal in group[begin : begin + together] for facet in facets]
            batches.append(
                Batch(
                    net, drawn, own, sides, run, dtype, device, measurers, given.attempt is not None,
                    photographs,
                )
            )  # fmt: skip
    return batches


def _path(goal: Objective) -> str | None:
    """What the frames that are drawn together have in common; None of any other goal."""
    return goal.path if isinstance(goal, Between) else None


def _with_frames(goals: Sequence[Objective]) -> list[Objective]:
    """The goals, where one is a frame of what lies between two others with all frames of it in its place."""
    found: list[Objective] = []
    for path, same in groupby(goals, key=_path):
        group = list(same)
        found += group if path is None or not isinstance(group[0], Between) else group[0].group
    return found


def _without_facets(recipe: Recipe, goal: Objective, photographs: Photographs) -> Recipe:
    """The recipe; of a photograph, and of a frame between two targets, there is one picture."""
    alone = bool(photographs) or isinstance(goal, Between)
    return recipe.model_copy(update={"facets": None}) if alone else recipe


def _reported(batch: Batch, drawn: int, done: int, total: int, on_step: OnStep | None) -> Report:
    """What calls `on_step` after each of a batch's steps; `drawn` pictures, `done` steps went before it."""
    first, count, steps = batch.drawn[0][0], len(batch.drawn), batch.recipe.steps

    def report(restart: int, step: int, activations: Tensor, image: Callable[[], Tensor]) -> None:
        if on_step is not None:
            so_far = done + (steps if restart else step) * count
            on_step(Step(so_far, total, first, step, activations, image, restart, drawn, batch.recipe))

    return report
