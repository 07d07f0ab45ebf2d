"""What shows itself: an array to NumPy and matplotlib, a picture to a notebook."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from PIL import Image


class Shown(ABC):
    """Whatever is a picture in the end.

    np.asarray(it)       # uint8 (H, W, 3), or (H, W) where it is grey: what `save` writes
    plt.imshow(it)
    """

    @abstractmethod
    def to_pil(self) -> Image.Image:
        """It as a Pillow image."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Its pixels, always in an array of their own; ValueError where NumPy forbids a copy (`copy=False`)."""
        if copy is False:
            raise ValueError(f"the pixels of a {type(self).__name__} are made anew: leave out copy=False")
        return np.array(self.to_pil(), dtype=dtype)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.to_pil().save(buffer, "PNG")
        return buffer.getvalue()
