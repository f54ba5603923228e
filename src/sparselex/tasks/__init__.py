"""Labelled tasks: prompts whose variables are known."""
