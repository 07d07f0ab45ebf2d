"""What a file is, by its first bytes, and what to do with kinds that are not read."""
