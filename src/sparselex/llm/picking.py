"""Which token a model of this process writes next."""

import torch
from torch import Tensor

from sparselex.llm.records import Request


class Pick:
    """The next token of one answer: the likeliest, or one that is drawn at the question's temperature by a generator of
    its own, so that what is drawn does not depend on what is answered beside it."""

    def __init__(self, request: Request):
        self._temperature = request.temperature
        self._generator = torch.Generator().manual_seed(request.seed or 0)

    def __call__(self, logits: Tensor) -> int:
        """A token by its logits `[n_vocab]`."""
        if not self._temperature:
            return int(logits.argmax())
        # The hottest and the coldest stay numbers: the largest logit is nought before it is divided.
        shifted = (logits.double() - logits.max()).cpu() / self._temperature
        return int(torch.multinomial(shifted.softmax(-1), 1, generator=self._generator))
