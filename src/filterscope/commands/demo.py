"""`filterscope demo`: what the embedded network has learned, on one page, offline, within a minute or so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from filterscope.atlas.run.estimate import Estimate, format_duration
from filterscope.catalog import EMBEDDED
from filterscope.drawing.draw import draw
from filterscope.drawing.ladder import draw_ladder
from filterscope.drawing.run import Given
from filterscope.files import StrPath, check_writable
from filterscope.measure.classify import classify
from filterscope.networks import Network, open_network
from filterscope.pictures import Picture, Sheet
from filterscope.pictures.kernels import kernel_sheet
from filterscope.pictures.page import Section, write_page
from filterscope.pictures.sheet import Tile, compose, save_image
from filterscope.progress import progress_bar
from filterscope.recipe import LADDER, Recipe, get_recipe
from filterscope.report import update_report

FILTERS = {
    "block1_conv2": "Shallow: colours, edges and fine textures",
    "block3_conv1": "Middle: textures and small patterns",
    "block5_conv3": "Deepest: parts of things",
}
STAGES_CLASSES = "predictions:king_penguin,goldfish"
CLASSES = "predictions:monarch,king_penguin,goldfish,jellyfish"
# steps, pixels: what two cores without bfloat16 draw in a minute and a half, all sheets together
FILTER_DRAWING = (48, 96)
STAGES_DRAWING = (96, 96)
CLASS_DRAWING = (64, 112)
# each sheet's share of the time, measured on two cores in float32; `_expected` finds the seconds of a trial for them
SHARES = {"block1_conv2": 0.035, "block3_conv1": 0.13, "block5_conv3": 0.345, "ladder": 0.33, "classes": 0.16}
TRIAL = ("block3_conv1:0-3", 6)  # targets, steps
TRIAL_SHARE = SHARES["block3_conv1"] * (4 * 6) / (16 * FILTER_DRAWING[0])


@dataclass(frozen=True)
class _Demo:
    network: Network
    out: Path
    shown: bool | None
    say: Callable[[str], None]

    def draw(self, text: str, recipe: Recipe) -> list[Picture]:
        with progress_bar(self.shown) as on_step:
            return list(draw(self.network, self.network.targets(text), recipe, on_step=on_step))


@dataclass(frozen=True)
class _Sheet:
    """A sheet of the demo: its file's name, its heading, and how it is drawn: the image and a sentence."""

    name: str
    title: str
    make: Callable[[_Demo], tuple[Image.Image, str]]


def run_demo(out: StrPath = "filterscope-demo", *, progress: bool = True) -> Path:
    """Draw a tour of tiny-vgg16 on one page, offline, in about a minute; returns the page.

    Raises OutputError where it cannot be written.

    >>> run_demo("/dev/null/demo")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    filterscope.errors.OutputError: cannot write to '/dev/null/demo'
    """
    check_writable(Path(out))
    say: Callable[[str], None] = print if progress else lambda _: None
    return draw_demo(open_network(EMBEDDED), Path(out), shown=progress, say=say)


def draw_demo(network: Network, out: Path, *, shown: bool | None, say: Callable[[str], None]) -> Path:
    """Draw the demo's sheets and the page that shows them all; returns the page.

    `say` is given a line before each sheet: what is drawn, and about how long the rest takes.
    """
    demo = _Demo(network, out, shown, say)
    sheets = list(_sheets())
    estimate = Estimate(_expected(network))
    whole = estimate.seconds(dict.fromkeys(SHARES, 1))
    say(
        f"{len(sheets)} sheets of {network.name}, about {format_duration(whole)} in all; Ctrl-C keeps what is finished"
    )
    sections = []
    for place, sheet in enumerate(sheets):
        left = estimate.seconds({s.name: 1 for s in sheets[place:]})
        say(f"{place + 1} of {len(sheets)}, about {format_duration(left)} left: {sheet.title}")
        begun = time.perf_counter()
        image, text = sheet.make(demo)
        save_image(image, out / f"{sheet.name}.png")
        say(f"    {out / sheet.name}.png")
        estimate.learn(sheet.name, 1, time.perf_counter() - begun)
        sections.append(Section(sheet.title, text, f"{sheet.name}.png"))
    page = write_page(out / "index.html", f"What {network.name} has learned", sections)
    say(f"all of them on one page: {page}")
    return page


