"""Two dictionaries of one workspace beside each other: what both have, what only one has, what one has in parts."""
