"""Intervals of activation scored by people, who see examples of one and are not told of what it is."""
