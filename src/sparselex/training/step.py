"""One training step as a record that every objective reads."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.trainable import TrainableDictionary


class Step(NamedTuple):
    """What a step computed. A dictionary never assumes that the target is the input."""

    dictionary: TrainableDictionary
    """The dictionary being trained."""

    x: Tensor
    """Inputs `[n, d_in]`, scaled; each token normalised first where the dictionary has a `token_norm`."""

    target: Tensor
    """What is to be reconstructed, `[n, d_out]`, scaled."""

    codes: Codes
    """Codes with gradients."""

    x_hat: Tensor
    """Reconstruction `[n, d_out]`."""

    dead: Tensor
    """Numbers of the latents that count as dead."""

    progress: float
    """Share of training done, from 0 to 1."""

    bypass: Tensor | None = None
    """The part of `x_hat` that reached it past the latents."""

    positions: NDArray[np.int64] | None = None
    """Where in the corpus each token stands: what terms of the loss that run the model on need."""
