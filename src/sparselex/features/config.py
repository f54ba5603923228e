"""What an index keeps: a configuration that can be read without loading PyTorch."""

from pydantic import model_validator

from sparselex.base.bounds import BatchRows, Count, Drawn, Listed, Seed, Whole
from sparselex.base.config import Config


class IndexConfig(Config):
    """What the index keeps of each latent."""

    n_top: Listed = 20
    """Largest activations kept."""

    n_intervals: Drawn = 10
    """Equal ranges of activation from which examples are drawn."""

    n_per_interval: Drawn = 5
    """Examples drawn from each range."""

    n_random: Listed = 20
    """Examples drawn from all places at which a latent is active."""

    n_bins: Listed = 50
    """Bins of the activation histogram."""

    n_logits: Listed = 15
    """Tokens most and least promoted."""

    logit_count: Whole = 1
    """How often a token must stand in the text to be among them: what a vocabulary holds and nobody writes has logits
    that training hardly moved. 0 ranks all."""

    n_neighbours: Listed = 10
    """Nearest directions."""

    store: bool = True
    """Keep every activation. Without, memory and disk do not grow with the text: statistics and histograms count all of
    it, examples and tokens come from samples of fixed size, and what needs every activation (rules, effects) refuses
    such an index."""

    tokens_per_row: Count | None = None
    """Tokens of each row that statistics, histograms and examples are of, drawn without replacement by `seed`; None
    takes all. Neighbours in a text are alike: 10 of each of many rows are worth more than all of a few. What is active
    on the others is kept all the same, so that an example is shown with the text around it and rules are sought on all
    of it."""

    train_rows: Count | None = None
    """Rows of the training split that are read, spread evenly over it; None reads all. Held-out rows are always
    read."""

    batch_rows: BatchRows | None = None
    """Rows in a forward pass; left out, as many as there is memory for, 32 at most."""

    seed: Seed = 0
    """Seed of the examples drawn."""

    @model_validator(mode="after")
    def _draws_of_all(self) -> "IndexConfig":
        if self.tokens_per_row is not None and not self.store:
            raise ValueError(
                "tokens_per_row draws from every activation, and store=False keeps a sample of its own: leave one out"
            )
        return self
