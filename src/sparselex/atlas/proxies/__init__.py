"""Concepts told by rules of the text, and the features that carry them."""
