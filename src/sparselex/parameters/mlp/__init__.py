"""The MLP of a language model, taken apart into components."""
