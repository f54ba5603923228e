"""Nouns and small tools of the house: no model, no tensors, nothing of ours imported."""
