"""A network's part made ready to run: rewritten, on a device, in a number type, in batches."""
