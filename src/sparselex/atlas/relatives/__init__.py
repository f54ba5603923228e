"""Relatives: latents that are active only where another is, and pairs of texts that tell the two apart."""
