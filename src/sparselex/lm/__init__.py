"""The subject model: any Hugging Face causal language model, unmodified, captured and edited through hooks."""
