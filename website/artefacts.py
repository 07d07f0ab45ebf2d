"""What a wheel and an sdist of filterscope contain: everything that runs needs, nothing that only the repository does.

usage: python -m website.artefacts DIST VERSION
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

NEEDED = (
    "filterscope/__init__.py",
    "filterscope/py.typed",
    "filterscope/networks/data/tiny-vgg16.safetensors",
    "filterscope/networks/data/MODEL_CARD.md",
)
ELSEWHERE = ("tests/", "benchmarks/", "training/", "website/", "docs/", "site/")  # of the repository
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


def main(argv: Sequence[str]) -> int:
    """Print what is wrong; 1 where anything is."""
    faults = find_faults(Path(argv[0]), argv[1])
    print(*(faults or ["the wheel and the sdist contain what they should"]), sep="\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
