"""The verbs of a run, one file each: what a verb needs, what a person may choose about it, what it makes. Nothing here
loads PyTorch."""
