"""Which latents are dead, which make a cluster of very low density, and which are the rest."""
