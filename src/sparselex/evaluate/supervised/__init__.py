"""Dictionaries put to tasks whose variables are known, beside the dictionary that these variables themselves give."""
