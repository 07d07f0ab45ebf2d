"""What a release needs: extras that agree everywhere, the conda recipe, the contents of wheel and sdist, the tag."""

from __future__ import annotations

import hashlib
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import filterscope as fs
from website import HOME, artefacts

PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FEATURES = sorted(set(EXTRAS) - {"all", "docs", "test"})


def test_all_is_every_extra():
    """Those of features; documentation and tests are for who works on it."""
    (only,) = EXTRAS["all"]
    assert sorted(Requirement(only).extras) == FEATURES


@pytest.mark.parametrize("extra", FEATURES)
def test_each_extra_is_named(extra):
    """By an error where its libraries are missing, in the pages that list extras, and in the workflow that installs each."""
    assert all(Requirement(one) for one in EXTRAS[extra])
    code = "".join(path.read_text(encoding="utf-8") for path in (HOME / "src").rglob("*.py"))
    by_library = extra in ("torchvision", "timm") and "filterscope[{extra}]" in code
    assert by_library or f"filterscope[{extra}]" in code
    for page in ("docs/start/install.md", "docs/ja/start/install.md"):
        assert f"`{extra}`" in (HOME / page).read_text(encoding="utf-8"), page
    workflow = (HOME / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert extra in re.split(r", ", re.findall(r"extra: \[(.*)\]", workflow)[0])


def test_conda_asks_for_the_same():
    """Version, Python, dependencies and command of pyproject.toml."""
    recipe = (HOME / "conda" / "meta.yaml").read_text(encoding="utf-8")
    assert f'version = "{fs.__version__}"' in recipe
    run = re.findall(r"^    - (\S+ >=\S+)$", recipe.partition("  run:\n")[2].partition("\ntest:")[0], re.M)
    wanted = [one.replace(">=", " >=") for one in PROJECT["dependencies"]]
    wanted = ["py" + one if one.startswith("torch ") else one for one in wanted]
    assert sorted(run) == sorted([*wanted, f"python {PROJECT['requires-python']}"])
    for name, place in PROJECT["scripts"].items():
        assert f"    - {name} = {place}\n" in recipe


def test_descriptions_are_one():
    """Of the package, of conda's recipe and in CITATION.cff; transformers are drawn as well as convolutional networks."""
    said = PROJECT["description"]
    assert "convolutional" not in said
    assert f'  summary: "{said}"\n' in (HOME / "conda" / "meta.yaml").read_text(encoding="utf-8")
    assert f'abstract: "{said}"\n' in (HOME / "CITATION.cff").read_text(encoding="utf-8")
    assert said.partition(":")[0] in " ".join((HOME / "README.md").read_text(encoding="utf-8").split())


def test_the_conda_recipe_gets_the_sdists_sha256(tmp_path):
    """From the release command; in the repository it is 64 zeros, since the sdist is not known."""
    made_up(tmp_path)
    kept = (HOME / "conda" / "meta.yaml").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"conda/meta\.yaml is not that of 1\.0"):
        artefacts.filled_recipe(tmp_path, "1.0")
    sdist = tmp_path / f"filterscope-{fs.__version__}.tar.gz"
    (tmp_path / "filterscope-1.0.tar.gz").rename(sdist)
    found = artefacts.filled_recipe(tmp_path, fs.__version__)
    line = re.compile(r"^  sha256: (.*)$", re.M)
    assert line.findall(found) == [f'"{hashlib.sha256(sdist.read_bytes()).hexdigest()}"']
    assert line.findall(kept)[0].startswith(f'"{artefacts.UNKNOWN}"')
    assert line.sub("", kept).endswith("\n" + line.sub("", found))
    for place in ("scripts/release-check", ".github/workflows/release.yml"):
        assert "build/conda/meta.yaml" in (HOME / place).read_text(encoding="utf-8")


def made_up(dist: Path, *left_out: str, entry: str = "filterscope.cli:main") -> None:
    """A wheel and an sdist of what a release needs, without some of it."""
    info = "filterscope-1.0.dist-info"
    files = dict.fromkeys(artefacts.NEEDED, "")
    files |= {f"{info}/licenses/{name}": "" for name in ("LICENSE", "NOTICE")}
    files |= {
        f"{info}/entry_points.txt": f"filterscope = {entry}",
        f"{info}/METADATA": "Name: filterscope\nVersion: 1.0\n",
    }
    with zipfile.ZipFile(dist / "filterscope-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            if name not in left_out:
                wheel.writestr(name, text)
    with tarfile.open(dist / "filterscope-1.0.tar.gz", "w:gz") as sdist:
        for name in artefacts.NEEDED:
            if name not in left_out:
                sdist.addfile(tarfile.TarInfo(f"filterscope-1.0/src/{name}"))


def test_contents_of_a_release(tmp_path):
    """Whole, without a file, without its command, not built at all."""
    assert artefacts.find_faults(tmp_path, "1.0") == [
        "there is no filterscope-1.0-py3-none-any.whl",
        "there is no filterscope-1.0.tar.gz",
    ]
    made_up(tmp_path)
    assert artefacts.find_faults(tmp_path, "1.0") == []
    made_up(tmp_path, "filterscope/py.typed", entry="filterscope.other:main")
    assert artefacts.find_faults(tmp_path, "1.0") == [
        "filterscope-1.0-py3-none-any.whl lacks filterscope/py.typed",
        "filterscope-1.0-py3-none-any.whl has no command filterscope",
        "filterscope-1.0.tar.gz lacks src/filterscope/py.typed",
    ]


def test_the_tag_is_the_version():
    """Another one is refused before anything is built."""
    script = HOME / "scripts" / "release-check"
    done = subprocess.run([script, "v9.9.9"], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == f"the tag v9.9.9 is not v{fs.__version__}, the version in src/filterscope/_version.py"
    )


def test_the_release_workflow_checks_the_tag_and_keeps_no_secret():
    """It runs that script with the tag, and publishes by trusted publishing."""
    workflow = (HOME / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "scripts/release-check ${{ github.ref_type == 'tag'" in workflow
    assert "id-token: write" in workflow
    assert "secrets." not in workflow
