"""Dictionaries that nothing was trained to find: what a trained one is held against."""
