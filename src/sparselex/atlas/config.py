"""How two models are compared: a configuration that can be read without loading PyTorch."""

from sparselex.base.bounds import BatchRows, Count, Tokens
from sparselex.base.config import Config


class DiffConfig(Config):
    """On how much two models are compared."""

    n_rows: Count = 2000
    """Rows of the test split, spread evenly over it."""

    batch_rows: BatchRows | None = None
    """Rows in a forward pass; left out, as many as there is memory for, 32 at most."""

    n_shown: Count = 20
    """Latents of each model named in the summary; the table has all."""

    least_active: Tokens = 100
    """Tokens on which a latent must be active to be named: factors from a few tokens say little."""
