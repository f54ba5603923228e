"""Whether features of activations are features of the model: what later layers read of a dictionary."""
