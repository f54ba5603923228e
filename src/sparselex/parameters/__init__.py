"""Decomposition of weights instead of activations (stochastic parameter decomposition)."""
