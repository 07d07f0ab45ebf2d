"""Selectivity, sparsity, clarity and polysemanticity against numbers worked out by hand, and through a folder of classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from filterscope.errors import ArgumentError
from filterscope.measure import activations
from filterscope.measure.clarity import clarity, polysemanticity, two_clusters
from filterscope.measure.examples import example_sheet, find_examples, unit_rows
from filterscope.measure.selectivity import by_class, folder_classes, lifetime_sparsity
from filterscope.networks import open_network


def test_folders_are_classes():
    """The first folder's name; not where an image lies in none, all lie in one, or a path is absolute."""
    names, numbers = folder_classes(["b/1.png", "a/x/2.png", "b/3.png"])
    assert (names, numbers.tolist()) == (("a", "b"), [1, 0, 1])
    for flat in (["1.png", "a/2.png"], ["a/1.png", "a/2.png"], ["/a/1.png", "/b/2.png"]):
        assert folder_classes(flat) is None


def test_by_class():
    """Class means of the positive part, best first; selectivity is the best one's share; -1 where a class has fewer."""
    values = np.array([[1.0, -1, 0], [3.0, -2, 0], [0.0, -4, 0], [6.0, 5, 0]])
    found = by_class(values, np.array([0, 0, 1, 2]))
    assert found.order[0].tolist() == [2, 0, 1]
    assert found.means[0].tolist() == [6, 2, 0]
    assert found.selectivity[:2].tolist() == pytest.approx([0.75, 1])
    assert np.isnan(found.selectivity[2])
    assert found.order[1].tolist() == [2, 0, 1]  # of two classes that do not excite it, by the plain mean
    assert found.top[0].tolist() == [[3, -1], [1, 0], [2, -1]]
    assert found.top_values[0, 1].tolist() == [3, 1]


def test_only_images_with_a_class_count():
    """-1 is no class."""
    found = by_class(np.array([[9.0], [1.0], [2.0]]), np.array([-1, 4, 7]))
    assert found.order.tolist() == [[7, 4]]
    assert found.selectivity[0] == pytest.approx(2 / 3)


def test_sparsity():
    """Half of the images alike, the others not at all: (1 - 1/2) / (1 - 1/4)."""
    assert lifetime_sparsity(np.array([[2.0], [2.0], [0.0], [-5.0]]))[0] == pytest.approx(2 / 3)


def test_clarity():
    """The mean over all pairs of different rows; lengths do not count."""
    rows = np.random.default_rng(0).normal(size=(7, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(7, 1)].mean()
    assert clarity(rows * np.arange(1, 8)[:, None]) == pytest.approx(pairs)


def test_polysemanticity():
    """Two tight groups: 1 minus the cosine of their centres. One group with an odd one out: no two groups."""
    rng = np.random.default_rng(0)
    one, other = np.eye(6)[0], np.eye(6)[1]
    groups = np.concatenate([one + 0.01 * rng.normal(size=(5, 6)), other + 0.01 * rng.normal(size=(4, 6))])
    assert two_clusters(groups).sum() in (4, 5)
    assert polysemanticity(groups) == pytest.approx(1, abs=0.05)
    odd = np.concatenate([one + 0.01 * rng.normal(size=(8, 6)), [other]])
    assert polysemanticity(odd) < 0.3
    assert polysemanticity(np.ones((5, 3))) == pytest.approx(0, abs=1e-9)


def test_clusters_are_those_of_scikit_learn():
    """As good as ten of its starts, by the sum of squared distances."""
    cluster = pytest.importorskip("sklearn.cluster")
    for seed in range(3):
        rows = np.random.default_rng(seed).normal(size=(30, 8))
        member = two_clusters(rows)
        error = sum(((rows[m] - rows[m].mean(0)) ** 2).sum() for m in (member, ~member))
        known = cluster.KMeans(2, n_init=10, random_state=0).fit(rows).inertia_
        assert error <= known * 1.02


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Three classes of plain colours in folders of their own, three pictures each."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for name, colour in {"blue": (20, 20, 230), "green": (20, 220, 20), "red": (230, 10, 10)}.items():
        (folder / name).mkdir()
        for i in range(3):
            values = np.array(colour) + rng.integers(-10, 25, (16, 16, 3))
            Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_numbers_of_a_folder_of_classes(small, classes):
    """Rows have the best class, its share and the classes with their best pictures; the sheet a row for each."""
    found = find_examples(small, ["conv1"], classes, shown=False)["conv1"]
    assert found.by_folder
    assert found.class_names == ("blue", "green", "red")
    rows = unit_rows(found, by_class=True)
    alive = [row for row in rows if row["selectivity"] is not None]
    assert alive
    for row in alive:
        means = [one["mean"] for one in row["classes"]]
        assert row["best_class"] == row["classes"][0]["class"]
        assert row["selectivity"] == pytest.approx(means[0] / sum(means), rel=1e-5)
        assert all(name.startswith(one["class"]) for one in row["classes"] for name in one["top"])
    assert all(0 <= row["sparsity"] <= 1 for row in alive)
    plain = example_sheet(small, found, [0, 1], classes)
    sheet = example_sheet(small, found, [0, 1], classes, by_class=True)
    drawn = example_sheet(small, found, [0, 1], classes, pictures={0: Image.new("RGB", (16, 16), "red")})
    assert sheet.height > 2.9 * plain.height
    assert drawn.width > plain.width
    assert drawn.getpixel((60, 60)) == (255, 0, 0)  # before the photographs
    again = find_examples(small, ["conv1"], classes, shown=False)["conv1"]  # from the cache
    assert unit_rows(again, by_class=True) == rows


@pytest.fixture(scope="module")
def of_red():
    """Two units of 16 px pictures: red alone excites the first, and nothing the second."""
    conv = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, -1, -1], [-1, -1, -1]])[..., None, None])
        conv.bias.zero_()
    return open_network(nn.Sequential(conv, nn.ReLU()).eval(), size=16, range=(0, 1))


