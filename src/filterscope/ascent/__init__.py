"""The mathematics: what is optimised, what is maximised, what is subtracted, and the one loop."""
