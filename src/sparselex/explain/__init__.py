"""Feature records in, explanations and their scores out."""