def test_what_does_not_excite_is_no_example(of_red, classes):
    """Of nine pictures three excite the unit; a unit that none excites has no examples, and an empty row of the sheet."""
    found = find_examples(of_red, ["1"], classes, shown=False)["1"]
    first, second = unit_rows(found, by_class=True)
    assert sorted(first["top"]) == ["red/0.png", "red/1.png", "red/2.png"]
    assert len(first["top_activations"]) == 3
    assert [one["class"] for one in first["classes"]] == ["red"]
    assert (second["top"], second["classes"], second["selectivity"]) == ([], [], None)
    for classwise in (False, True):
        sheets = [example_sheet(of_red, found, u, classes, by_class=classwise) for u in ([0, 1], [1])]
        both, dead = sheets
        assert both.height > 1.9 * dead.height > 200


def test_before_an_activation_all_count(of_red, classes):
    """There 0 is a value like others, and a unit's best pictures may lie below it."""
    found = find_examples(of_red, ["0"], classes, shown=False)["0"]
    first, second = unit_rows(found)
    assert len(first["top"]) == len(second["top"]) == 9
    assert second["best"] < 0


def test_classes_that_the_network_names(small, classes, tmp_path, monkeypatch):
    """Pictures in no folders have the classes that the network names first; they are no classes of folders."""
    for place in classes.rglob("*.png"):
        (tmp_path / f"{place.parent.name}{place.name}").write_bytes(place.read_bytes())
    found = find_examples(small, ["conv1"], tmp_path, shown=False)["conv1"]
    assert (found.by_folder, found.class_names) == (False, ("0", "1", "2", "3", "4"))
    assert set(found.image_classes) <= set(range(5))
    asked = []
    real = activations.gather
    monkeypatch.setattr(activations, "gather", lambda *a, **k: asked.append(k["classes"]) or real(*a, **k))
    other = find_examples(small, ["conv2"], tmp_path, shown=False)["conv2"]
    assert asked == [None]  # the network has named these pictures already
    np.testing.assert_array_equal(other.image_classes, found.image_classes)
    Image.new("RGB", (16, 16), "white").save(tmp_path / "one more.png")
    assert len(find_examples(small, ["conv2"], tmp_path, shown=False)["conv2"].image_classes) == 10
    assert asked == [None, "predictions"]
    with pytest.raises(ArgumentError, match="have no classes: these are the names of subfolders"):
        unit_rows(found, by_class=True)
    with pytest.raises(ArgumentError, match="have no classes"):
        example_sheet(small, found, [0], tmp_path, by_class=True)
