"""What a training picture goes through: a random crop, aspect and flip, resized; some lose contrast."""

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_CROP = 0.55  # of the area; found for Tiny ImageNet with networks of 2 to 4 M parameters
ASPECT = 0.2  # natural logarithm of the largest change of width to height
CONTRAST = (0.1, 0.4)  # of a picture that loses contrast
MID_GREY = 127.5


def to_pixels(images: Tensor) -> Tensor:
    """Pictures uint8 (N, H, W, 3) as a network takes them: float32 (N, 3, H, W), 0..255, channels-last."""
    return images.permute(0, 3, 1, 2).float()


def augment(pixels: Tensor, size: int) -> Tensor:
    """Crop 55 to 100 % of each picture's area, stretch, flip half of them, resize to size x size.

    `pixels` (N, 3, H, W) of any range gives (N, 3, size, size) of the same range.  Random numbers come
    from torch's global generator of the pictures' device.
    """
    n, device = len(pixels), pixels.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(n, device=device).uniform_(low, high)

    side, aspect = uniform(SMALLEST_CROP, 1).sqrt(), uniform(-ASPECT, ASPECT).exp()
    width, height = (side * aspect.sqrt()).clamp(max=1), (side / aspect.sqrt()).clamp(max=1)
    theta = torch.zeros(n, 2, 3, device=device)  # output to input coordinates, both -1..1
    theta[:, 0, 0] = torch.where(uniform(0, 1) < 0.5, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = uniform(-1, 1) * (1 - width)
    theta[:, 1, 2] = uniform(-1, 1) * (1 - height)
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def lower_contrast(pixels: Tensor, share: float) -> Tensor:
    """Draw `share` of the pictures (N, 3, H, W) of 0..255 towards mid-grey, to 10 to 40 % of their contrast.

    Random numbers come from torch's global generator of the pictures' device, unless the share is 0.
    """
    if share == 0:
        return pixels
    chosen = torch.rand(len(pixels), 1, 1, 1, device=pixels.device) < share
    contrast = torch.empty_like(chosen, dtype=pixels.dtype).uniform_(*CONTRAST)
    return torch.where(chosen, MID_GREY + (pixels - MID_GREY) * contrast, pixels)
