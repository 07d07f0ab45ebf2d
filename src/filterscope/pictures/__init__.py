"""Pictures, PNG files that carry their recipe, sheets."""

from filterscope.pictures.picture import Picture, Scores
from filterscope.pictures.sheet import Sheet

__all__ = ["Picture", "Scores", "Sheet"]
