"""`python benchmarks/tune.py`: see quality/tune.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.quality.tune import main

if __name__ == "__main__":
    main(sys.argv[1:])
