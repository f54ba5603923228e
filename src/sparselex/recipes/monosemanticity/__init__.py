"""Towards Monosemanticity (Bricken et al. 2023) from end to end: the runs, what is asked of them, in which order."""
