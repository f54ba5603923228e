"""Tokens and a model in, activations out: on disk as shards, or live."""
