"""Options that several commands share, and what they make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from filterscope.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])

weights_option = click.option(
    "--weights", metavar="FILE", help="Weights to use instead: .safetensors, .weights.h5 or .h5."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors; no progress bar.")
out_option = click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("out"),
    show_default=True,
    help="Folder to write to.",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")

frames_option = click.option(
    "--frames", type=click.IntRange(min=2, max=2000), metavar="N", help="Write an animation of N frames too."
)
format_option = click.option(
    "--format", "film", default="webp", show_default=True, metavar="KIND",
    help="Of the animation: webp, gif or mp4 (mp4: filterscope[video]).",
)  # fmt: skip
fps_option = click.option(
    "--fps", type=click.FloatRange(0.1, 120), default=12.0, show_default=True, help="Frames a second."
)


def animation_kind(name: str, wanted: Any) -> str:
    """The animation's format, checked where one is asked for."""
    if not wanted:
        return name
    from filterscope.pictures.animation import check_format

    return check_format(name)


@dataclass(frozen=True)
class Drawing:
    """How to draw, as the options said."""

    recipe: str | None
    settings: tuple[str, ...]
    steps: int | None
    size: int | None
    seed: int
    precision: str
    device: str

    def get_recipe(self, name: str | None = None) -> Recipe:
        from filterscope.recipe import DEFAULT, get_recipe, parse_settings

        return get_recipe(
            name or self.recipe or DEFAULT,
            steps=self.steps,
            size=self.size,
            settings=parse_settings(self.settings),
        )


def drawing_options(*, recipe: str | None = "sharp", recipes: str | None = None) -> Callable[[F], F]:
    """--recipe, --set, --steps, --size, --seed, --precision and --device, handed on as one `drawing`."""

    def decorate(function: F) -> F:
        import functools

        @functools.wraps(function)
        def wrapped(*args: Any, **kw: Any) -> Any:
            fields = {name: kw.pop(name, None) for name in Drawing.__dataclass_fields__}
            return function(*args, drawing=Drawing(**fields), **kw)

        side = (
            "Side of the picture in pixels [the network's own]."
            if recipes is None
            else "Longer side in pixels."
        )
        options = [
            click.option(
                "--set", "settings", metavar="KEY=VALUE", multiple=True,
                help="Change a recipe setting: optimizer.lr=0.1.",
            ),
            click.option("--steps", type=click.IntRange(min=1), help="Steps of the ascent [the recipe's own]."),
            click.option("--size", type=click.IntRange(min=1), help=side),
            click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes."),
            click.option(
                "--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True,
                help="Of the network; auto takes bfloat16 where the processor has it.",
            ),
            device_option,
        ]  # fmt: skip
        options.insert(
            0,
            click.option(
                "--recipe", metavar="NAME", default=recipe, show_default=True,
                help=recipes
                or ("sharp, or the blog's stages: naive, linear, lp, tv (= blog)." if recipe else "One more column."),
            ),
        )  # fmt: skip
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate
