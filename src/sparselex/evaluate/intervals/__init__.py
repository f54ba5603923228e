"""Explanations held against activations of every size: by intervals of activation, and in rank over a mixture."""
