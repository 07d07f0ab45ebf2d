"""How pictures, sheets, networks and comparisons show themselves in a notebook, and as figures of matplotlib."""

from __future__ import annotations

import dataclasses
import re
import sys

import numpy as np
import pytest
from tests.helpers.made_up_atlas import HOSTILE

import filterscope as fs
from filterscope.comparison.compare import Comparison
from filterscope.comparison.pairs import Pair
from filterscope.errors import ArgumentError
from filterscope.pictures.html import MOST
from filterscope.target import Target


@pytest.fixture
def hostile(picture):
    """A picture of a class whose name is markup."""
    return picture(class_name=HOSTILE, status="no-gain")


def shown(html: str) -> list[str]:
    """The texts, without markup."""
    return [text for text in re.split(r"<[^>]*>", html) if text.strip()]


def test_a_picture(hostile):
    """Target, verdict, recipe and network; names are text; no colour is set, nothing is loaded."""
    html = hostile._repr_html_()
    assert hostile.verdict == "excitation 1.50, no gain"
    assert shown(html)[1:] == ["excitation 1.50, no gain", "tv, 3 steps, seed 5", "vgg16"]
    assert HOSTILE not in html
    assert html.count("<img") == 1
    assert "<script" not in html
    assert not re.search(r"color|background|http", html)


def test_a_verdict_without_natural_images(picture):
    """The activation stands for it."""
    scores = dataclasses.replace(picture().scores, excitation=None)
    assert picture(scores=scores).verdict == "activation 12.5"


def test_a_sheet(picture):
    """Each picture; of very many the first, and how many more there are."""
    sheet = fs.Sheet([picture(target=Target("conv", unit)) for unit in range(MOST + 2)])
    html = sheet._repr_html_()
    assert html.count("<figure") == MOST
    assert shown(html)[-1] == "and 2 more"
    assert fs.Sheet([])._repr_html_().count("<figure") == 0


def test_a_network_and_its_table(tiny):
    """Its input and its weights' file; all of its layers."""
    html = dataclasses.replace(tiny, name=HOSTILE)._repr_html_()
    assert HOSTILE not in html
    assert "22 layers" in html
    assert html.count("<tr>") == 1 + len(tiny.layers)
    assert tiny.table().rows == fs.list_layers(tiny).rows


def test_a_comparison(hostile, tiny):
    """Pairs with their change."""
    pair = Pair(hostile, hostile, (12.5, 3.0))
    html = Comparison([pair], ("A", "B"), (tiny, tiny))._repr_html_()
    assert html.count("<img") == 2
    assert "change 0.50" in html


def test_a_figure(picture, tmp_path):
    """A grid of axes with the pictures' labels; one without pictures stays empty."""
    pytest.importorskip("matplotlib")
    grey = picture(image=np.zeros((8, 8, 1), np.uint8), target=Target("conv", 1))
    figure = fs.Sheet([picture(), grey, picture()], columns=2).to_figure()
    assert [axes.get_title() for axes in figure.axes] == ["filter: 34", "filter: 1", "filter: 34", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 0]
    assert np.array_equal(figure.axes[0].images[0].get_array(), picture().image)
    figure.savefig(tmp_path / "figure.png")
    assert fs.Sheet([]).to_figure().axes


def test_without_matplotlib(picture, monkeypatch):
    """The extra is named."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ArgumentError, match=r"pip install 'filterscope\[notebook\]'"):
        fs.Sheet([picture()]).to_figure()
