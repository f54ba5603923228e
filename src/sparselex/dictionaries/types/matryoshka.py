"""Matryoshka BatchTopK dictionaries: every prefix of the latents is a dictionary of its own."""

import itertools
from typing import Literal

from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.sparse.products import decode_at
from sparselex.dictionaries.types.batchtopk import BatchTopK, BatchTopKConfig


class MatryoshkaConfig(BatchTopKConfig):
    """Configuration of `Matryoshka`."""

    kind: Literal["matryoshka"] = "matryoshka"  # type: ignore[assignment]
    """Type of dictionary."""

    prefixes: tuple[float, ...] = (1 / 32, 3 / 32, 7 / 32, 15 / 32)
    """Ends of the inner prefixes as shares of all latents, ascending."""

    @model_validator(mode="after")
    def _prefixes_ascend(self) -> "MatryoshkaConfig":
        ends = (0.0, *self.prefixes, 1.0)
        if not all(low < high for low, high in itertools.pairwise(ends)):
            raise ValueError(f"prefixes {self.prefixes} are not ascending shares between 0 and 1")
        return self


class Matryoshka(BatchTopK):
    """BatchTopK whose first latents must also reconstruct alone (Bussmann et al. 2025, arXiv:2503.17547).

    The loss is the squared error of the whole and of each inner prefix, summed. Wide features stay in early latents
    instead of being split and absorbed by later ones.
    """

    config: MatryoshkaConfig

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """Squared errors of the inner prefixes; each group of latents is decoded once and added to what came before."""
        x_hat, loss, start = self.b_dec.expand_as(target), target.new_zeros(()), 0
        # Their numbers among all: a prefix may end inside a process's part.
        latents = codes.indices + self.ranks.latents * self.d_sae
        for share in self.config.prefixes:
            end = max(start + 1, round(share * self.config.d_sae))
            inside = ((latents >= start) & (latents < end)).nonzero().view(-1)
            part = decode_at(codes.at(inside), self.W_dec, self.b_dec.new_zeros(self.d_out))
            x_hat = x_hat + self.ranks.over_latents(part)
            loss = loss + (x_hat - target).square().sum() / len(target)
            start = end
        return self.ranks.share_of(loss)
