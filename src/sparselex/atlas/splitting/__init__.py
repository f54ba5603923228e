"""Splitting: which latents of a wide dictionary one latent of a narrow one becomes."""
