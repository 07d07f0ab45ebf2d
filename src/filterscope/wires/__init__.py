"""Which units of the layer before feed a unit."""
