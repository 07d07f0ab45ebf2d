"""input_spec.py: how pixel values become a network's input, and what a person says otherwise."""

import pytest
import torch

from filterscope.errors import ArgumentError
from filterscope.networks import open_network
from filterscope.networks.input_spec import InputOptions, InputSpec


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("size=32", InputOptions(size=32)),
        ("range=-1,1&mean=0.5", InputOptions(range=(-1, 1), mean=(0.5,))),
        ("mean=0.1,0.2,0.3&std=1,2,4&channels=3", InputOptions((0.1, 0.2, 0.3), (1, 2, 4), channels=3)),
        ("shown=3,2,1&channels=5", InputOptions(channels=5, shown=(3, 2, 1))),
    ],
)
def test_options_both_ways(text, told):
    """What stands behind a network's name is read, and written so that it is read again."""
    assert InputOptions.parse(text) == told
    assert InputOptions.parse(str(told)) == told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sise=3", "did you mean 'size'"),
        ("size", "behind a network's"),
        ("size=0", "size takes a whole number from 1 to 8192"),
        ("size=1.5", "size takes a whole number from 1 to 8192 .got '1.5'., or height x width as 64x128"),
        ("size=64x", "size takes a whole number"),
        ("size=0x5", "size takes a whole number"),
        ("size=1,2", "size takes a whole number"),
        ("mean=x", "mean takes numbers with commas"),
        ("mean=nan", "mean takes finite numbers"),
        ("std=0", "std takes numbers above 0"),
        ("range=1,0", "range takes the values of black and white"),
        ("range=1", "range takes the values of black and white"),
        ("shown=1,2", "shown takes three channels"),
    ],
)
def test_options_refused(text, message):
    """Each wrong text says what is allowed."""
    with pytest.raises(ArgumentError, match=message):
        InputOptions.parse(text)


def test_changed():
    """One number stands for each channel; what is not said stays."""
    spec = InputSpec(64, 3, 0, 1, (0.1, 0.2, 0.3), (1, 2, 3))
    assert spec.changed(InputOptions(mean=(0.5,))).mean == (0.5, 0.5, 0.5)
    assert spec.changed(InputOptions(mean=(0.5,))).std == (1, 2, 3)
    assert spec.changed(InputOptions(channels=1)).mean == pytest.approx((0.2,))
    assert spec.changed(InputOptions(range=(-1, 1), size=32)) == InputSpec(
        32, 3, -1, 1, (0.1, 0.2, 0.3), (1, 2, 3)
    )
    with pytest.raises(
        ArgumentError, match=r"mean takes one number, or one for each of the 3 channels \(got 2\)"
    ):
        spec.changed(InputOptions(mean=(1, 2)))
    with pytest.raises(ArgumentError, match="shown names channel 7; the network has channels 0 to 2"):
        spec.changed(InputOptions(shown=(7, 0, 1)))


def test_colours_of_other_channels():
    """The first three channels are shown unless three others are named."""
    assert InputSpec(channels=5).as_colours == (0, 1, 2)
    assert InputSpec(channels=2).as_colours == (0, 1, 1)
    assert InputSpec(channels=5, shown=(3, 2, 1)).as_colours == (3, 2, 1)


def test_the_order_of_three_channels():
    """Of three channels, those shown as red, green and blue say in which order the network takes them."""
    spec = InputSpec(mean=(1, 2, 3))
    swapped = spec.changed(InputOptions(shown=(2, 1, 0)))
    assert swapped == InputSpec(mean=(1, 2, 3), bgr=True)
    assert swapped.changed(InputOptions(shown=(0, 1, 2))) == spec
    pixels = torch.tensor([200.0, 100.0, 50.0]).view(1, 3, 1, 1)
    assert swapped.preprocess(pixels).flatten().tolist() == [49, 98, 197]
    with pytest.raises(
        ArgumentError, match=r"shown is 0,1,2 \(RGB\) or 2,1,0 \(BGR\) of three channels \(got 1,0,2\)"
    ):
        spec.changed(InputOptions(shown=(1, 0, 2)))


def test_overrides_of_an_opened_network(tiny):
    """Any network takes them, also behind its name; the name keeps them."""
    net = open_network(tiny, mean=0, range=(-1, 1))
    assert (net.input.low, net.input.mean) == (-1, (0, 0, 0))
    assert net.name == "tiny-vgg16?mean=0&range=-1,1"
    assert tiny.input.low == 0
    named = open_network("tiny-vgg16?mean=0&range=-1,1")
    assert (named.name, named.input) == (net.name, net.input)
    assert open_network("tiny-vgg16?mean=0", mean=3).input.mean == (3, 3, 3)
    with pytest.raises(ArgumentError, match=r"tiny-vgg16 takes 3 channels \(got 1\)"):
        open_network("tiny-vgg16", channels=1)


def test_overrides_of_a_fixed_size(small_keras):
    """A network of one size says which."""
    with pytest.raises(ArgumentError, match=r"small takes pictures of 16 x 16 px only \(got 32\)"):
        open_network(small_keras, size=32)


RED = torch.tensor([255.0, 0, 0]).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (InputSpec(), [255, 0, 0]),
        (InputSpec(bgr=True), [0, 0, 255]),
        (InputSpec(low=0, high=1), [1, 0, 0]),
        (InputSpec(low=-1, high=1), [1, -1, -1]),
        (InputSpec(mean=(100, 10, 1)), [155, -10, -1]),
        (InputSpec(mean=(100, 10, 1), bgr=True), [-100, -10, 254]),
        (InputSpec(std=(5, 2, 2)), [51, 0, 0]),
        (InputSpec(low=0, high=1, mean=(0.5, 0.4, 0.2), std=(0.5, 0.2, 0.1)), [1, -2, -2]),
    ],
)
def test_preprocess_by_hand(spec, value):
    """Value range, then colour order, minus mean, over std."""
    assert spec.preprocess(RED).flatten().tolist() == pytest.approx(value)
    assert RED.flatten().tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("spec", "keeps"),
    [
        (InputSpec(), True),
        (InputSpec(mean=(103.9, 116.8, 123.7), bgr=True), True),
        (InputSpec(high=1), False),
        (InputSpec(std=(58.0, 57.0, 57.0)), False),
    ],
)
def test_keeps_pixel_scale(spec, keeps):
    """Swapped and shifted is still 0 to 255; scaled is not."""
    assert spec.keeps_pixel_scale is keeps


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (InputSpec(), "224 x 224 px or other sizes; RGB 0 to 255"),
        (
            InputSpec(mean=(103.939, 116.779, 123.68), bgr=True, fixed=True),
            "224 x 224 px; BGR 0 to 255; minus mean 103.939, 116.779, 123.68",
        ),
        (
            InputSpec(32, 1, 0, 1, (0.5,), (0.25,)),
            "32 x 32 px or other sizes; grey 0 to 1; minus mean 0.5; over std 0.25",
        ),
        (
            InputSpec(8, 5, mean=(0.0,) * 5, std=(1.0,) * 5),
            "8 x 8 px or other sizes; 5 channels 0 to 255; shown as RGB: channels 0, 1, 2",
        ),
    ],
)
def test_input_spec_as_text(spec, text):
    """What `filterscope layers` prints of the input."""
    assert str(spec) == text
