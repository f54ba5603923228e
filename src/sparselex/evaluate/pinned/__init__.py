"""Pinned sampling: whether text that is written while a latent is held is text on which it is active by itself."""
