"""Finding latents: by words, patterns, tokens, passages and meaning."""
