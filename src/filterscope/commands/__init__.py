"""The commands as functions: each takes a network as `open_network` does, and the options of `visualize`."""
