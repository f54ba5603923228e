"""How far latents are neurons: coefficients of their directions, and coordinates that go with their activations."""
