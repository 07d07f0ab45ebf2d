"""Several pictures of one unit: drawn together, unlike one another, named and drawn again."""

import numpy as np
import pytest

import filterscope as fs
from filterscope.ascent.objectives import likeness
from filterscope.cli import main
from filterscope.rerun import draw_again

SETTINGS = {"facets": {"count": 3, "weight": 1.0}}
QUICK = {"steps": 12, "size": 48, "progress": False}


def facets(tiny, weight, target="block4_conv2:5", **more):
    settings = {"facets": {"count": 3, "weight": weight}}
    return list(fs.visualize(tiny, target, recipe="sharp", settings=settings, **more, **QUICK))


def alike(tiny, pictures):
    """Mean likeness of the layer's features of the saved pictures."""
    import torch

    pixels = torch.from_numpy(np.stack([p.image for p in pictures])).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        values = tiny.part("block4_conv2")(tiny.input.preprocess(pixels)).output
    return likeness(values, [0] * len(pictures)).mean().item()


def test_facets_differ(tiny):
    """With the penalty they are less alike than without; each excites the unit more than its noise did."""
    free, apart = facets(tiny, 0.0), facets(tiny, 1.0)
    assert [p.facet for p in apart] == [0, 1, 2]
    assert [p.stem for p in apart] == ["block4_conv2-0005", "block4_conv2-0005~1", "block4_conv2-0005~2"]
    assert alike(tiny, apart) < alike(tiny, free) - 0.02
    assert all(p.scores.activation > p.scores.start for p in apart)


def test_classes_have_facets(tiny):
    """A class's facets are kept apart by the last maps before it."""
    pictures = facets(tiny, 1.0, "predictions:goldfish")
    assert len({p.image.tobytes() for p in pictures}) == 3
    assert all(p.class_name == "goldfish" for p in pictures)


@pytest.mark.parametrize("facet", [0, 2])
def test_a_facet_is_drawn_again(tiny, tmp_path, facet):
    """`rerun` draws the one that the file holds."""
    picture = facets(tiny, 1.0)[facet]
    again = draw_again(picture.save(tmp_path))
    assert again.picture.facet == facet
    assert again.largest_difference == 0


def test_facets_of_several_units(tiny):
    """Units keep their own facets whatever else is drawn; the first one's noise is what a plain picture has."""
    many = list(
        fs.visualize(
            tiny, "block4_conv2:5,9", recipe="sharp", settings=SETTINGS, precision="float32", **QUICK
        )
    )
    assert [(p.target.unit, p.facet) for p in many] == [(5, 0), (5, 1), (5, 2), (9, 0), (9, 1), (9, 2)]
    alone = facets(tiny, 1.0, precision="float32")
    for one, other in zip(many, alone, strict=False):
        assert np.abs(one.image.astype(int) - other.image).mean() <= 2


def test_show_tells_facets_apart(tmp_path, capsys):
    """Each line names its own facet, as the file does."""
    asked = [
        "show",
        "tiny-vgg16",
        "block1_conv1:3",
        "--set",
        "facets.count=2",
        "--steps",
        "2",
        "--size",
        "32",
    ]
    assert main([*asked, "--out", str(tmp_path)]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("block1_conv1:3  ")
    assert second.startswith("block1_conv1:3 ~1  ")
