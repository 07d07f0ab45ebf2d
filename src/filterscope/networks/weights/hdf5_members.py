"""What lies in an HDF5 file, read without following links and without values that the file does not hold."""

from __future__ import annotations

from math import prod
from typing import Any

from filterscope.networks.weights.table import absurd_size


def group_at(file: Any, path: str) -> Any:
    """The group at a path; KeyError where something else lies there."""
    import h5py

    found = member_at(file, path)
    if not isinstance(found, h5py.Group):
        raise KeyError(f"{path} is no group")
    return found


def member_at(file: Any, path: str) -> Any:
    """What lies at a path; OSError where a link leads there."""
    import h5py

    found = file
    for part in filter(None, path.split("/")):
        link = found.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise OSError(f"{path} points into another file, which is refused")
        if isinstance(link, h5py.SoftLink):
            raise OSError(f"{path} is a link, which is refused")
        found = found[part]
    return found


def dataset_at(file: Any, key: str) -> Any:
    """The tensor at a path; OSError where the file does not hold its values."""
    import h5py

    found = member_at(file, key)
    if not isinstance(found, h5py.Dataset):
        raise KeyError(f"{key} is no tensor")
    if found.external or found.is_virtual:
        raise OSError(f"{key} lies in another file, which is refused")
    if absurd_size(prod(found.shape) * found.dtype.itemsize, found.id.get_storage_size()):
        raise OSError(
            f"{key} claims {' x '.join(map(str, found.shape))} values, and the file does not hold them"
        )
    return found
