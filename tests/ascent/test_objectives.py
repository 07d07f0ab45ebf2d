"""objectives.py: scores by hand, dead units woken, one value a picture from its own row alone."""

import pytest
import torch

from filterscope.ascent.objectives import activation, likeness, mean_at, objective, own_unit
from filterscope.networks.layer import Taps
from filterscope.objective import Direction, WholeLayer
from filterscope.target import Target

MAPS = torch.arange(24.0).view(2, 3, 2, 2)  # (B, C, H, W)
VECTORS = torch.tensor([[1.0, 2, 3], [4, 5, 6]])


def targets(*units: int, at=None) -> list[Target]:
    return [Target("layer", u, at) for u in units]


def test_own_unit():
    """Picture i is asked for unit i of the list."""
    units = torch.tensor([2, 0])
    assert torch.equal(own_unit(MAPS, units), torch.stack([MAPS[0, 2], MAPS[1, 0]]))
    assert own_unit(VECTORS, units).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("places", "values"),
    [
        ([None, None], [9.5, 13.5]),
        ([(0, 0), (1, 1)], [8, 15]),
        ([None, (0, 1)], [9.5, 13]),
        ([(0, 0), None], [8, 13.5]),
        ([(2, 0), (9, 9)], [10, 15]),
    ],
)
def test_mean_at(places, values):
    """The mean over space, or the value at row and column, (0, 0) too; beyond the edge the edge."""
    assert mean_at(own_unit(MAPS, torch.tensor([2, 0])), places).tolist() == values


def test_scores_are_float32():
    """A network in bfloat16 gives scores in float32, summed in float32."""
    maps = torch.full((1, 1, 64, 64), 1.0).bfloat16()
    maps[0, 0, 0, 0] = 3
    value = mean_at(own_unit(maps, torch.tensor([0])), [None])
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(1 + 2 / 4096)


def test_class_before_and_after_softmax():
    """A class's activation is linear; its objective is linear or, with keep_softmax, the probability."""
    taps = Taps(VECTORS, VECTORS, VECTORS.softmax(1))
    units = torch.tensor([2, 0])
    assert activation({"layer": taps}, targets(2, 0), units).tolist() == [3, 4]
    assert objective({"layer": taps}, targets(2, 0), units, keep_softmax=False).tolist() == [3, 4]
    kept = objective({"layer": taps}, targets(2, 0), units, keep_softmax=True)
    assert kept.tolist() == pytest.approx([0.66524, 0.09003], abs=1e-5)


def test_keep_softmax_of_a_layer_without_one():
    """Where there is no softmax the activation is ascended."""
    taps = Taps(MAPS, MAPS, None)
    assert objective({"layer": taps}, targets(2, 0), torch.tensor([2, 0]), keep_softmax=True).tolist() == [
        9.5,
        13.5,
    ]


def test_a_dead_unit_is_ascended_before_its_activation():
    """Where the output is 0 everywhere the value before it counts, with its gradient; elsewhere the output."""
    linear = torch.tensor([[[[-1.0, -3]]], [[[-1.0, 5]]]], requires_grad=True)
    taps = Taps(linear, linear.relu(), None)
    score = objective({"layer": taps}, targets(0, 0), torch.tensor([0, 0]), keep_softmax=False)
    assert score.tolist() == [-2, 2.5]
    (gradient,) = torch.autograd.grad(score.sum(), linear)
    assert gradient.flatten().tolist() == [0.5, 0.5, 0, 0.5]


def test_a_dead_neuron_is_woken_at_its_own_place():
    """For one neuron its own place decides, whatever lives beside it."""
    linear = torch.tensor([[[[-1.0, 5]]]], requires_grad=True)
    taps = Taps(linear, linear.relu(), None)
    score = objective({"layer": taps}, targets(0, at=(0, 0)), torch.tensor([0]), keep_softmax=False)
    assert score.tolist() == [-1]
    (gradient,) = torch.autograd.grad(score.sum(), linear)
    assert gradient.flatten().tolist() == [1, 0]


