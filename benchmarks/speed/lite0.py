"""timm's tf_efficientnet_lite0 with random weights, as a file that `filterscope show` takes beside a CPU-only torch."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.helpers.torchvision_cpu import torchvision_operators

torchvision_operators()
import timm  # noqa: E402
import torch  # noqa: E402

INPUT = {"mean": 127 / 255, "std": 128 / 255, "size": 224}


def make() -> torch.nn.Module:
    """The same weights each time."""
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0")
