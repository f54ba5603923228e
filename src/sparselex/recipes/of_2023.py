"""The recipe of Towards Monosemanticity (Bricken et al. 2023), scaled down by ratio: what `--recipe 2023` sets.

What the paper has in steps of its million is here a share of the steps; docs/dictionaries.md has every line of it
beside what we do.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

KIND = "relu"
"""The type of dictionary that the recipe is of."""

RESAMPLE_SHARES = (0.025, 0.05, 0.075, 0.1)
"""Steps 25,000, 50,000, 75,000 and 100,000 of a million."""

SILENT, FEWEST_SILENT_TOKENS, LONGEST_SILENT = 0.5, 5_000_000, 0.9
"""A latent is resampled that was silent over half of the time between two resamplings: 12,500 steps of a million. In a
short run that would be a few thousand tokens, over which what is rare is silent too: it is then as many tokens as there
are since the resampling before, up to five million; a tenth less, as batches are not all of one size."""

RESAMPLE_BATCHES = 100
"""819,200 of the paper's tokens, in batches."""

MOST_RESAMPLE_SHARE = 0.05
"""The most that those may be of the tokens that are trained on: in a run of a few hundred steps the draw needs no more
than some thousand tokens for each of the latents that it is for."""

BATCHES, FEWEST_STEPS = (512, 1024, 2048, 4096, 8192), 4_000
"""Vectors in a step: the most that leave as many steps, up to the paper's 8,192. Its million steps are what makes it
work: with weights drawn apart the penalty first drives everything down, and what is left has to grow. With 512 a
dictionary was after 124,000 tokens where it was after 450,000 with 2,048 (docs/lab-log.md)."""

RATE, OF_LATENTS = 4e-4, 2**14
"""Rate of Adam for so many latents; it goes by one over the square root of their number. The paper prints none and says
that a lower one finds more. Ours for short runs is up to five times the rule for long ones, which AuxK makes good for;
here that left most of 4,096 latents silent after half a million tokens, and this, twice that rule, 2 %
(docs/lab-log.md)."""

START_TOKENS = 16_384
"""Tokens of which the geometric median and the scale are taken, about."""

OPTIONS: dict[str, Any] = {
    "convention": "2023",
    "l1": 0.004,
    "l1_convention": "raw",
    "warmup_share": 0.0,
    "resample_shares": list(RESAMPLE_SHARES),
    "resample_to": "input",
    "start": "kaiming",
    "b_dec_start": "median",
}
"""Fields of the dictionary."""


def settings_of_2023(n_tokens: int, d_sae: int, resample_shares: Sequence[float] = RESAMPLE_SHARES) -> dict[str, Any]:
    """Fields of the training: no AuxK, no warm-up, no decay and no clipping, of which the paper has none; batch and
    rate; which latents are resampled, and among how many tokens."""
    batch_size = max([size for size in BATCHES if n_tokens >= FEWEST_STEPS * size], default=BATCHES[0])
    times = sorted({0.0, *(resample_shares or RESAMPLE_SHARES)})
    between = n_tokens * min(later - earlier for earlier, later in pairwise(times))
    silent = max(SILENT * between, min(FEWEST_SILENT_TOKENS, LONGEST_SILENT * between))
    among = min(RESAMPLE_BATCHES * batch_size, MOST_RESAMPLE_SHARE * n_tokens)
    return {
        "batch_size": batch_size,
        "lr": RATE * (OF_LATENTS / d_sae) ** 0.5,
        "calibration_batches": max(8, -(-START_TOKENS // batch_size)),
        "warmup_share": 0.0,
        "decay_share": 0.0,
        "clip": None,
        "auxk_alpha": 0.0,
        "resample_after_tokens": max(1, round(silent)),
        "resample_tokens": max(1, round(among)),
    }
