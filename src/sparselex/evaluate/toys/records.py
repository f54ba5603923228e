"""What toys say."""

from sparselex.base.config import Config
from sparselex.base.figures import Figure


class OverSplitting(Config):
    """Two latents that are the truth against many that are none, by the loss that training lowers."""

    l1: float
    """Weight of the penalty, for a squared error summed over dimensions."""

    ideal: float
    """Least loss of the two latents along the means, in closed form."""

    ideal_fires: float
    """Share of samples in which either of them is active."""

    silent: float
    """Loss of a dictionary that is never active."""

    random: Figure
    """Loss of latents drawn from the data; its null is `silent`."""

    beta: float
    """Length of their encoder rows, as a factor of the samples that they were drawn from: the best of those tried."""

    @property
    def splits(self) -> bool:
        """Whether random latents have the lower loss, beyond doubt."""
        return self.random.ci_high is not None and self.random.ci_high < self.ideal


class Occlusion(Config):
    """Which of two attributes of one activation a dictionary finds, the long one or the short one."""

    ratio: float
    """Length of the long attribute's directions, those of the short one being 1."""

    kind: str
    """Type of dictionary."""

    threshold: float
    """F1 from which a feature counts as found."""

    large: Figure
    """Share of the long attribute's values that are found; null: random rows that fire as often."""

    small: Figure
    """The same of the short one's."""

    l0: float
    """Active latents of a sample."""


class Hierarchy(Config):
    """What a dictionary does with features that never fire without their parents."""

    child_given_parent: float
    """P(child | parent)."""

    d_sae: int
    """Latents."""

    n_features: int
    """Parents and children."""

    absorption: Figure
    """How much less often the parent's latent is active where the child is; null: the same for a stranger's child."""

    hedging: Figure
    """How far the parent's latent leans towards the child; null: towards a stranger's child."""

    f1: Figure
    """Mean F1 of latents for their features; null: random rows."""
