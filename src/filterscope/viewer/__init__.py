"""The viewer: an atlas' pages from a server that draws."""
