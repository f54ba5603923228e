"""How sparsely the latents behind an MLP depend on those before it."""
