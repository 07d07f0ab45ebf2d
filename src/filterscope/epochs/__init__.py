"""The same units of a network, epoch by epoch, while it is trained."""
