"""Every network by name beside its original; run by `python -m benchmarks.networks`."""
