"""ReLU dictionaries with an L1 penalty."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import DictionaryConfig, TrainableDictionary
from sparselex.dictionaries.sparse import Gradients


class ReLUConfig(DictionaryConfig):
    """Configuration of `ReLU`."""

    kind: Literal["relu"] = "relu"
    """Type of dictionary."""

    l1: PositiveFloat = 5.0
    """Weight of the penalty on activation times decoder norm, for a squared error summed over `d_in` and inputs scaled to
    E|x|² = d_in; warmed up over the first 5 % of training."""


class ReLU(TrainableDictionary):
    """ReLU autoencoder with the norm-weighted L1 penalty of Anthropic's April 2024 update.

    Decoder rows start with norm 0.1 and are unconstrained: the penalty counts `act * |decoder row|`, so nothing is gained by
    growing the decoder. Inputs are scaled to E|x|² = d_in (the update scales E|x| to sqrt(d_in); nearly the same).
    """

    config: ReLUConfig

    def __init__(self, config: ReLUConfig, generator: torch.Generator | None = None):
        super().__init__(config, generator, decoder_norm=0.1)

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        return self.pre_acts(x).relu()

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "sparse") -> Codes:
        # Half of all latents are active at first, so the encoder's sparse gradient would cost more than the dense one: always dense.
        acts = self.encode(x)
        with torch.no_grad():
            rows, indices = acts.nonzero(as_tuple=True)
        return Codes.from_pairs(rows, indices, acts[rows, indices], len(x), self.d_sae)
