"""layer.py: names of layers as torch takes them."""

import pytest

from filterscope.networks.layer import safe_attribute


@pytest.mark.parametrize("name", ["conv", "features.0", "a b", "a-b", "a/b", "0", "é", "class"])
def test_safe_attribute(name):
    """Every layer name becomes a Python identifier."""
    assert safe_attribute(name).isidentifier()


def test_safe_attributes_differ():
    """Names that differ in signs alone keep apart."""
    names = ["a b", "a-b", "a_b", "a/b", "a.b", "ab"]
    assert len({safe_attribute(n) for n in names}) == len(names)
