"""What the pages' snippets find in their folder, and drawing in few steps."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages name: photographs, a folder of pictures, other weights of the embedded network."""
    from PIL import Image

    place = tmp_path_factory.mktemp("pages")
    (place / "DIR").mkdir()
    for i in range(10):
        Image.new("RGB", (64, 64), (20 * i, 100, 200)).save(place / "DIR" / f"{i}.png")
    for name in ("photo.jpg", "other.jpg"):
        Image.radial_gradient("L").resize((64, 48)).convert("RGB").save(place / name)
    weights = resources.files("filterscope.networks") / "data" / "tiny-vgg16.safetensors"
    (place / "fine-tuned.safetensors").write_bytes(weights.read_bytes())
    return place


@pytest.fixture(scope="module")
def there(workplace: Path, monkeymodule: pytest.MonkeyPatch) -> Path:
    """The test runs in that folder, and imports from it."""
    monkeymodule.chdir(workplace)
    monkeymodule.syspath_prepend(str(workplace))
    return workplace


@pytest.fixture(scope="module")
def monkeymodule() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def few_steps(monkeymodule: pytest.MonkeyPatch) -> None:
    """Whatever is drawn takes two steps and 32 px at most, in float32; a bar is never shown."""
    from filterscope.recipe import auto, presets

    real = presets.changes_of

    def fewer(steps, size, settings):
        small = size if isinstance(size, int) and size < 32 else 32
        return real(2, small, settings)

    for module in (auto, presets):
        monkeymodule.setattr(module, "changes_of", fewer)
    monkeymodule.setenv("FILTERSCOPE_PRECISION", "float32")
    monkeymodule.setenv("TQDM_DISABLE", "1")
