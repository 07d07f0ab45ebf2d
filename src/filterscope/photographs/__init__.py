"""Pictures that start from a photograph or are compared with one: Deep Dream, inversion, caricature, accentuation; locating.

No module is called `dream` or `locate`: these are functions.
"""

from filterscope.photographs.accentuation import accentuate
from filterscope.photographs.dreaming import dream
from filterscope.photographs.likeness import caricature, invert
from filterscope.photographs.location import Location, locate

__all__ = ["Location", "accentuate", "caricature", "dream", "invert", "locate"]
