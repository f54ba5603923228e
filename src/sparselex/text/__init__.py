"""Text in, rows of tokens out: where documents come from, and the corpus that is made of them."""
