"""Pictures of all units of many layers, as a folder that opens in a browser."""