def _sheets() -> Iterator[_Sheet]:
    yield _Sheet("kernels", "The first layer's kernels", _kernels)
    for layer, title in FILTERS.items():
        yield _Sheet(layer, title, lambda demo, layer=layer: _filters(demo, layer))  # type: ignore[misc]
    yield _Sheet("ladder", "Two classes, step by step better", _ladder)
    yield _Sheet("classes", "What the network says of its own pictures", _classes)


def _expected(network: Network) -> dict[str, float]:
    """The seconds that each sheet will take on this machine, by a trial of a few steps."""
    text, steps = TRIAL
    targets = network.targets(text)

    def seconds(steps: int) -> float:
        begun = time.perf_counter()
        recipe = get_recipe("sharp", steps=steps, size=FILTER_DRAWING[1])
        list(draw(network, targets, recipe, given=Given(attempt=0)))
        return time.perf_counter() - begun

    seconds(1)  # what only the first pictures cost
    few = seconds(1)
    pace = max(seconds(1 + steps) - few, 0.1 * few) / TRIAL_SHARE
    return {name: share * pace for name, share in SHARES.items()}


def _kernels(demo: _Demo) -> tuple[Image.Image, str]:
    units = range(demo.network.layer("block1_conv1").units)
    text = "The weights of block1_conv1 themselves, 3 x 3 colour pictures on one scale; mid-grey is 0."
    return kernel_sheet(demo.network, "block1_conv1", units), text


def _filters(demo: _Demo, layer: str) -> tuple[Image.Image, str]:
    steps, size = FILTER_DRAWING
    sheet = Sheet(demo.draw(layer, get_recipe("sharp", steps=steps, size=size)))
    known = sorted(p.scores.excitation for p in sheet if p.scores.excitation is not None)
    text = f"Sixteen of the {demo.network.layer(layer).units} filters of {layer}, recipe `sharp`."
    if known:
        middle = known[len(known) // 2]
        text += f" Each excites its filter more than natural images do: {middle:.1f} times the best of them (median)."
    return sheet.to_pil(), text


def _ladder(demo: _Demo) -> tuple[Image.Image, str]:
    steps, size = STAGES_DRAWING
    recipes = [get_recipe(name, steps=steps, size=size) for name in LADDER]
    targets = demo.network.targets(STAGES_CLASSES)
    with progress_bar(demo.shown) as on_step:
        ladder = draw_ladder(demo.network, targets, recipes, on_step=on_step)
    text = (
        "The blog's four stages: ascent of the class's probability, of its linear output, with an Lp norm, "
        "with total variation; under each what the network says of it."
    )
    return ladder.to_pil(), text


def _classes(demo: _Demo) -> tuple[Image.Image, str]:
    steps, size = CLASS_DRAWING
    pictures = demo.draw(CLASSES, get_recipe("sharp", steps=steps, size=size))
    paths = [p.save(demo.out / f"{p.stem}.png") for p in pictures]
    update_report(demo.out, [p.report(path.name) for p, path in zip(pictures, paths, strict=True)])
    tiles = [
        Tile(picture.to_pil(), picture.label, f"{guess[0].probability:.1%} {guess[0].name}")
        for picture, guess in zip(pictures, classify(demo.network, paths, top=1), strict=True)
    ]
    text = (
        "The same classes and two more with the recipe `sharp`; under each the most probable class and its "
        "probability, read back from the saved file."
    )
    return compose(tiles), text
