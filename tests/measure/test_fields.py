"""Effective receptive fields: where the gradient is, within the receptive field, and photographs cropped to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from filterscope.measure.fields import (
    DIMMED,
    SHARE,
    as_given,
    crop_to_field,
    effective_fields,
    example_crops,
    field_box,
)
from filterscope.networks import open_network


@pytest.fixture(scope="module")
def bright():
    """A network whose one unit is the brightness of 3 x 3 pixels, behind a ReLU."""
    conv = nn.Conv2d(3, 1, 3, padding=1)
    nn.init.constant_(conv.weight, 1 / 27)
    nn.init.constant_(conv.bias, 0)
    return open_network(nn.Sequential(conv, nn.ReLU()).eval(), size=32, mean=0, std=1, range=(0, 1))


def test_a_field_lies_at_the_peak(bright):
    """The field is the brightest place of each picture, not much larger than the receptive field, 1 at its maximum."""
    pixels = torch.zeros(2, 3, 32, 32)
    pixels[0, :, 4:7, 20:23] = 255
    pixels[1, :, 25:28, 9:12] = 255
    fields = effective_fields(bright, "1", [0, 0], pixels)
    assert fields.shape == (2, 32, 32)
    assert fields.max((1, 2)) == pytest.approx(1)
    for field, (row, column) in zip(fields, [(5, 21), (26, 10)], strict=True):
        assert field[row, column] == pytest.approx(1)
        assert (field >= SHARE).sum() <= 25
        left, top, right, bottom = field_box(field)
        assert left <= column < right
        assert top <= row < bottom
    alone = effective_fields(bright, "1", [0], pixels[1:])
    np.testing.assert_allclose(fields[1:], alone, atol=1e-6)


def test_where_there_is_no_gradient(bright):
    """A black picture excites nothing: the whole of it is the field, and the crop is the picture itself."""
    field = effective_fields(bright, "1", [0], torch.full((1, 3, 32, 32), -9.0))[0]
    assert (field == 1).all()
    image = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
    crop = np.asarray(crop_to_field(image, field, side=64))
    np.testing.assert_allclose(crop, np.asarray(image), atol=1)


def test_deeper_units_have_larger_fields(tiny):
    """And a class's field covers more than a channel's of the first layers; both lie within the receptive field."""
    pixels = torch.rand(1, 3, 64, 64, generator=torch.manual_seed(0)) * 255
    layers = ("block1_conv1", "block3_conv1", "predictions")
    areas = [int((effective_fields(tiny, layer, [3], pixels) >= SHARE).sum()) for layer in layers]
    assert areas == sorted(areas)
    assert areas[0] < 60 < areas[2]


def test_a_crop_is_dark_outside_of_the_field():
    """A white picture: as bright as it is where the field is, at `DIMMED` away from it."""
    field = np.zeros((32, 48), np.float32)
    field[10:14, 30:34] = 1
    crop = np.asarray(crop_to_field(Image.new("L", (480, 320), 200), field, side=60))
    assert crop.shape == (60, 60, 3)
    assert crop[30, 30, 0] == 200
    assert crop[2, 2, 0] == pytest.approx(200 * DIMMED, abs=1)


def test_boxes_stay_within_the_picture():
    """At an edge the square moves inwards; a field larger than the shorter side gives what there is."""
    field = np.zeros((20, 40), np.float32)
    field[0:4, 36:40] = 1
    assert field_box(field) == (34, 0, 40, 6)
    field[:] = 1
    assert field_box(field) == (0, 0, 40, 20)


def test_files(bright, tmp_path):
    """Crops come in order and at the photograph's own resolution; a file that is gone gives None."""
    values = np.zeros((64, 100, 3), np.uint8)
    values[30:36, 60:66] = 255
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values[:, ::-1]).save(tmp_path / "b.png")
    wanted = [(0, tmp_path / "a.png"), (0, tmp_path / "gone.png"), (0, tmp_path / "b.png")]
    first, gone, last = example_crops(bright, "1", wanted, side=40)
    assert gone is None
    assert first.size == last.size == (40, 40)
    assert np.asarray(first)[15:25, 15:25].mean() > 100
    np.testing.assert_allclose(np.asarray(first), np.asarray(last)[:, ::-1], atol=90)
    assert as_given(Image.open(tmp_path / "a.png"), 32).size == (64, 64)
