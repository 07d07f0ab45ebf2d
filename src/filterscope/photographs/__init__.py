"""Pictures that start from a photograph, or look at one: Deep Dream, inversion, caricature, accentuation, location.

The room is not called `dream`: that is the function, `filterscope.dream`.
"""

from filterscope.photographs.functions import accentuate, caricature, dream, invert
from filterscope.photographs.locate import Location, locate

__all__ = ["Location", "accentuate", "caricature", "dream", "invert", "locate"]
