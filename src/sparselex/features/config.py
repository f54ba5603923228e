"""What an index keeps: a configuration that can be read without loading PyTorch."""

from pydantic import NonNegativeInt, PositiveInt

from sparselex.base.config import Config


class IndexConfig(Config):
    """What the index keeps of each latent."""

    n_top: PositiveInt = 20
    """Largest activations kept."""

    n_intervals: PositiveInt = 10
    """Equal ranges of activation from which examples are drawn."""

    n_per_interval: PositiveInt = 5
    """Examples drawn from each range."""

    n_bins: PositiveInt = 50
    """Bins of the activation histogram."""

    n_logits: PositiveInt = 15
    """Tokens most and least promoted."""

    n_neighbours: PositiveInt = 10
    """Nearest directions."""

    train_rows: PositiveInt | None = None
    """Rows of the training split that are read, spread evenly over it; None reads all. Held-out rows are always
    read."""

    batch_rows: PositiveInt = 32
    """Rows of the corpus in a forward pass."""

    seed: NonNegativeInt = 0
    """Seed of the examples drawn."""
