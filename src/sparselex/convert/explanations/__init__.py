"""Explanations of features as other projects keep them: read, and written."""
