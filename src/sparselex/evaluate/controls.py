"""Control dictionaries of an evaluation: directions that nothing was trained to find, measured in the dictionary's
place."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sparselex.base.seeds import derive
from sparselex.dictionaries.controls.basis import Basis
from sparselex.dictionaries.controls.given import Given
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.kinds import CONTROLS
from sparselex.evaluate.moments import Moments


def made_from(name: str, moments: Moments, controls: Mapping[str, Dictionary]) -> str:
    """What a control was made from, in words: how strong it is depends on that."""
    said = f"the control is made from {moments.n_rows:,} training rows"
    control = controls.get(name)
    if isinstance(control, Basis) and control.config.code == "pursuit":
        said += f", its codes found in {control.config.n_steps} steps of pursuit"
    return said


def control_dictionaries(
    names: Sequence[str],
    mean: Tensor,
    covariance: Tensor,
    sample: Callable[[], Tensor],
    *,
    d_sae: int,
    k: int,
    n_steps: int,
) -> dict[str, Dictionary]:
    """The named controls with `k` active latents (or as many as there are dimensions) where they are not told how many
    a token has.

    Overcomplete ones have `d_sae` directions and draw them from a fixed seed. `sample` gives the activations `[n,
    d_in]` that `mean` and `covariance` were taken from; only some controls ask for them. Raises `UserError` where a
    control cannot be made.
    """
    found: dict[str, Dictionary] = {}
    for name in names:
        generator = torch.Generator().manual_seed(derive(0, "control", name))
        given = Given(mean, covariance, sample, d_sae, min(k, len(mean)), generator, n_steps)
        found[name] = CONTROLS.get(name)(given)
    return found
