"""Explanations held against logit weights: whether what is said of a latent tells which tokens it makes likely."""
