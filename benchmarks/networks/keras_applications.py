"""The Keras part: every application, each layer beside Keras' own output."""

from benchmarks.networks.table import Row, drawn
from tests.helpers.keras_comparison import application, compared

from filterscope.networks import open_network
from filterscope.networks.keras.applications import APPLICATIONS, canonical_names


def names(section: str = "keras") -> list[str]:
    """Every application."""
    return list(APPLICATIONS)


def examine(section: str, name: str) -> Row:
    """One application: opened from the live model, compared at every layer, one channel drawn."""
    model, size = application(name)
    net = open_network(model)
    errors = compared(model, net, size, raw=APPLICATIONS[name].input is None or not net.classes)
    worst = max(errors, key=errors.__getitem__)
    fresh = canonical_names(model.get_config())
    named = [n for n in open_network(name).layers if "/" not in n and n != "rescaling_1"]
    if [fresh.get(n, n) for n in net.layers if "/" not in n] != named:
        raise ValueError("opened by name it has other layers")
    return Row(name, True, len(net.layers) - 1, errors[worst], worst, size=size, **drawn(net, size=size))
