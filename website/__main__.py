"""Build the documentation site: every page, the notebooks executed, warnings as errors, links checked.

scripts/docs                   # into site/
scripts/docs --no-notebooks    # faster: notebooks are shown without their outputs
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from website import HOME, links, notebooks


def build(out: Path, *, execute: bool = True) -> list[str]:
    """Build the site into a folder; what is wrong with the links of the built pages.

    Raises click's Abort where mkdocs gives a warning, and what a notebook's cell raises.
    """
    from mkdocs.__main__ import cli

    os.environ[notebooks.EXECUTE] = "1" if execute else "0"
    os.environ.setdefault(
        "NO_MKDOCS_2_WARNING", "1"
    )  # a notice of the theme's that is no warning about these pages
    configuration = str(HOME / "mkdocs.yml")
    cli(
        ["build", "--strict", "--config-file", configuration, "--site-dir", str(out.resolve())],
        standalone_mode=False,
    )
    address = re.search(r"^site_url: (\S+)", Path(configuration).read_text(encoding="utf-8"), re.M)
    return links.find_faults(out, address[1] if address else "")


def main(argv: Sequence[str] | None = None) -> int:
    """The command: 0 where the site is built and its links hold, else 1."""
    parser = argparse.ArgumentParser(
        prog="scripts/docs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=HOME / "site", metavar="DIR", help="where to build [site]"
    )
    parser.add_argument("--no-notebooks", action="store_true", help="show the notebooks without running them")
    args = parser.parse_args(argv)
    began = time.perf_counter()
    faults = build(args.out, execute=not args.no_notebooks)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print(f"{len(faults)} faults in the links of {args.out}", file=sys.stderr)
        return 1
    pages = sum(1 for _ in args.out.rglob("*.html"))
    print(f"{args.out}/index.html: {pages} pages in {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
