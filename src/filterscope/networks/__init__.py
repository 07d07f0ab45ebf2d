"""Where networks come from: every source ends in one Network."""

from filterscope.catalog import network_names
from filterscope.networks.input_spec import InputSpec
from filterscope.networks.layer import Layer
from filterscope.networks.network import Network
from filterscope.networks.open import open_network, opens_by_name

__all__ = ["InputSpec", "Layer", "Network", "network_names", "open_network", "opens_by_name"]
