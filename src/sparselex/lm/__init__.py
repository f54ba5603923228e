"""The subject model: any Hugging Face causal language model, unmodified, read and edited through hooks."""
