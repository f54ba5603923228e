"""Everything above in, figures out."""
