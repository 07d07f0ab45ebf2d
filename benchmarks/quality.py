"""`python benchmarks/quality.py`: see quality/run.py; `... legibility`, `classes`, `cifar10`: the modules of that name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.quality import cifar10, classes, legibility, run

if __name__ == "__main__":
    parts = {"legibility": legibility, "classes": classes, "cifar10": cifar10}
    part = parts.get(sys.argv[1] if len(sys.argv) > 1 else "")
    sys.exit(run.main(sys.argv[1:]) if part is None else part.main(sys.argv[2:]))
