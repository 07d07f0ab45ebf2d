"""How good the pictures are; run by `python benchmarks/quality.py`. tune.py measures changes to a recipe."""
