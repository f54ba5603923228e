"""The types of dictionary, one file each."""
