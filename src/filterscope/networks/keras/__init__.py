"""Keras networks: a config read as data and built anew as a torch graph."""
