"""An atlas as pages that open from the file system."""
