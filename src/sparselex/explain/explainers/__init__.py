"""Explainers: evidence in, words out. One file each."""
