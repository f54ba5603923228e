"""Maps: the latents of a dictionary on a plane, near where they are alike."""
