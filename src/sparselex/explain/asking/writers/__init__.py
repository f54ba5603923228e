"""Those who explain latents by asking."""
