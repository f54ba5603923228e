"""Toy models whose mechanisms are known, and how near a decomposition comes to them."""
