"""attempts.py: what is drawn again, and from which noise."""

import pytest
import torch
from torch import nn

import filterscope as fs
from filterscope.recipe.recipe import LOUDER, RESTARTS


@pytest.fixture(scope="module")
def behind_inactive():
    """A depthwise layer behind a ReLU: unit 0's one channel needs more colour than the first noise has, unit 1's has no
    weights, unit 2's always responds."""
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 3, groups=3)).eval()
    with torch.no_grad():
        module[0].weight[:, :, 0, 0] = torch.tensor([[1.0, -1, 0], [0, 0, 0], [0, 0, 1]])
        module[0].bias[:] = torch.tensor([-0.02, 0, 0])
        module[2].weight.fill_(0.1)
        module[2].bias.fill_(0.1)
    return fs.open_network(module, size=32, range=(0, 1))


def test_louder_noise(behind_inactive):
    """A picture that no step moved is begun from louder noise at last, at the whole rate; its record says so."""
    found = list(fs.draw(behind_inactive, "2:0-2", recipe="sharp", steps=32, progress=False))
    usual = fs.get_recipe("sharp")
    assert [p.status for p in found] == ["ok", "no-gain", "ok"]
    assert found[0].attempt == len(RESTARTS)
    assert found[0].recipe.image.sd == pytest.approx(usual.image.sd * LOUDER)
    assert found[0].recipe.optimizer == usual.optimizer
    assert found[2].attempt == 0
    assert found[2].recipe.image == usual.image


def test_short_ascents_are_not_begun_anew(behind_inactive):
    """What a few steps do not reach is no failure."""
    (short,) = fs.draw(behind_inactive, "2:0", recipe="sharp", steps=3, progress=False)
    assert (short.status, short.attempt) == ("no-gain", 0)
