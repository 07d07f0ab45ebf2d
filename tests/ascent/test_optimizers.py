"""optimizers.py: the blog's RMSprop number by number, torch's own by name, refusals."""

import pytest
import torch

from filterscope.ascent.optimizers import Adam, BlogRMSprop, RMSprop, make_optimizer
from filterscope.errors import RecipeError
from filterscope.recipe import Optimizer
from filterscope.recipe.presets import BLOG_STEP


def test_first_step_by_hand():
    """From a cache of 0 a gradient of 2 steps by 2 / sqrt(0.05 * 4 + 1e-7)."""
    x = torch.tensor([10.0], requires_grad=True)
    x.grad = torch.tensor([2.0])
    BlogRMSprop([x]).step()
    assert x.item() == pytest.approx(10 - 2 / (0.05 * 4 + 1e-7) ** 0.5, rel=1e-6)


def test_eps_is_inside_the_root():
    """A tiny gradient is divided by sqrt(eps), 3e-4, and not by eps outside the root as in torch's RMSprop."""
    x = torch.tensor([0.0], requires_grad=True)
    x.grad = torch.tensor([1e-8])
    BlogRMSprop([x], eps=1e-7).step()
    assert x.item() == pytest.approx(-1e-8 / 1e-7**0.5, rel=1e-4)


def test_many_steps_term_by_term():
    """cache = decay * cache + (1 - decay) * g^2, then x - lr * g / sqrt(cache + eps)."""
    gradients = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    x = torch.zeros(4, dtype=torch.double, requires_grad=True)
    optimizer = BlogRMSprop([x], lr=0.3, decay=0.8, eps=1e-3)
    expected, cache = torch.zeros(4).double(), torch.zeros(4).double()
    for g in gradients:
        x.grad = g
        optimizer.step()
        cache = 0.8 * cache + 0.2 * g**2
        expected = expected - 0.3 * g / (cache + 1e-3) ** 0.5
    assert torch.allclose(x, expected)


def test_rmsprop_is_torchs():
    """Our RMSprop, which imports less, steps as torch.optim's does; with momentum torch's own is taken."""
    gradients = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.ones(4, requires_grad=True) for _ in range(2))
    options = {"alpha": 0.9, "eps": 1e-3}
    own = make_optimizer(Optimizer(name="RMSprop", lr=0.2, options=options), ours)
    torchs = torch.optim.RMSprop([theirs], lr=0.2, **options)
    assert isinstance(own, RMSprop)
    for g in gradients:
        ours.grad = theirs.grad = g.clone()
        own.step()
        torchs.step()
    assert torch.allclose(ours, theirs)
    momentum = make_optimizer(Optimizer(name="RMSprop", lr=0.2, options={"momentum": 0.9}), ours)
    assert isinstance(momentum, torch.optim.RMSprop)


@pytest.mark.parametrize("options", [{}, {"betas": (0.5, 0.9), "eps": 1e-3}])
def test_adam_is_torchs(options):
    """Our Adam, which imports less, steps as torch.optim's does, to the bit; with amsgrad torch's own is taken."""
    gradients = torch.randn(20, 4, 30, generator=torch.Generator().manual_seed(0))
    ours, theirs = (torch.ones(4, 30, requires_grad=True) for _ in range(2))
    own = make_optimizer(Optimizer(name="Adam", lr=0.2, options=options), ours)
    torchs = torch.optim.Adam([theirs], lr=0.2, foreach=False, **options)
    assert isinstance(own, Adam)
    for step, g in enumerate(gradients):
        ours.grad = theirs.grad = g.clone()
        for group in (own.param_groups[0], torchs.param_groups[0]):
            group["lr"] = 0.2 / (step + 1)
        own.step()
        torchs.step()
    assert torch.equal(ours, theirs)
    other = make_optimizer(Optimizer(name="Adam", lr=0.2, options={"amsgrad": True}), ours)
    assert isinstance(other, torch.optim.Adam)


@pytest.mark.parametrize("options", [{"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}, {"eps": -1.0}])
def test_adam_refuses(options):
    """What torch's Adam refuses."""
    with pytest.raises(RecipeError, match="Adam does not take these settings"):
        make_optimizer(Optimizer(name="Adam", lr=0.2, options=options), torch.ones(4, requires_grad=True))


def test_a_gradient_of_zero_stands_still():
    """No gradient, no step, no NaN."""
    x = torch.ones(3, requires_grad=True)
    x.grad = torch.zeros(3)
    optimizer = make_optimizer(BLOG_STEP, x)
    optimizer.step()
    assert x.tolist() == [1, 1, 1]


def test_the_presets_step():
    """The blog's step carries its numbers into the optimiser."""
    group = make_optimizer(BLOG_STEP, torch.zeros(1, requires_grad=True)).param_groups[0]
    assert (group["lr"], group["decay"], group["eps"]) == (1.0, 0.95, 1e-7)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Adam", {}),
        ("Adam", {"amsgrad": True, "eps": 1e-6}),
        ("AdamW", {"weight_decay": 0.0}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("RMSprop", {"alpha": 0.9}),
        ("Adagrad", {}),
        ("BlogRMSprop", {}),
        ("Adam", {"betas": (0.5, 0.9)}),
        ("Rprop", {"etas": (0.4, 1.3), "step_sizes": (1e-5, 1.0)}),
        ("Adafactor", {"eps": (None, 1e-3)}),
    ],
)
def test_goes_downhill(name, options):
    """Every optimiser by name lowers x^2 (the loop hands it the negative of what is to grow)."""
    x = torch.tensor([3.0, -2.0], requires_grad=True)
    optimizer = make_optimizer(Optimizer(name=name, lr=0.05, options=options), x)
    for _ in range(20):
        (x.grad,) = torch.autograd.grad(x.square().sum(), x)
        optimizer.step()
    assert x.detach().square().sum() < 13


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Optimizer(name="Adm"), "unknown optimizer 'Adm'; did you mean 'Adam'.*known: .*BlogRMSprop"),
        (Optimizer(name="adam"), "did you mean 'Adam'"),
        (Optimizer(name="Optimizer"), "unknown optimizer"),
        (Optimizer(name="LBFGS"), "unknown optimizer 'LBFGS'"),
        (Optimizer(name="SparseAdam"), "unknown optimizer 'SparseAdam'"),
        (
            Optimizer(name="Adam", options={"decay": 0.9}),
            "optimizer Adam does not take these settings.*decay",
        ),
        (Optimizer(name="SGD", options={"nesterov": True}), "optimizer SGD does not take these settings"),
        (Optimizer(name="Adam", options={"betas": 0.9}), "option 'betas' is a pair of numbers .got 0.9"),
        (Optimizer(name="Adam", options={"betas": (0.9, None)}), "does not take these settings"),
        (Optimizer(name="SGD", options={"dampening": (1, 2)}), r"'dampening' is one value .got \(1.0, 2.0\)"),
        (Optimizer(name="RMSprop", options={"eps": (1, 2)}), "'eps' is one value"),
        (
            Optimizer(name="BlogRMSprop", options={"alpha": 1}),
            "optimizer BlogRMSprop does not take these settings",
        ),
    ],
)
def test_refused(recipe, message):
    """An unknown name gets the nearest one; a setting that the optimiser lacks is named."""
    with pytest.raises(RecipeError, match=message):
        make_optimizer(recipe, torch.zeros(2, requires_grad=True))
