"""Torch networks: modules traced into the one graph, or run as they are through hooks."""
