"""Training that has diverged, noticed before anything is made of it."""

import math
from pathlib import Path

import torch

from sparselex.base.errors import UserError
from sparselex.dictionaries.trainable import TrainableDictionary


def check_step(step: int, loss: float, gradient_norm: float, lr: float, log: Path) -> None:
    """Raise `UserError` for a loss or a gradient that is no number.

    Before Adam's step: one such gradient would turn every weight into NaN, and a BatchTopK dictionary of NaN selects
    nothing and reports a finite loss from then on.
    """
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        raise UserError(
            f"Training diverged at step {step}: loss {loss:.4g}, gradient norm {gradient_norm:.4g}.",
            "a finite loss and gradient",
            f"lower the learning rate (its peak is {lr:.3g}); the log so far is {log}.",
        )


def check_weights(dictionary: TrainableDictionary, lr: float, log: Path) -> None:
    """Raise `UserError` for weights that are no numbers: behind the last step no loss would show what it did."""
    bad = [name for name, tensor in dictionary.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise UserError(
            f"Training diverged in its last step: {', '.join(bad)} hold numbers that are not finite.",
            "finite weights",
            f"lower the learning rate (its peak is {lr:.3g}); the log so far is {log}.",
        )
