"""Every network by name, opened and compared with its original: the tables of docs/networks.md.

usage: python -m benchmarks.networks [SECTION...] [--only PATTERN] [--out FILE]

Sections: keras, torchvision, timm (all of them without any). Weights are seeded random numbers, batch-norm statistics
too, so that nothing is downloaded. For each network: the layers found, the largest difference of any layer's output
from the original's relative to that output's largest value, and the activation of one channel in a picture drawn for
it beside the noise that the ascent started from. With --out the file's rows are replaced, each section between its
marks, as soon as each is made.
"""

import argparse
import fnmatch
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from filterscope import visualize_one
from filterscope.networks import Network
from filterscope.sides import Size, sides_of, size_text

# section -> (heading, module with `names(section) -> list[str]` and `examine(section, name) -> Row`)
SECTIONS = {
    "keras": ("Keras applications", "benchmarks.networks.keras_applications"),
    "torchvision": ("torchvision", "benchmarks.networks.torch_modules"),
    "timm": ("timm", "benchmarks.networks.torch_modules"),
}
STEPS, RATE = 32, 4.0  # pixel values a step: 32 of them go from pale noise to full contrast


@dataclass(frozen=True)
class Row:
    """What was found of one network; `size` of its pictures in pixels, a `remark` on how it was opened or why not."""

    architecture: str
    opened: bool
    layers: int = 0
    difference: float | None = None
    worst_layer: str = ""
    size: Size = 0
    target: str = ""
    start: float | None = None
    drawn: float | None = None
    remark: str = ""

    @property
    def gains(self) -> bool:
        """Whether the drawn channel is more excited than by the noise before."""
        return self.start is not None and self.drawn is not None and self.drawn > self.start

    def cells(self) -> list[str]:
        """The row of the table."""
        if not self.opened:
            return [self.architecture, f"**no**: {self.remark}", "", "", "", ""]
        gain = "" if self.drawn is None else f"`{self.target}`: {self.start:.3g} to {self.drawn:.3g}"
        gain += "" if self.drawn is None else (", yes" if self.gains else ", **no**")
        difference = "" if self.difference is None else f"{self.difference:.1e} (`{self.worst_layer}`)"
        opened = ", ".join(filter(None, ("yes", self.remark)))
        return [self.architecture, opened, size_text(self.size), str(self.layers), difference, gain]


HEADER = [
    "architecture",
    "opened",
    "px",
    "layers found",
    "largest relative difference (where)",
    "one channel, noise to drawn",
]


def drawn(net: Network, *, size: Size) -> dict[str, Any]:
    """One channel of a layer a third of the way through the network, drawn: fields for a Row.

    The channel that noise excites most: random weights leave some channels dead, behind ReLUs that let nothing
    through, which trained ones hardly do. By the recipe `linear`, gradient ascent and nothing else, fed and saved
    as it is: what random weights answer to does not survive the shifts and turns of the recipes that are made for
    trained ones, nor the blog's evening out of the colours.
    """
    maps = [r for r in net.layers.values() if r.spatial and r.parameters and min(r.output_shape) > 1]
    row = maps[len(maps) // 3]
    noise = 118 + 20 * torch.rand(
        2, net.input.channels, *sides_of(size), generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        excited = net.part(row.name)(net.input.preprocess(noise)).output.mean((0, 2, 3))
    picture = visualize_one(
        net,
        f"{row.name}:{int(excited.argmax())}",
        size=size,
        recipe="linear",
        settings={"output": "values", "feed": "network", "optimizer.lr": RATE},
        steps=STEPS,
        precision="float32",
        progress=False,
    )
    scores = picture.scores
    return {"target": str(picture.target), "start": scores.start, "drawn": scores.activation}


def rows(section: str, pattern: str) -> Iterator[Row]:
    """The section's networks whose names fit the pattern, one after the other."""
    module = importlib.import_module(SECTIONS[section][1])
    for name in module.names(section):
        if fnmatch.fnmatch(name, pattern):
            try:
                row = module.examine(section, name)
            except Exception as error:  # a table of what works names what does not
                row = Row(name, False, remark=(str(error).splitlines() or [type(error).__name__])[0])
            print(" | ".join(row.cells()), file=sys.stderr, flush=True)
            yield row


def table(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells in Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [HEADER, ["---"] * len(HEADER), *lines])


def marks(section: str) -> tuple[str, str]:
    """What a section's table stands between."""
    return f"<!-- {section}: begin, by benchmarks.networks -->", f"<!-- {section}: end -->"


def known_rows(text: str, section: str) -> dict[str, list[str]]:
    """The rows that a page has of a section, by architecture."""
    begin, end = marks(section)
    if begin not in text:
        return {}
    lines = text[text.index(begin) + len(begin) : text.index(end)].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip(): row for row in cells}


def replaced(text: str, section: str, content: str) -> str:
    """The page with a section's table in its place, at the end where the page has none."""
    begin, end = marks(section)
    block = f"{begin}\n{content}\n{end}"
    if begin in text and end in text:
        return text[: text.index(begin)] + block + text[text.index(end) + len(end) :]
    return f"{text.rstrip()}\n\n## {SECTIONS[section][0]}\n\n{block}\n"


def _page(path: Path | None) -> str:
    return path.read_text(encoding="utf-8") if path is not None and path.exists() else "# Networks\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables, or put them into a page row by row: rows that are not made anew stay."""
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("sections", nargs="*")
    parser.add_argument("--only", default="*")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    if unknown := set(args.sections) - set(SECTIONS):
        sys.exit(f"unknown sections {', '.join(unknown)}; known are {', '.join(SECTIONS)}")
    torch.manual_seed(0)
    for section in args.sections or SECTIONS:
        lines = known_rows(_page(args.out), section)
        for row in rows(section, args.only):
            lines[row.architecture] = row.cells()
            if args.out is not None:
                content = replaced(_page(args.out), section, table(list(lines.values())))
                args.out.write_text(content, encoding="utf-8")
        if args.out is None:
            print(table(list(lines.values())))
