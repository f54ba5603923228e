"""The command line: the verbs of a run, made from their configurations, and a file for every verb beside these."""
