"""How fast drawing is; run by `python benchmarks/speed.py`. atlas.py measures what spreading an atlas over Ray costs."""
