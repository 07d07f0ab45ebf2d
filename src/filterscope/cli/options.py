"""Options that several commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from filterscope.catalog import split_ensemble
from filterscope.errors import ArgumentError, checked_seed
from filterscope.openmp import limit_threads
from filterscope.sides import Size, checked_size, size_text

if TYPE_CHECKING:
    from filterscope.drawing.run import Run
    from filterscope.recipe import AutoRecipe, Recipe

F = TypeVar("F", bound=Callable[..., Any])


RECIPES = "sharp, robust, natural, distill (lucid's defaults), maco, or the blog's stages: naive, linear, lp, tv (= blog)."
RECIPE_HELP = {
    "auto": f"auto: robust for classes and units that respond to much of the picture, sharp for others. Or {RECIPES}",
    "sharp": RECIPES,
    None: "A recipe for one more column.",
}
OWN_SIZE = "the network's own, and at least 128 if that is 64 or more"
USUAL_SIZE = (
    "128, for maco 512; the network's own for robust and the blog's stages, or if it is below 64 or fixed"
)


class PixelSize(click.ParamType[Size]):
    """A side in pixels, or height x width: 64, 64x128."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        if not isinstance(value, str) or "x" not in value:
            return int(click.IntRange(min=1)(value, param, ctx))
        try:
            return checked_size("it", value)
        except ArgumentError as error:
            self.fail(str(error), param, ctx)


class _Echo(logging.Handler):
    """Prints what filterscope's modules log to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"filterscope: {record.getMessage()}", err=True)


_LOG = logging.getLogger("filterscope")


def _set_verbose(context: click.Context, parameter: click.Parameter, on: bool) -> None:
    """Print what filterscope's modules log, from INFO on."""
    _LOG.handlers = [_Echo()] if on else []
    _LOG.setLevel(logging.INFO if on else logging.NOTSET)


def is_verbose() -> bool:
    """Whether the command that runs was given --verbose."""
    return any(isinstance(handler, _Echo) for handler in _LOG.handlers)


verbose_option = click.option(
    "--verbose", "-v", is_flag=True, expose_value=False, callback=_set_verbose,
    help="Report how NET was opened and prepared, what ran more slowly than it could, and where an error came from.",
)  # fmt: skip


threads_option = click.option(
    "--threads", metavar="N", type=click.IntRange(1, 1024), expose_value=False,
    callback=lambda _, __, threads: limit_threads(threads) if threads else None,
    help="Threads to compute in, fewer than the processor has to leave room for other programs [all].",
)  # fmt: skip


def weights_option(function: F) -> F:
    """--weights, --threads, --verbose, and what NET's input is where that was found wrong."""
    weights = click.option(
        "--weights", metavar="FILE",
        help="Weights to use instead: .safetensors, .weights.h5, .h5 or a PyTorch checkpoint (FILE#PART takes a part "
        "of one, as FILE#ema); \"random\" leaves a name or FILE.py:FACTORY untrained. Of several networks a:FILE + b:FILE.",
    )  # fmt: skip
    return weights(input_options("net")(function))


def _require_one(net: str, told: str) -> None:
    """ArgumentError for the input of an ensemble's networks, which have one each."""
    if several := split_ensemble(net):
        name, source = next(iter(several.items()))
        raise ArgumentError(
            f"the networks of an ensemble have an input each: write it behind the one that it is of, as "
            f"'{name}:{source.partition('?')[0]}?{told}'"
        )


def input_options(*nets: str, its: str = "NET's input") -> Callable[[F], F]:
    """--threads, --verbose, and what the input of the networks is where that was found wrong: these join each argument
    that is named here as `NET?size=32`. Where there are several, what stands behind one already holds for that one."""

    def decorate(function: F) -> F:
        import functools

        @functools.wraps(function)
        def wrapped(*args: Any, **kw: Any) -> Any:
            given = {
                name: kw.pop(name) for name in ("mean", "std", "range", "channels", "size_of_input", "shown")
            }
            given["size"] = given.pop("size_of_input")
            if given["size"] is not None:
                given["size"] = size_text(given["size"])
            text = "&".join(f"{name}={value}" for name, value in given.items() if value is not None)
            for net in nets:
                if text and kw.get(net):
                    _require_one(kw[net], text)
                    name, _, own = kw[net].partition("?")
                    both = (own, text) if len(nets) == 1 else (text, own)  # of two that differ the last holds
                    kw[net] = f"{name}?{'&'.join(filter(None, both))}"
            return function(*args, **kw)

        names = ["--input-size", "--size"] if function.__name__ == "layers" else ["--input-size"]
        options = [
            click.option("--mean", metavar="M[,M...]", help=f"Mean to subtract from {its}: one, or one per channel."),
            click.option("--std", metavar="S[,S...]", help=f"Divisor of {its}: one, or one per channel."),
            click.option("--range", metavar="LOW,HIGH", help=f"Values of black and white in {its}: 0,1 or -1,1."),
            click.option("--channels", metavar="N", type=click.IntRange(min=1), help=f"Number of channels of {its}."),
            click.option(*names, "size_of_input", metavar="PX|HxW", type=PixelSize(), help=f"Size of {its}."),
            click.option(
                "--show-channels", "shown", metavar="R,G,B",
                help="Channels that are red, green and blue, or are shown so; 2,1,0 is BGR [0,1,2].",
            ),
            threads_option,
            verbose_option,
        ]  # fmt: skip
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


