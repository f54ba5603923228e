"""Explanations written and judged by a language model that is asked."""
