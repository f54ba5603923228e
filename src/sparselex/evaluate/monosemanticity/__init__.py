"""Towards Monosemanticity reproduced: our figures beside the paper's, and what is said of each claim."""
