"""Keras' layer types as torch modules, in tables by what they do."""
