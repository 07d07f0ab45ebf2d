"""What the README shows runs as it stands, but for fewer steps and smaller pictures."""

from __future__ import annotations

import re
import shlex
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from filterscope.cli import cli, main

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
LINES = [
    line.split("  #")[0].strip()
    for language, text in BLOCKS
    if language == "bash"
    for line in text.splitlines()
    if line.startswith("filterscope ")
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the commands run one after the other, with a folder of pictures in place of DIR."""
    from PIL import Image

    place = tmp_path_factory.mktemp("readme")
    (place / "DIR").mkdir()
    for i in range(10):
        Image.new("RGB", (64, 64), (20 * i, 100, 200)).save(place / "DIR" / f"{i}.png")
    for name in ("photo.jpg", "other.jpg"):
        Image.radial_gradient("L").resize((64, 48)).convert("RGB").save(place / name)
    np.save(place / "nmf.npy", np.eye(25, 256, dtype=np.float32))  # a row for each concept
    weights = resources.files("filterscope.networks") / "data" / "tiny-vgg16.safetensors"
    (place / "fine-tuned.safetensors").write_bytes(weights.read_bytes())
    return place


@pytest.mark.parametrize("line", LINES)
def test_commands_run(
    line: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    """Each command of the README exits with 0; those for the real VGG16 take the real weights."""
    monkeypatch.chdir(workplace)
    words = shlex.split(line)[1:]
    if "vgg16" in words:
        words += ["--weights", str(request.getfixturevalue("real_weights"))]
    if words[0] == "concepts":
        words += ["--importance", "gradient"]
    if words[0] in ("show", "wires", "concepts", "ladder", "dream", "invert", "caricature", "accentuate"):
        words += ["--steps", "2", "--size", "128" if "@" in line else "32"]
    if words[0] == "explain":
        words += ["--steps", "1", "--count", "1", "--layers", "block5_conv3"]
    if words[0] == "examples" and "--out" in words:
        words += ["--steps", "2"]
    if words[0] == "atlas":
        words += ["--layers", "block1_conv1", "--steps", "2", "--size", "32"]
    if words[0] == "compare":
        words += ["--steps", "2", "--size", "32"]
    if words[0] == "show" and "predictions" in line:
        words[2] = "predictions:0,goldfish,monarch"  # so that the file named further down exists
    if words[0] == "rerun" and "poster" not in words[1]:
        drawn = sorted(p.name for p in (workplace / "out").glob("block3_conv1-*.png"))
        assert Path(words[1]).name in drawn
    assert main(words) == 0


def test_every_command_is_in_the_readme():
    """No command is left unmentioned."""
    text = README.read_text(encoding="utf-8")
    missing = [name for name in cli.commands if not re.search(rf"(filterscope|scripts/)\s?{name}\b", text)]
    assert missing in ([], ["models"])


def test_pictures_and_links_are_there():
    """Every picture and page the README points to lies in the repository."""
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).is_file(), target


def test_python_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    """The first Python block runs as it stands, with fewer steps."""
    import filterscope.api as api

    monkeypatch.chdir(workplace)
    real = api.ask_recipe
    monkeypatch.setattr(
        api, "ask_recipe", lambda recipe, **kw: real(recipe, **{**kw, "steps": 2, "size": 32})
    )
    code = next(text for language, text in BLOCKS if language == "python")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["sheet"]) == 16
    assert names["picture"].recipe.steps == 2
    assert (workplace / "out" / "sheet.png").is_file()