alpha_option = click.option(
    "--alpha", is_flag=True,
    help="Also write each picture with an alpha channel, opaque where the network looked most (*.alpha.png).",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


quiet_option = click.option(
    "--quiet", "-q", is_flag=True, help="Print only warnings and errors, no progress bar."
)
out_option = click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("out"),
    show_default=True,
    help="Folder to write to.",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")


class Finite(click.FloatRange):
    """A range of numbers, which "nan" is not in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


frames_option = click.option(
    "--frames",
    type=click.IntRange(min=2, max=2000),
    metavar="N",
    help="Also write an animation of N frames; of A -> B draw N frames.",
)
format_option = click.option(
    "--format", "film", default="webp", show_default=True, metavar="KIND",
    help="Format of the animation: webp, gif or mp4 (extra: video).",
)  # fmt: skip
fps_option = click.option(
    "--fps",
    metavar="N",
    type=Finite(0.1, 120),
    default=12.0,
    show_default=True,
    help="Frames per second of the animation.",
)


def output_options(function: F) -> F:
    """What commands share that draw pictures into a folder: --frames, --format, --fps, --weights and what the input is,
    --out, --json and --quiet."""
    shared = [frames_option, format_option, fps_option, weights_option, out_option, json_option, quiet_option]
    for option in reversed(shared):
        function = option(function)
    return function


resize_option = click.option(
    "--size",
    metavar="PX|HxW",
    type=PixelSize(),
    help="Size to resize and crop to: a side, or HEIGHTxWIDTH [the network's own].",
)


@dataclass(frozen=True)
class Film:
    """The animation that is asked for; `frames` is 0 where none is."""

    frames: int
    kind: str
    fps: float


def read_film(name: str, frames: int | None, fps: float) -> Film:
    """The animation's options, checked where one is asked for; those of one that is not are refused."""
    if not frames:
        given = click.get_current_context().get_parameter_source
        for option, flag in (("film", "--format"), ("fps", "--fps"), ("zoom_factor", "--zoom-factor")):
            if given(option) is ParameterSource.COMMANDLINE:
                raise ArgumentError(f"{flag} is of an animation: ask for one with --frames N")
        return Film(0, name, fps)
    from filterscope.pictures.animation import check_format

    return Film(frames, check_format(name, fps), fps)


@dataclass(frozen=True)
class Drawing:
    """How to draw, as the options said."""

    recipe: str | None
    settings: tuple[str, ...]
    steps: int | None
    size: Size | None
    seed: int
    precision: str
    device: str

    @property
    def run(self) -> Run:
        from filterscope.drawing.run import Run

        return Run(self.seed, self.precision, self.device)

    def get_recipe(self, name: str | None = None) -> Recipe:
        from filterscope.recipe import get_recipe, parse_settings

        return get_recipe(
            name or self.recipe or "sharp",
            steps=self.steps,
            size=self.size,
            settings=parse_settings(self.settings),
        )

    def ask_recipe(self) -> Recipe | AutoRecipe:
        """The recipe, or the one that suits each target where none is named."""
        from filterscope.recipe import ask_recipe, parse_settings

        given = click.get_current_context().get_parameter_source("recipe") is not ParameterSource.DEFAULT
        return ask_recipe(
            self.recipe if given else None,
            steps=self.steps,
            size=self.size,
            settings=parse_settings(self.settings),
        )


def drawing_options(
    *, recipe: str | None = "sharp", recipes: str | None = None, sized: bool = True
) -> Callable[[F], F]:
    """--recipe, --set, --steps, --size (if `sized`), --seed, --precision and --device, handed on as one `drawing`."""

    def decorate(function: F) -> F:
        import functools

        @functools.wraps(function)
        def wrapped(*args: Any, **kw: Any) -> Any:
            names = [name for name in Drawing.__dataclass_fields__ if sized or name != "size"]
            fields = {"size": None, **{name: kw.pop(name, None) for name in names}}
            return function(*args, drawing=Drawing(**fields), **kw)

        side = (
            "Longer side in pixels."
            if recipes is not None
            else f"Size of the picture in pixels: a side, or HEIGHTxWIDTH [{USUAL_SIZE}]."
            if recipe
            else f"Size of the picture in pixels: a side, or HEIGHTxWIDTH [{OWN_SIZE}]."
        )
        options = [
            click.option(
                "--set", "settings", metavar="KEY=VALUE", multiple=True,
                help="Change a recipe setting, for example optimizer.lr=0.1; may be repeated.",
            ),
            click.option("--steps", metavar="N", type=click.IntRange(min=1), help="Steps of the ascent [the recipe's own]."),
            *([click.option("--size", metavar="PX|HxW" if recipes is None else "PX", type=PixelSize(), help=side)] * sized),
            click.option(
                "--seed", type=click.IntRange(min=0), default=0, show_default=True,
                metavar="N",
                callback=lambda _, __, seed: checked_seed(seed), help="Random seed; the same seed gives the same bytes.",
            ),
            click.option(
                "--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True,
                help="Number type of the network; auto is FILTERSCOPE_PRECISION, else bfloat16 if the processor has it.",
            ),
            device_option,
        ]  # fmt: skip
        options.insert(
            0,
            click.option(
                "--recipe", metavar="NAME", default=recipe, show_default=True,
                help=recipes
                or RECIPE_HELP[recipe],
            ),
        )  # fmt: skip
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate
