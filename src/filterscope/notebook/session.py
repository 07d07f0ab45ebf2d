"""What the widget of `explore` does: one drawing at a time, in a thread of its own, that can be stopped.

    session = Session(net, show, {"size": 64})
    session.draw({"layer": "block3_conv1", "unit": "34", "recipe": "auto", "seed": 0})
    session.keep()
    session.kept                        # the Pictures

Everything that is to be seen goes to `show`, as values by name; it is called from the drawing's thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filterscope.api import DrawingOptions, visualize_one
from filterscope.errors import FilterscopeError, kind_and_line
from filterscope.measure.scores import to_image
from filterscope.measure.units import layers_with_units
from filterscope.networks import Network
from filterscope.pictures import Picture, Sheet
from filterscope.pictures.html import data_url
from filterscope.progress import Step
from filterscope.recipe import AUTO, PRESETS

PREVIEW_SECONDS = 0.15  # from one preview to the next: more often no notebook shows them

Show = Callable[[Mapping[str, Any]], object]


class _Stopped(Exception):  # noqa: N818 - not an error: it carries a stopped drawing out of the loop
    pass


class Session:
    """One widget's drawings of an opened network.

    show: gets `state` ("idle", "drawing"), `message`, `progress` (0 to 1), `image` (a URL that holds it) and `kept`.
    options: of `visualize`, for all drawings. out: a folder that kept pictures are saved in, or None.
    """

    def __init__(
        self, network: Network, show: Show, options: DrawingOptions | None = None, out: Path | None = None
    ):
        self.network, self.out = network, out
        self.picture: Picture | None = None
        self.kept: list[Picture] = []
        self._show = show
        self._options: DrawingOptions = options or {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def sheet(self) -> Sheet:
        """The pictures that were kept."""
        return Sheet(self.kept)

    def choices(self) -> dict[str, Any]:
        """What the widget offers: layers with their units and, of a layer of classes, their names; recipes."""
        net = self.network
        layers = [
            {
                "name": name,
                "units": net.layer(name).units,
                "classes": [names[0] for names in net.class_names(name)],
            }
            for name in layers_with_units(net)
        ]
        return {"network": net.name, "layers": layers, "recipes": [AUTO, *PRESETS]}

    def draw(self, request: Mapping[str, Any]) -> None:
        """Begin a drawing, and stop the one before. request: layer, unit (a number or a class's name), recipe, seed."""
        self.stop()
        self.wait()
        self._stop.clear()
        self._show({"state": "drawing", "progress": 0.0, "message": "opening the layer"})
        self._thread = threading.Thread(target=self._work, args=(dict(request),), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop drawing at the next step."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Until nothing is drawn any more."""
        if self._thread is not None:
            self._thread.join(seconds)

    def keep(self) -> None:
        """Keep the picture that was finished last: in `kept`, and as a file where there is a folder."""
        if self.picture is None or any(one is self.picture for one in self.kept):
            return
        self.kept.append(self.picture)
        message = f"kept {self.picture.title}"
        if self.out is not None:
            try:
                message = f"saved {self.picture.save(self.out / f'{self.picture.stem}.png')}"
            except FilterscopeError as error:
                message = str(error)
        rows = [{"name": p.title, "said": p.verdict, "image": data_url(p.to_pil())} for p in self.kept]
        self._show({"kept": rows, "message": message})

    def _work(self, request: dict[str, Any]) -> None:
        try:
            target = f"{request.get('layer')}:{request.get('unit')}"
            options: Any = {**self._options, "progress": False, "on_step": self._stepper()}
            options |= {key: request[key] for key in ("recipe", "seed") if key in request}
            self.picture = visualize_one(self.network, target, **options)
            told = f"{self.picture.title}: {self.picture.verdict}"
            self._show(
                {
                    "state": "idle", "progress": 1.0, "message": told, "image": data_url(self.picture.to_pil()),
                }
            )  # fmt: skip
        except _Stopped:
            self._show({"state": "idle", "message": "stopped"})
        except FilterscopeError as error:
            self._show({"state": "idle", "message": str(error)})
        except Exception as error:  # the widget must go on, whatever a network's own code raises
            self._show({"state": "idle", "message": kind_and_line(error)})

    def _stepper(self) -> Callable[[Step], None]:
        """Called after each step: shows how far it is, and ends the drawing where that was asked."""
        shown = 0.0

        def on_step(step: Step) -> None:
            nonlocal shown
            if self._stop.is_set():
                raise _Stopped
            if time.monotonic() - shown < PREVIEW_SECONDS or step.images is None:
                return
            assert step.recipe is not None
            shown = time.monotonic()
            image = data_url(to_image(step.images(), step.recipe.output), "JPEG", quality=80)
            told = f"step {step.step} of {step.recipe.steps}, activation {step.activation:.3g}"
            again = f", attempt {step.attempt + 1}" if step.attempt else ""
            done = {"progress": step.step / step.recipe.steps, "message": told + again, "image": image}
            self._show(done)

        return on_step
