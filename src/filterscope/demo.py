"""`filterscope demo`: what the embedded network has learned, on one page, offline, in under three minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filterscope.api import draw
from filterscope.ladder import draw_ladder
from filterscope.measure.classify import classify
from filterscope.networks import Network
from filterscope.pictures import Picture, Sheet
from filterscope.pictures.kernels import kernel_sheet
from filterscope.pictures.page import Section, write_page
from filterscope.pictures.sheet import Tile, compose, save_image
from filterscope.progress import progress_bar
from filterscope.recipe import LADDER, Recipe, get_recipe

CLASSES = "predictions:monarch,king_penguin,school_bus,jellyfish"
LADDER_STEPS = 100
FILTERS = {
    "block1_conv2": "Shallow: colours, edges and fine textures",
    "block3_conv1": "Middle: textures and small patterns",
    "block5_conv3": "Deepest: parts of things",
}


@dataclass(frozen=True)
class _Demo:
    network: Network
    out: Path
    shown: bool | None
    say: Callable[[str], None]

    def draw(self, text: str, recipe: Recipe) -> list[Picture]:
        with progress_bar(self.shown) as on_step:
            return list(draw(self.network, self.network.targets(text), recipe, on_step=on_step))

    def keep(self, name: str, title: str, text: str, image: object) -> Section:
        save_image(image, self.out / name)  # type: ignore[arg-type]
        self.say(f"{title}: {self.out / name}")
        return Section(title, text, name)


def run_demo(network: Network, out: Path, *, shown: bool | None, say: Callable[[str], None]) -> Path:
    """Draw the demo's sheets and the page that shows them all; returns the page.

    `say` is given a line for each sheet as it is finished.
    """
    demo = _Demo(network, out, shown, say)
    sections = [_kernels(demo)]
    for layer, title in FILTERS.items():
        sheet = Sheet(demo.draw(layer, get_recipe("sharp", steps=96)))
        known = [p.scores.excitation for p in sheet if p.scores.excitation is not None]
        text = f"Sixteen of the {network.layer(layer).units} filters of {layer}, recipe `sharp`."
        if known:
            middle = sorted(known)[len(known) // 2]
            text += f" Each excites its filter more than natural images do: {middle:.1f} times the best of them (median)."
        sections.append(demo.keep(f"{layer}.png", title, text, sheet.to_pil()))
    sections += [_ladder(demo), _says(demo)]
    page = write_page(out / "index.html", f"What {network.name} has learned", sections)
    say(f"all of them on one page: {page}")
    return page


def _kernels(demo: _Demo) -> Section:
    units = range(demo.network.layer("block1_conv1").units)
    image = kernel_sheet(demo.network, "block1_conv1", units)
    text = "The weights of block1_conv1 themselves, 3 x 3 colour pictures on one scale; mid-grey is 0."
    return demo.keep("kernels.png", "The first layer's kernels", text, image)


def _ladder(demo: _Demo) -> Section:
    recipes = [get_recipe(name, steps=LADDER_STEPS) for name in LADDER]
    targets = demo.network.targets(CLASSES)
    with progress_bar(demo.shown) as on_step:
        ladder = draw_ladder(demo.network, targets, recipes, on_step=on_step)
    text = (
        "The blog's four stages: ascent of the class's probability, of its linear output, with an Lp norm, "
        "with total variation; under each what the network says of it."
    )
    return demo.keep("ladder.png", "Four classes, step by step better", text, ladder.to_pil())


def _says(demo: _Demo) -> Section:
    pictures = demo.draw(CLASSES, get_recipe("sharp"))
    paths = [p.save(demo.out / f"{p.stem}.png") for p in pictures]
    tiles = [
        Tile(picture.to_pil(), picture.label, f"{guess[0].probability:.1%} {guess[0].name}")
        for picture, guess in zip(pictures, classify(demo.network, paths, top=1), strict=True)
    ]
    text = (
        "The same classes with the recipe `sharp`; under each the most probable class and its probability, "
        "read back from the saved file."
    )
    return demo.keep("classes.png", "What the network says of its own pictures", text, compose(tiles))
