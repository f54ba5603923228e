"""Relations: between dictionaries, between two models, between the members of a sweep."""
