"""Products and selections in which only active latents count, and their Triton twins."""
