"""python -m filterscope: the command line."""

import sys

from filterscope.cli import main

sys.exit(main())
