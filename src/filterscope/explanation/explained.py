"""Explanation: what `explain` gives, which shows itself, saves itself as a page, and is a table of its channels."""

from __future__ import annotations

import base64
import html
import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from filterscope.explanation.evidence import Channel
from filterscope.explanation.found import Found, Key, LayerFound
from filterscope.explanation.pages import Files, make_files, write_page
from filterscope.explanation.sheet import draw_sheet
from filterscope.explanation.words import amount
from filterscope.pictures.sheet import save_sheet
from filterscope.pictures.shown import Shown
from filterscope.report import add_to_report, check_folder, stamped
from filterscope.table import Table

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Explanation(Found, Shown):
    """What in a photograph led a network to its answer; a sheet in a notebook.

    explanation = explain(net, "photo.jpg")
    explanation.table.to_pandas()                       # a row for each channel that is shown
    explanation.layers[0].attribution.contributions     # of all channels, (C,)
    explanation.save("out")                             # the page, its sheet and report.json
    """

    @property
    def table(self) -> Table:
        """A row for each channel that is shown, and each group."""
        return Table(row for layer in self.layers for row in self._rows(layer, Files()))

    def to_pil(self) -> Image.Image:
        """The sheet as a Pillow image."""
        return draw_sheet(self)

    def report(self, *, saved: bool = False) -> Row:
        """For machines: the question, the classes, and each layer's channels, groups and check; `saved` with the files that
        `save` writes."""
        files, path = self._files if saved else Files(), self.photograph.path
        found = {
            "file": f"{self.stem}.png" if saved else None,
            "kind": "explanation",
            "page": f"{self.stem}.html" if saved else None,
            "photograph": path.name if path else None,
            "photograph_sha256": self.photograph.sha256,
            "network": self.network,
            "weights_sha256": self.weights_sha256,
            "target": str(self.question.target),
            "against": None if self.question.against is None else str(self.question.against),
            "names": list(self.names),
            "value": self.value,
            "probability": self.seen.probability(self.question.target),
            "classes": [vars(guess) for guess in self.seen.classes],
            "integrate": self.integrate,
            "seed": self.seed,
            "layers": [self._layer(layer, files) for layer in self.layers],
        }
        return stamped([found])[0]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, its pictures, the sheet and the rows of report.json into a folder; returns the page.

        The files are called PHOTOGRAPH-explain-TARGET, so that a folder takes many explanations. OutputError where it cannot
        be written, ArgumentError where it holds a report.json of another kind.
        """
        folder, files = check_folder(path), self._files
        page = write_page(self, files, folder)
        save_sheet(self.to_pil(), folder / f"{self.stem}.png", [f"{self.stem}.html"])
        drawn = [
            {**shape.picture.report(files.shapes[key]), "explanation": f"{self.stem}.html"}
            for key, shape in self.shapes.items()
            if shape.picture is not None
        ]
        add_to_report(folder, [self.report(saved=True), *drawn])
        return page

    @cached_property
    def _files(self) -> Files:
        return make_files(self)

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self.to_pil().save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        said = html.escape(f"{self.title} ({self.network}, {amount(self)})")
        return f'<figure><img alt="{said}" src="data:image/png;base64,{data}"><figcaption>{said}</figcaption></figure>'

    def _layer(self, layer: LayerFound, files: Files) -> Row:
        sums = layer.attribution.contributions
        return {
            "layer": layer.layer,
            "shape": list(layer.attribution.activations.shape),
            "alone": layer.alone,
            "sum_for": float(sums[sums > 0].sum()),
            "sum_against": float(sums[sums < 0].sum()),
            "check": layer.check.record(),
            "channels": [self._row(one, files) for one in layer.channels],
            "groups": [row for row in self._rows(layer, files) if "group" in row],
        }

    def _rows(self, layer: LayerFound, files: Files) -> list[Row]:
        rows = [self._row(one, files) for one in layer.channels]
        for group in layer.groups:
            key: Key = (group.layer, f"group-{group.number}")
            rows.append(
                {
                    "layer": group.layer, "group": group.number, "contribution": group.contribution, "share": group.share,
                    "target": str(group.direction), "channels": group.channels, "picture": files.shapes.get(key),
                    "mask": files.masks.get(key),
                }
            )  # fmt: skip
        return rows

    def _row(self, channel: Channel, files: Files) -> Row:
        key = (channel.layer, channel.unit)
        return {
            "layer": channel.layer, "unit": channel.unit, "contribution": channel.contribution, "share": channel.share,
            "activation": channel.activation, "below": channel.below, "votes": dict(channel.votes),
            "picture": files.shapes.get(key), "mask": files.masks.get(key), "examples": files.examples.get(key, []),
        }  # fmt: skip
