"""Activations in, a dictionary out."""
