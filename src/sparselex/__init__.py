"""sparselex: a language model turned into a graded dictionary of its features."""
