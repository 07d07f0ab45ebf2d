"""Stores of each kind that a test reaches without a network."""

from __future__ import annotations

import pytest

from filterscope.atlas.storage.store import open_store


@pytest.fixture(params=["local", "file", "memory"])
def store(request, tmp_path):
    """A store of each kind that a test reaches without a network."""
    memory = f"memory://{tmp_path.name}-{request.node.name}"
    address = {"local": str(tmp_path / "a"), "file": f"file://{tmp_path}/b", "memory": memory}[request.param]
    return open_store(address)
