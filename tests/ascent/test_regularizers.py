"""regularizers.py: hand-computed numbers, the formulas as they stand, finite everywhere, one value a picture."""

import math

import pytest
import torch

from filterscope.ascent.regularizers import lp_norm, penalty, total_variation
from filterscope.errors import RecipeError
from filterscope.recipe import LpNorm, TotalVariation

INF = float("inf")
PS = [1, 1.5, 2, 6, 40, INF]
BETAS = [0.5, 1, 2, 3]
GRID = torch.tensor([[[[0.0, 1, 3], [2, 5, 4], [7, 1, 0]]]])  # (1, 1, 3, 3)
COLUMN = torch.tensor([[[[-3.0, 0, 0], [0, 4, 0], [0, 0, 0]]]])


def pictures() -> dict[str, torch.Tensor]:
    """Pictures that break a formula written as it stands, (2, 3, 7, 7) each."""
    noise = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    spot = torch.zeros(2, 3, 7, 7)
    spot[:, :, 3, 3] = 1
    return {
        "zero": torch.zeros(2, 3, 7, 7),
        "constant": torch.full((2, 3, 7, 7), 128.0),
        "negative constant": torch.full((2, 3, 7, 7), -1e-8),
        "1e-8": noise * 1e-8,
        "1e6": noise * 1e6,
        "constant 1e6": torch.full((2, 3, 7, 7), 1e6),
        "noise": noise * 20 + 128,
        "spot": spot,
        "small spot": spot * 1e-8,
        "large spot": spot * 1e6,
        "half zero": torch.cat([noise[:1], torch.zeros(1, 3, 7, 7)]),
    }


@pytest.mark.parametrize(
    ("p", "value"),
    [
        (1, 7 / 9),
        (1.5, (3**1.5 + 8) ** (2 / 3) / 9),
        (2, 5 / 9),
        (6, (729 + 4096) ** (1 / 6) / 9),
        (40, 4 / 9),
        (INF, 4 / 9),
    ],
)
def test_lp_norm_by_hand(p, value):
    """||(-3, 4)||_p over the nine values."""
    assert lp_norm(COLUMN, p).tolist() == pytest.approx([value], rel=1e-5)


@pytest.mark.parametrize(
    ("beta", "value"),
    [
        (2, (5 + 20 + 34 + 17) / 9),
        (1, (5**0.5 + 20**0.5 + 34**0.5 + 17**0.5) / 9),
        (3, (5**1.5 + 20**1.5 + 34**1.5 + 17**1.5) / 9),
        (0.5, (5**0.25 + 20**0.25 + 34**0.25 + 17**0.25) / 9),
    ],
)
def test_total_variation_by_hand(beta, value):
    """Of the 3 x 3 grid the four cells that have both neighbours count."""
    assert total_variation(GRID, beta).tolist() == pytest.approx([value], rel=1e-6)


def test_gradients_by_hand():
    """d||x||_2 / dx = x / ||x||; of the total variation, twice each difference, towards both ends."""
    x = COLUMN.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(lp_norm(x, 2).sum(), x)
    assert torch.allclose(gradient, COLUMN / 5 / 9)
    x = torch.tensor([[[[0.0, 1], [3, 9]]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(total_variation(x).sum(), x)
    assert gradient.flatten().tolist() == [-2 * (1 + 3) / 4, 2 * 1 / 4, 2 * 3 / 4, 0]


@pytest.mark.parametrize("p", PS)
def test_lp_norm_is_the_norm(p):
    """On ordinary pictures it is torch's own norm over N."""
    x = pictures()["noise"].double()
    assert torch.allclose(lp_norm(x, p), torch.linalg.vector_norm(x, p, dim=(1, 2, 3)) / 147)


@pytest.mark.parametrize("p", PS)
def test_lp_norm_gradient_is_the_derivative(p):
    """Finite differences agree."""
    x = pictures()["noise"].double()[:, :, :3, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: lp_norm(v, p), x)


@pytest.mark.parametrize("beta", BETAS)
def test_total_variation_gradient_is_the_derivative(beta):
    """Finite differences agree."""
    x = pictures()["noise"].double()[:, :, :3, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: total_variation(v, beta), x)


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("p", PS)
def test_lp_norm_is_finite(name, p):
    """No picture and no p give NaN or inf, in the value or in the gradient, nor an overflow or a vanished norm."""
    x = pictures()[name].requires_grad_()
    value = lp_norm(x, p)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    largest = x.detach().double().abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-30)
    exact = torch.linalg.vector_norm(x.detach() / largest, p, dim=(1, 2, 3)) * largest.flatten() / 147
    assert torch.allclose(value.double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("beta", BETAS)
def test_total_variation_is_finite(name, beta):
    """No picture and no beta give NaN or inf, in the value or in the gradient."""
    x = pictures()[name].requires_grad_()
    value = total_variation(x, beta)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.isfinite().all()
    assert (value >= 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("p", PS)
def test_nothing_pulls_at_a_black_picture(p):
    """The norm of zeros is 0, and so is its gradient."""
    x = torch.zeros(1, 3, 4, 4, requires_grad=True)
    value = lp_norm(x, p)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("beta", BETAS)
def test_nothing_pulls_at_a_flat_picture(beta):
    """Where neighbours are equal the total variation and its gradient are 0."""
    x = torch.full((1, 3, 4, 4), 128.0, requires_grad=True)
    value = total_variation(x, beta)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert value.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("function", [lambda x: lp_norm(x, 6), lambda x: total_variation(x, 2)])
def test_one_value_a_picture(function):
    """A batch's values are its members' own, to the bit, and picture 0 has no gradient from picture 1."""
    x = (pictures()["noise"] * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)).requires_grad_()
    values = function(x)
    assert values.shape == (2,)
    assert values.tolist() == [function(x[i : i + 1]).item() for i in range(2)]
    (gradient,) = torch.autograd.grad(values[1], x)
    assert not gradient[0].any()
    assert gradient[1].any()


@pytest.mark.parametrize("size", [1, 2])
def test_smallest_pictures(size):
    """One pixel has no neighbours: total variation 0, not an error."""
    x = torch.ones(2, 3, size, size, requires_grad=True)
    assert total_variation(x, 2).tolist() == [0, 0]
    assert lp_norm(x, 1).tolist() == [1, 1]


@pytest.mark.parametrize("p", [0.5, 0, -1, math.nan])
def test_lp_norm_refuses(p):
    """p below 1 is no norm."""
    with pytest.raises(RecipeError, match="p >= 1"):
        lp_norm(GRID, p)


@pytest.mark.parametrize("beta", [0, -1, math.nan])
def test_total_variation_refuses(beta):
    """beta is positive."""
    with pytest.raises(RecipeError, match="beta > 0"):
        total_variation(GRID, beta)


def test_penalty_is_weighted():
    """A regularizer's penalty is its weight times its formula."""
    assert penalty(COLUMN, LpNorm(p=2, weight=10)).item() == pytest.approx(10 * 5 / 9)
    assert penalty(GRID, TotalVariation(beta=2, weight=10)).item() == pytest.approx(10 * 76 / 9)
    assert penalty(GRID, TotalVariation(weight=0)).item() == 0
