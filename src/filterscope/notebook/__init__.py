"""A network explored in a notebook: choose a unit, watch its picture emerge, keep it."""
