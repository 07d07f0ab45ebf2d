"""`python -m benchmarks.networks`: see table.py."""

from benchmarks.networks.table import main

main()