def test_a_direction_asleep_at_its_place_is_woken_there():
    """What the channels say elsewhere does not count: the score is of one place, whose gradient is 0 behind a ReLU."""
    linear = torch.tensor([[[[-1.0, 5.0]], [[-2.0, 5.0]], [[3.0, 3.0]]]], requires_grad=True)
    taps = {"layer": Taps(linear, linear.relu(), None)}
    vector = ((0, 1.0), (1, 1.0))
    for cosine, value in ((False, -3.0), (True, -3 / (14 * 2) ** 0.5)):
        asleep, awake, beyond = (Direction("layer", vector, cosine, at) for at in ((0, 0), (0, 1), (4, 9)))
        score = objective(taps, [asleep])
        assert score.item() == pytest.approx(value)
        (gradient,) = torch.autograd.grad(score.sum(), linear, retain_graph=True)
        assert gradient[0, 0, 0, 0] > 0
        assert activation(taps, [asleep]).item() == 0
        assert objective(taps, [awake]).item() == activation(taps, [awake]).item() > 0
        assert objective(taps, [beyond]).item() == objective(taps, [awake]).item()


def test_reported_is_what_the_unit_says():
    """The activation of a dead unit is reported as 0, whatever is ascended."""
    linear = torch.tensor([[[[-1.0, -3]]]])
    assert activation(
        {"layer": Taps(linear, linear.relu(), None)}, targets(0), torch.tensor([0])
    ).tolist() == [0]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("at", [None, (1, 0)])
def test_pictures_are_kept_apart(keep, at):
    """Score 0 has no gradient from row 1, and of row 0 none but from its own unit."""
    values = (MAPS - 11).requires_grad_()
    taps = Taps(values, values.relu(), None)
    score = objective({"layer": taps}, targets(1, 2, at=at), torch.tensor([1, 2]), keep_softmax=keep)
    assert score.shape == (2,)
    (gradient,) = torch.autograd.grad(score[0], values)
    assert not gradient[1].any()
    assert not gradient[0, [0, 2]].any()
    assert gradient[0, 1].any()


def test_softmax_keeps_pictures_apart():
    """A probability depends on its own row alone."""
    values = VECTORS.clone().requires_grad_()
    taps = Taps(values, values, values.softmax(1))
    (gradient,) = torch.autograd.grad(
        objective({"layer": taps}, targets(1, 2), torch.tensor([1, 2]), keep_softmax=True)[0], values
    )
    assert not gradient[1].any()
    assert gradient[0].all()


def test_whole_layer_direction_and_cosine_by_hand():
    """Mean of squares; mean over space of the product with a vector; of the cosine to it."""
    taps = {"layer": Taps(MAPS, MAPS, None)}
    goals = [WholeLayer("layer"), WholeLayer("layer")]
    assert activation(taps, goals).tolist() == pytest.approx([(MAPS[i] ** 2).mean().item() for i in (0, 1)])
    along = Direction("layer", ((0, 2.0), (2, -1.0)))
    expected = [(2 * MAPS[i, 0] - MAPS[i, 2]).mean().item() for i in (0, 1)]
    assert activation(taps, [along, along]).tolist() == pytest.approx(expected)
    vector = torch.tensor([2.0, 0.0, -1.0])
    cosine = torch.nn.functional.cosine_similarity(MAPS, vector.view(1, 3, 1, 1), dim=1).mean((1, 2))
    turned = Direction("layer", ((0, 2.0), (2, -1.0)), cosine=True)
    assert activation(taps, [turned, turned]).tolist() == pytest.approx(cosine.tolist(), abs=1e-5)
    at = Direction("layer", ((1, 1.0),), at=(1, 0))
    assert activation(taps, [at, at]).tolist() == MAPS[:, 1, 1, 0].tolist()


def test_sums_by_hand():
    """Weighted sums over layers, image by image."""
    other = MAPS + 1
    taps = {"layer": Taps(MAPS, MAPS, None), "other": Taps(other, other, None)}
    goal = 2 * Target("layer", 1) - 0.5 * Target("other", 0)
    expected = [(2 * MAPS[i, 1].mean() - 0.5 * other[i, 0].mean()).item() for i in (0, 1)]
    assert objective(taps, [goal, goal]).tolist() == pytest.approx(expected)


def test_likeness_by_hand():
    """Equal features are wholly alike, features of other channels not at all; groups do not feel each other."""
    a, b = torch.zeros(2, 2, 2), torch.zeros(2, 2, 2)
    a[0], b[1] = 1.0, 1.0
    values = torch.stack([a, a, a, b])
    assert likeness(values, [0, 0, 1, 1]).tolist() == pytest.approx([1, 1, 0, 0])
    assert likeness(values, [0, 1, 2, 3]).tolist() == [0, 0, 0, 0]
    assert likeness(torch.eye(2).repeat(2, 1), [0, 0, 0, 0]).tolist() == pytest.approx([1 / 3] * 4)
