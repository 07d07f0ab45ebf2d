"""sizes.py: the sizes at which a layer runs, and what is refused."""

import keras
import pytest
from keras import layers

from filterscope.errors import ArgumentError
from filterscope.networks import open_network


@pytest.mark.parametrize(
    ("layer", "size", "shape"),
    [
        ("block1_conv1", 1, (32, 1, 1)),
        ("block5_conv3", 16, (256, 1, 1)),
        ("block5_conv3", 50, (256, 3, 3)),
        ("block3_conv1", 64, (128, 16, 16)),
        ("global_average_pooling", 64, (256,)),
        ("predictions", 96, (200,)),
    ],
)
def test_output_shape(tiny, layer, size, shape):
    """The shape of a layer's output at another size, without running it."""
    assert tiny.output_shape(layer, size) == shape


@pytest.mark.parametrize(
    ("layer", "size", "smallest"),
    [("block1_pool", 1, 2), ("block5_conv3", 15, 16), ("block4_conv1", 3, 8), ("predictions", 2, 16)],
)
def test_too_small(tiny, layer, size, smallest):
    """Too small a size is refused with the smallest that works, which does."""
    with pytest.raises(
        ArgumentError,
        match=f"{size} px is too small for {layer}: the smallest size that works is {smallest} px",
    ):
        tiny.output_shape(layer, size)
    assert tiny.output_shape(layer, smallest)


def test_smallest_of_valid_convolutions():
    """Without padding the smallest size is the receptive field."""
    model = keras.Sequential(
        [keras.Input((None, None, 3)), *[layers.Conv2D(2, 3, name=f"c{i}") for i in range(4)]]
    )
    net = open_network(model)
    assert net.layers["c3"].receptive_field == 9
    with pytest.raises(ArgumentError, match="the smallest size that works is 9 px"):
        net.output_shape("c3", 8)


def test_one_size_only(small, random_vgg16):
    """Layers behind a Flatten run at the network's own size alone; those before it at any."""
    assert small.output_shape("conv2", 40) == (6, 18, 18)
    with pytest.raises(ArgumentError, match=r"predictions of small runs at 16 x 16 px only .got 40."):
        small.output_shape("predictions", 40)
    with pytest.raises(ArgumentError, match=r"fc1 of vgg16 runs at 224 x 224 px only .got 64."):
        random_vgg16.output_shape("fc1", 64)


def test_output_shape_loads_no_weights(vgg16_file):
    """Shapes are known before any weights are read."""
    net = open_network("vgg16", weights=vgg16_file)
    assert net.output_shape("block5_conv3", 64) == (512, 4, 4)
    assert net.loaded == set()
