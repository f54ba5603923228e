"""Does the model use a feature? The exact effects of ablating each, beside two nulls."""
