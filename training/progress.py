"""Progress bars: live on a terminal, a line a minute in a log file."""

import sys
from typing import Any

from tqdm import tqdm


def progress(*args: Any, brief: bool = False, **settings: Any) -> tqdm:
    """A tqdm bar on stderr.  A `brief` one, for seconds of work, shows on a terminal only, and vanishes."""
    terminal = sys.stderr.isatty()
    pace = {"mininterval": 0.2} if terminal else {"mininterval": 60.0, "maxinterval": 60.0}
    if brief:
        settings |= {"leave": False, "delay": 1, "disable": not terminal}
    return tqdm(*args, **(pace | {"dynamic_ncols": terminal} | settings))
