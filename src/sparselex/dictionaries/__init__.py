"""Sparse dictionaries: tensor maths only, no text and no model."""
