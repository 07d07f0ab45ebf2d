"""Pictures that start from a photograph, or look at one: Deep Dream, inversion, caricature, accentuation, location."""

from filterscope.dream.functions import accentuate, caricature, dream, invert
from filterscope.dream.locating import Location, locate

__all__ = ["Location", "accentuate", "caricature", "dream", "invert", "locate"]
