"""Features of several dimensions: groups of latents whose activations lie on a curve or a surface together."""
