"""What a wheel and an sdist of filterscope contain: everything that runs needs, nothing that only the repository does. Also
writes the conda recipe with the sdist's sha256.

usage: python -m website.artefacts DIST VERSION [RECIPE]
"""

from __future__ import annotations

import hashlib
import re
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from website import HOME

NEEDED = (
    "filterscope/__init__.py",
    "filterscope/py.typed",
    "filterscope/networks/data/tiny-vgg16.safetensors",
    "filterscope/networks/data/MODEL_CARD.md",
)
ELSEWHERE = ("tests/", "benchmarks/", "training/", "website/", "docs/", "site/")  # of the repository
UNKNOWN = 64 * "0"  # the recipe's sha256 until there is an sdist
LARGEST = 40_000_000  # bytes; PyPI takes 100 MB a file


def find_faults(dist: Path, version: str) -> list[str]:
    """What is wrong with the files in a folder, one line each."""
    wheel = dist / f"filterscope-{version}-py3-none-any.whl"
    sdist = dist / f"filterscope-{version}.tar.gz"
    faults = [f"there is no {path.name}" for path in (wheel, sdist) if not path.is_file()]
    if faults:
        return faults
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        info = f"filterscope-{version}.dist-info"
        entries = opened.read(f"{info}/entry_points.txt").decode()
        metadata = opened.read(f"{info}/METADATA").decode()
    faults += [f"{wheel.name} lacks {name}" for name in NEEDED if name not in names]
    faults += [f"{wheel.name} contains {name}" for name in names if name.startswith(ELSEWHERE)]
    if "filterscope = filterscope.cli:main" not in entries:
        faults.append(f"{wheel.name} has no command filterscope")
    faults += [
        f"{wheel.name} lacks {name}"
        for name in ("LICENSE", "NOTICE")
        if f"{info}/licenses/{name}" not in names
    ]
    if f"\nVersion: {version}\n" not in metadata:
        faults.append(f"{wheel.name} is of another version")
    with tarfile.open(sdist) as opened_sdist:
        inside = [name.partition("/")[2] for name in opened_sdist.getnames()]
    faults += [f"{sdist.name} lacks src/{name}" for name in NEEDED if f"src/{name}" not in inside]
    sizes = [(path.name, path.stat().st_size) for path in (wheel, sdist)]
    return faults + [f"{name} has {size:,} bytes" for name, size in sizes if size > LARGEST]


def filled_recipe(dist: Path, version: str) -> str:
    """The conda recipe with the sha256 of the sdist in a folder; ValueError where it is of another version, or has a sha256
    already."""
    recipe = (HOME / "conda" / "meta.yaml").read_text(encoding="utf-8")
    if recipe.count(f'"{UNKNOWN}"') != 1 or f'set version = "{version}"' not in recipe:
        raise ValueError(f"conda/meta.yaml is not that of {version} with {UNKNOWN[:4]}... for its sha256")
    sha256 = hashlib.sha256((dist / f"filterscope-{version}.tar.gz").read_bytes()).hexdigest()
    filled = re.sub(rf'"{UNKNOWN}".*', f'"{sha256}"', recipe)
    return filled[filled.index("{%") :]  # without the notes on the file that it was made of


def main(argv: Sequence[str]) -> int:
    """Print what is wrong, 1 where anything is; else write the recipe where that is asked for."""
    dist, version, *recipe = argv
    faults = find_faults(Path(dist), version)
    print(*(faults or ["the wheel and the sdist contain what they should"]), sep="\n")
    if recipe and not faults:
        place = Path(recipe[0])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(filled_recipe(Path(dist), version), encoding="utf-8")
        print(f"the conda recipe of this sdist is {place}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
