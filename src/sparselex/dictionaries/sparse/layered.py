"""Scores of dictionaries of which each layer reads a site of its own."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.sparse.products import Block, Scorer


class LayeredScores:
    """Scores of all latents where each layer's read columns of their own."""

    def __init__(self, scorers: Sequence[Scorer], parts: Sequence[int], norms: Float[Tensor, " d_sae"]):
        self.norms, self.dtype, self._scorers, self._parts = norms, scorers[0].dtype, scorers, list(parts)
        self._width = len(norms) // len(scorers)

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "n d_in"]) -> Tensor:
        """All scores `[n, d_sae]`, in the scorers' precision."""
        parts = zip(self._scorers, x.split(self._parts, dim=-1), strict=True)
        return torch.cat([scorer(own) for scorer, own in parts], dim=-1)

    def blocks(self, x: Float[Tensor, "n d_in"], *, into: Tensor | None = None) -> Iterator[Block]:
        """The same block by block, layer after layer."""
        written = 0
        for layer, (scorer, own) in enumerate(zip(self._scorers, x.split(self._parts, dim=-1), strict=True)):
            for block in scorer.blocks(own, into=None if into is None else into[written:]):
                yield block._replace(latent=block.latent + layer * self._width)
            written += len(x) * self._width

    @torch.no_grad()
    def at(
        self,
        x: Float[Tensor, "n d_in"],
        rows: Int[Tensor, " nnz"],
        indices: Int[Tensor, " nnz"],
        gradients: Gradients = "auto",
    ) -> Float[Tensor, " nnz"]:
        """The scores at `[rows, indices]`, tokens ascending, in the precision of `x`."""
        none = x.new_zeros(len(indices))
        blocks = Codes.from_pairs(rows, indices, none, len(x), len(self.norms)).blocks(len(self._scorers))
        parts = zip(self._scorers, x.split(self._parts, dim=-1), blocks.places, strict=True)
        return blocks.joined([s.at(own.contiguous(), part.rows, part.indices, gradients) for s, own, part in parts])
