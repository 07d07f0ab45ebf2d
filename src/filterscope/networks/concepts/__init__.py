"""Files of concepts, read as data: directions among a layer's channels, and the latents of sparse autoencoders.

    file = read_concepts("runs/sae")          # a ConceptFile: how many, how wide, at which layer, by which names
    file.concept(17, "latent", "blocks.8")    # a Concept with its numbers

forms.py says which file is of which form; saes.py, dictionaries.py and arrays.py read them; hooks.py maps the layer that
a file names to one of a network; binding.py checks all of it against a network.
"""
