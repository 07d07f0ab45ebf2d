"""Concepts of a layer, found in a person's images: crops, a non-negative factorization, importance for classes (CRAFT)."""
