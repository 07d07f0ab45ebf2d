"""Likeness to a photograph, by hand-computed numbers and by laws."""

import pytest
import torch

from filterscope.ascent.likeness import resemblance
from filterscope.errors import TargetError
from filterscope.expression import parse
from filterscope.objective import Likeness, roles
from filterscope.target import Target


def test_match_by_hand():
    """Minus the squared distance over the photograph's square: (1 + 4) / (9 + 16)."""
    here = torch.tensor([[[4.0]], [[2.0]]])
    there = torch.tensor([[[3.0]], [[4.0]]])
    assert resemblance(here, there, "match").item() == pytest.approx(-5 / 25)
    assert resemblance(there, there, "match") == 0
    assert resemblance(torch.zeros(2, 1, 1), there, "match") == -1


def test_caricature_by_hand():
    """Product times cosine at each place, over the photograph's square."""
    here = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # two channels, two places: (2, 0) and (0, 3)
    there = torch.tensor([[1.0, 2.0], [0.0, 2.0]])  # (1, 0) and (2, 2)
    first, second = 2 * 1.0, 6 * 6 / (3 * 8**0.5)
    assert resemblance(here, there, "caricature").item() == pytest.approx((first + second) / 9)


def test_caricature_grows_with_the_picture():
    """Twice the photograph's own values is twice the score: it exaggerates."""
    there = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    own = resemblance(there, there, "caricature").item()
    assert own == pytest.approx(1)
    assert resemblance(2 * there, there, "caricature").item() == pytest.approx(2)


def test_guide_by_hand():
    """Each place takes the guide's vector with the largest product."""
    here = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # (1, 0) and (0, 2)
    there = torch.tensor([[3.0, 0.0, 1.0], [0.0, 5.0, 1.0]])  # (3, 0), (0, 5), (1, 1)
    assert resemblance(here, there, "guide").item() == pytest.approx((3 + 10) / 2)


@pytest.mark.parametrize("how", ["match", "caricature", "guide"])
def test_finite(how):
    """Where either says nothing at all, score and gradient are finite."""
    for here, there in [(0, 0), (0, 1), (1, 0)]:
        x = torch.full((2, 3, 3), float(here), requires_grad=True)
        score = resemblance(x, torch.full((2, 3, 3), float(there)), how)
        score.backward()
        assert score.isfinite()
        assert x.grad.isfinite().all()


def test_guide_of_many_places():
    """A map of more places than are compared at once gives the same as all of it at once."""
    g = torch.Generator().manual_seed(1)
    here, there = torch.rand(2, 70, 70, generator=g), torch.rand(2, 10, 10, generator=g)
    products = torch.einsum("cp,cq->pq", here.flatten(1), there.flatten(1)).amax(1)
    assert resemblance(here, there, "guide").item() == pytest.approx(products.mean().item(), rel=1e-5)


@pytest.mark.parametrize("how", ["match", "caricature", "guide"])
def test_grammar_both_ways(how, tiny):
    """The text of a likeness reads back as itself, alone and in a sum."""
    one = Likeness(how, "block2_conv1")
    assert tiny.objectives(str(one)) == [one]
    summed = Target("block3_conv1", 3) + 0.5 * one
    assert tiny.objectives(str(summed)) == [summed]
    assert roles(summed) == {one.role}


def test_grammar_refuses():
    """A likeness takes a layer's name and nothing more."""
    with pytest.raises(TargetError, match="takes a layer's name alone"):
        parse("match(block2_conv1, 3:1)")


def test_without_photograph(tiny):
    """Drawn from nothing, a likeness is refused with the role that is missing."""
    import filterscope as fs

    with pytest.raises(
        TargetError, match=r"match\(block1_conv1\) is compared with a photograph \(the image\)"
    ):
        fs.visualize(tiny, "match(block1_conv1)", steps=1, size=16, progress=False)
