"""Whether a dictionary splits an attribute of two values over many latents: plain values, read without PyTorch."""

from sparselex.base.config import Config
from sparselex.base.figures import Figure


class Splitting(Config):
    """Over how many latents of small disjoint sets of prompts one value of a two-valued attribute is spread."""

    attribute: str
    """The attribute, which has two values."""

    value: str
    """One of them."""

    n_latents: Figure
    """Mean number of latents that are active on few prompts of the value, and on hardly any other."""

    jaccard: Figure
    """Mean Jaccard index of their active sets."""

    recall: Figure
    """Share of tested prompts with the value on which one of them is active."""

    is_split: Figure
    """Share of the dictionaries in which the value is split."""

    @property
    def title(self) -> str:
        """The value with its attribute."""
        return f"{self.attribute} = {self.value}"

    @property
    def figures(self) -> list[Figure]:
        """All of them."""
        return [self.n_latents, self.jaccard, self.recall, self.is_split]
