"""Two autoencoders that are trained together, each of its own part of what is read."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.dictionary import by_token
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.trainable import Select, TrainableDictionary


class SideBySide(TrainableDictionary):
    """Autoencoders of one site each as a dictionary of all their sites side by side: each reads and writes its own
    columns, its latents behind those of the ones before it. No type of its own: what is kept are the parts."""

    def __init__(self, parts: Sequence[TrainableDictionary]):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._widths, self._sizes = [part.d_in for part in parts], [part.d_sae for part in parts]
        self.d_in = self.d_out = sum(self._widths)
        self.d_sae = sum(self._sizes)
        self.config = DictionaryConfig(d_in=self.d_in, d_sae=self.d_sae)

    @property
    def each(self) -> list[TrainableDictionary]:
        """The single dictionaries."""
        return [part for part in self.parts if isinstance(part, TrainableDictionary)]

    @property
    def W_dec(self) -> Float[Tensor, "d_sae d_out"]:  # type: ignore[override]
        """Most of it zeros, and made only when it is asked for."""
        return torch.block_diag(*(part.W_dec for part in self.each))

    @property
    def b_dec(self) -> Float[Tensor, " d_out"]:  # type: ignore[override]
        """The biases of all sites."""
        return torch.cat([part.b_dec for part in self.each])

    @property
    def parts_in(self) -> tuple[int, ...]:
        return tuple(self._widths)

    @property
    def aux_width(self) -> int:
        return max(self._widths)

    def columns(self, x: Float[Tensor, "n d_in"]) -> tuple[Float[Tensor, "n _"], ...]:
        """What each reads, or writes."""
        return x.split(self._widths, dim=-1)

    def codes_of(self, codes: Codes) -> list[Codes]:
        """The codes of each, from those of all."""
        found, start = [], 0
        for size in self._sizes:
            own = ((codes.indices >= start) & (codes.indices < start + size)).nonzero()[:, 0]
            rows, latents = codes.rows[own], codes.indices[own] - start
            found.append(Codes.from_pairs(rows, latents, codes.values[own], len(codes), size))
            start += size
        return found

    @by_token
    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_sae"]:
        return torch.cat([part.encode(own) for part, own in self._with(x)], dim=-1)

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        return Codes.side_by_side([part.encode_sparse(own) for part, own in self._with(x)])

    def decode(self, acts: Float[Tensor, "*n d_sae"]) -> Float[Tensor, "*n d_out"]:
        own = acts.split(self._sizes, dim=-1)
        return torch.cat([part.decode(one) for part, one in zip(self.each, own, strict=True)], dim=-1)

    def decode_sparse(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        own = zip(self.each, self.codes_of(codes), strict=True)
        return torch.cat([part.decode_sparse(one) for part, one in own], dim=-1)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        return Codes.side_by_side([part.training_codes(own, gradients=gradients) for part, own in self._with(x)])

    def training_decode(self, codes: Codes, *, gradients: Gradients = "auto") -> Float[Tensor, "n d_out"]:
        own = zip(self.each, self.codes_of(codes), strict=True)
        return torch.cat([part.training_decode(one, gradients=gradients) for part, one in own], dim=-1)

    def reconstruct_from_dead(
        self, x: Float[Tensor, "n d_in"], dead: Int[Tensor, " n_dead"], k_aux: int, select: Select = torch.index_select
    ) -> Float[Tensor, "n d_out"] | None:
        found, start = list[Tensor](), 0
        for part, own in self._with(x):
            mine = dead[(dead >= start) & (dead < start + part.d_sae)] - start
            said = part.reconstruct_from_dead(own, mine, k_aux, select) if len(mine) else None
            found.append(torch.zeros_like(own) if said is None else said)
            start += part.d_sae
        return torch.cat(found, dim=-1)

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        for part, own, wanted in zip(self.each, self.columns(x), self.columns(target), strict=True):
            part.prepare(own, wanted)

    @torch.no_grad()
    def fold(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        for part, scale, target_scale in zip(self.each, x_scales, target_scales, strict=True):
            part.fold([scale], [target_scale])

    def _with(self, x: Tensor) -> list[tuple[TrainableDictionary, Tensor]]:
        return list(zip(self.each, self.columns(x), strict=True))
