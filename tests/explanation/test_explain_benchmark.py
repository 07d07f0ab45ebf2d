"""benchmarks/explain.py: areas of the four rankings, their table, which photographs are taken."""

from pathlib import Path

from benchmarks import explain
from PIL import Image


def test_areas(shortcut, photo, tmp_path):
    """Behind the last layer all is linear: no order removes the value faster than that of the contributions."""
    Image.fromarray(photo).save(tmp_path / "photo.png")
    found = explain.areas(shortcut, tmp_path / "photo.png", "down", 0)
    assert set(found) == set(explain.RANKINGS)
    assert abs(found["activation x gradient"] - found[explain.INTEGRATED]) < 1e-5
    assert found["activation x gradient"] >= max(found.values()) - 1e-5
    assert found["activation x gradient"] > 0


def test_table():
    """Means, standard errors, and how often the area is above 0, above plain activation's and above the gradient's."""
    found = [dict.fromkeys(explain.RANKINGS, 1.0) | {"gradient alone": value} for value in (3.0, -1.0)]
    rows = explain.table_rows("conv", found)
    assert rows[0] == ["conv", "activation x gradient", "1.00 ± 0.00", "100 %", "0 %", "50 %"]
    assert rows[2][-2:] == ["-", "50 %"]
    assert rows[3] == ["conv", "gradient alone", "1.00 ± 2.00", "50 %", "50 %", "-"]


def test_spread():
    """Evenly over a folder, each once."""
    images = [Path(f"{i}.png") for i in range(10)]
    assert explain.spread(images, 3) == [images[0], images[3], images[6]]
    assert explain.spread(images, 99) == images
