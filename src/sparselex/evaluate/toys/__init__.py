"""Small worlds in which it is known what a dictionary ought to find, and in which known ways it fails."""
