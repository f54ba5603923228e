"""Activations whose features are all known: thousands of them, rare and common, nested and correlated."""
