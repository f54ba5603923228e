"""Language models that are asked: requests in, answers or counted failures out. Knows nothing of features."""
