"""Edits made from dictionaries, and what they do to the model."""
