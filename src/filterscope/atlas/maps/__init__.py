"""An activation atlas (Carter et al. 2019): where a layer's activations for many images lie, and what each place is."""
