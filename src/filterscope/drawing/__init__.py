"""From objectives to measured pictures: the one way."""
