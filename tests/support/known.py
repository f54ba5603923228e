"""A set of known features that is ranked in seconds."""

SMALL: dict = {
    "d_in": 24,
    "n_features": 64,
    "l0": 3.0,
    "n_trees": 2,
    "n_children": 2,
    "depth": 1,
    "n_groups": 2,
    "group_size": 3,
    "zipf": 0.5,
    "d_sae": 64,
    "n_tokens": 8_000,
    "batch_size": 100,
    "n_samples": 5,
    "sample_tokens": 200,
    "kinds": ("topk", "relu"),
}
"""Fields of a `SyntheticConfig`."""
