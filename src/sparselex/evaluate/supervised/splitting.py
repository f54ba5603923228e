"""Over-splitting of an attribute of two values: many latents, each active on a small set of prompts of one value and on
hardly any other, that overlap little and together cover the value (after Makelov, Lange and Nanda 2024,
arXiv:2405.08366, section on over-splitting). Arrays in, values out.

What is wrong with the measure: a latent that fires twice, on two prompts of the value, has a precision of 1 by luck,
one time in four. Nothing of it is to be read without its null, directions that fire as often."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from sparselex.base.errors import UserError

LEAST_PRECISION, MOST_RECALL = 0.9, 0.2
"""What makes a latent one of those that a value is split into: it is right where it is active, and it is active on few
of the value's prompts."""

LEAST_LATENTS, MOST_JACCARD, LEAST_UNION = 10, 0.1, 0.8
"""What makes a value split: so many of them, that share little, and that cover it together."""


class SplitLatents(NamedTuple):
    """Latents that are each active on a small part of one value."""

    latents: list[int]
    """Their numbers."""

    jaccard: float
    """Mean over pairs of them of |A and B| / |A or B|, of the prompts on which they are active; 0 of fewer than
    two."""

    recall: float
    """Share of the prompts with the value on which at least one of them is active."""

    covered: Bool[Tensor, " n_value"]
    """Of each prompt with the value whether one of them is."""

    @property
    def is_split(self) -> bool:
        """Whether there are many, that overlap little, and that cover the value."""
        return len(self.latents) >= LEAST_LATENTS and self.jaccard < MOST_JACCARD and self.recall > LEAST_UNION


def split_latents(
    acts: Float[Tensor, "n d_sae"],
    has: Bool[Tensor, " n"],
    *,
    tested: tuple[Float[Tensor, "m d_sae"], Bool[Tensor, " m"]] | None = None,
) -> SplitLatents:
    """The latents into which a value is split.

    Args:
        acts: of every prompt the activations; a latent is active where its own is not 0.
        has: whether a prompt has the value.
        tested: activations and values of other prompts, on which the recall of the union is counted; left out, the
            same prompts, which flatters it.

    Raises `UserError` where all prompts have the value, or none."""
    _check(has)
    fires = acts != 0
    both, n = (fires & has[:, None]).sum(0), fires.sum(0)
    precise = both >= LEAST_PRECISION * n.clamp_min(1)
    few = both <= MOST_RECALL * has.sum()
    latents = (precise & few & (both > 0)).nonzero()[:, 0]
    other, has_it = (fires, has) if tested is None else (tested[0] != 0, tested[1])
    covered = other[:, latents][has_it].any(-1)
    recall = float(covered.float().mean()) if len(covered) else 0.0
    return SplitLatents(latents.tolist(), mean_jaccard(fires[:, latents]), recall, covered)


def mean_jaccard(active: Bool[Tensor, "n m"]) -> float:
    """Mean over pairs of columns of the share of what either has that both have; 0 of fewer than two columns."""
    sets = active.float()
    both, sizes = sets.T @ sets, sets.sum(0)
    each = both / (sizes[:, None] + sizes - both).clamp_min(1)
    n = sets.shape[1]
    return float((each.sum() - each.diagonal().sum()) / (n * (n - 1))) if n > 1 else 0.0


def _check(has: Tensor) -> None:
    if bool(has.all()) or not bool(has.any()):
        raise UserError(
            f"{'All' if bool(has.any()) else 'None'} of {len(has)} prompts have the value.",
            "some that have it and some that have not",
            "draw more prompts, or look at another attribute.",
        )
