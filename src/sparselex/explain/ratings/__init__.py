"""Explanations rated by people, who see two of them beside the same text and are not told which is which."""
