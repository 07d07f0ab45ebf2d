"""Where an atlas lies, and its files: manifests, journals, index, natural activations."""
