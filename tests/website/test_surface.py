"""api.json is the public surface, and no name of a release goes without a word."""

from __future__ import annotations

import re
import warnings

import pytest

import filterscope as fs
from website import HOME, surface


def test_the_file_is_the_surface():
    """After a change of a public name or signature: scripts/api, and a line in CHANGELOG.md."""
    kept, now = surface.read()["surface"], surface.surface()
    changed = [f"- {n}: {kept[n]}" for n in kept if now.get(n) != kept[n]]
    changed += [f"+ {n}: {now[n]}" for n in now if kept.get(n) != now[n]]
    assert not changed, "api.json is not the public surface; run scripts/api\n" + "\n".join(
        sorted(changed, key=lambda x: x[2:])
    )


def test_no_name_of_a_release_goes_without_a_word():
    """What the last release had and this one has not is in the changelog's first section, under Removed."""
    text = (HOME / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.split(r"^## ", text, flags=re.M)[1]
    removed = first.partition("\nRemoved\n")[2].partition("\n\nAdded\n")[0]
    gone = [name for name in surface.read()["released"]["names"] if name not in surface.surface()]
    assert [name for name in gone if f"`{name}`" not in removed] == []


def test_a_deprecated_name_works_and_warns(monkeypatch):
    """For a release, before it goes."""
    monkeypatch.setitem(fs._DEPRECATED, "picture_of", ("visualize_one", "0.3"))
    with pytest.warns(
        DeprecationWarning, match=r"filterscope\.picture_of goes after 0\.3; use visualize_one"
    ):
        assert fs.picture_of is fs.visualize_one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "picture_of" not in dir(fs)


def test_how_names_are_described():
    """Functions by their parameters and defaults, classes with their public members."""
    found = surface.surface()
    assert found["visualize"].startswith("function(network, target, *, recipe='auto', steps=None")
    assert found["ArgumentError"] == "error"
    assert found["Picture.save"].startswith("function(path")
    assert found["Picture.scores"] == "attribute"
    assert not any("0x" in text for text in found.values())
