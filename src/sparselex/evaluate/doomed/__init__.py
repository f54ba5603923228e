"""Examples in which features of activations need not be features of the model, as experiments."""
