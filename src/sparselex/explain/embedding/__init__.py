"""What is known of latents as vectors, to be searched by meaning."""
