"""Dictionaries judged where the truth is known: against the features that a synthetic set was made of."""
