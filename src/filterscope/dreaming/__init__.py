"""Pictures that start from a photograph, or look at one: Deep Dream, inversion, caricature, accentuation, location.

The room is not called `dream`: that is the function, `filterscope.dream`.
"""

from filterscope.dreaming.functions import accentuate, caricature, dream, invert
from filterscope.dreaming.locating import Location, locate

__all__ = ["Location", "accentuate", "caricature", "dream", "invert", "locate"]
