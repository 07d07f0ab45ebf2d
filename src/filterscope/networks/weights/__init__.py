"""Weights: tables of tensors that are read when needed, from every kind of file."""
