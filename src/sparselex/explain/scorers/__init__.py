"""Scorers: an explanation and held-out evidence in, scores and judgements out. One file each."""
