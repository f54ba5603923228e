"""What a dictionary offers besides when its parameters are found by gradient."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.kinds import Gradients, type_of
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.products import decode_at
from sparselex.dictionaries.table import kind_of
from sparselex.dictionaries.vectors import unit_rows

Select = Callable[[Tensor, int, Tensor], Tensor]
"""`torch.index_select`, or what stands for it."""


class TrainableDictionary(Dictionary):
    """A dictionary whose parameters are found by gradient. Trained on scaled sites (E|x|² = width), then folded
    once."""

    unit_decoder: bool = False
    """Whether training keeps decoder rows at unit norm, their gradients orthogonal to them."""

    resample_shares: tuple[float, ...] = ()
    """Shares of training after which dead latents are resampled."""

    lr_factors: ClassVar[Mapping[str, float]] = {}
    """Learning rate of single parameters, relative to the others'."""

    latent_dims: ClassVar[Mapping[str, int]] = {}
    """The dimension along which each tensor is divided when processes share the latents, a list of tensors under its
    own name; empty where they cannot."""

    pressure: float = 1.0
    """What a type multiplies the coefficient of its sparsity by, where it has one: training moves it when L0 is to
    stay where it is. A type that aims at a number of latents needs none."""

    ranks: Ranks = ALONE
    """The processes that train this dictionary together. Those that share the latents each make their own: `d_sae` is
    their number here, and `config.d_sae` that of all."""

    def latent_dim(self, name: str) -> int | None:
        """The dimension along which the tensor `name` of the state is divided; None where each process has all of
        it."""
        return self.latent_dims.get(name.split(".")[0])

    @property
    def is_autoencoder(self) -> bool:
        """Whether the target is the input."""
        return True

    def training_tokens(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
        """Raw tokens as training reads and, in an autoencoder, reconstructs them, before they are scaled."""
        return x

    def raw_reconstruction(
        self, x_hat: Float[Tensor, "n d_out"], x: Float[Tensor, "n d_in"]
    ) -> Float[Tensor, "n d_out"]:
        """What `x_hat`, a reconstruction of `training_tokens(x)` whose scale was taken out again, is in raw values."""
        return x_hat

    @property
    def parts_in(self) -> tuple[int, ...]:
        """Widths of the sites in the input, each scaled by itself."""
        return (self.d_in,)

    @property
    def parts_out(self) -> tuple[int, ...]:
        """Widths of the sites in the target."""
        return self.parts_in if self.is_autoencoder else (self.d_out,)

    @property
    def aux_width(self) -> int:
        """Width of which AuxK takes half as its number of latents."""
        return self.d_in

    def site_scales(self) -> Float[Tensor, " n_parts"]:
        """What brings raw activations of each site of the target to the site's own units; of a single site 1, since
        everything is in its raw units."""
        return self.b_dec.new_ones(len(self.parts_out))

    def part_norms(self) -> Float[Tensor, "n_parts d_sae"]:
        """Norm of each latent's decoder row at each site, in units of the site's own scale where there are several."""
        return self.W_dec.norm(dim=-1)[None]

    def row_sizes(self) -> Float[Tensor, " d_sae"]:
        """Length of what a unit activation of each latent writes: the decoder row's norm; for several sites the sum of
        its norms there (Anthropic's crosscoders, October 2024; arXiv:2504.02922 for BatchTopK)."""
        norms = self.part_norms()
        return norms[0] if len(norms) == 1 else norms.sum(0)

    @abstractmethod
    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        """Codes of a training batch, with gradients; may select over the whole batch, and may list places of value 0
        that pass a pseudo-gradient."""

    def training_decode(self, codes: Codes, *, gradients: Gradients = "auto") -> Float[Tensor, "n d_out"]:
        """`decode_sparse` of a training batch, by the way that `gradients` names; of all latents, wherever they lie."""
        if self.ranks.n_latents == 1:
            return decode_at(codes, self.W_dec, self.b_dec, gradients=gradients)
        here = decode_at(codes, self.W_dec, torch.zeros_like(self.b_dec), gradients=gradients)
        return self.ranks.over_latents(here) + self.b_dec

    def reconstruct_from_dead(
        self, x: Float[Tensor, "n d_in"], dead: Int[Tensor, " n_dead"], k_aux: int, select: Select = torch.index_select
    ) -> Float[Tensor, "n d_out"] | None:
        """What the `k_aux` of these latents with the largest positive pre-activations of each token give together,
        without bias, with gradients for their rows of encoder and decoder alone; None for a type that revives its dead
        in another way. Weights are taken with `select`."""
        return None

    @torch.no_grad()
    def revive(
        self,
        dead: Int[Tensor, " n_dead"],
        x: Float[Tensor, "n_dead d_in"],
        target: Float[Tensor, "n_dead d_out"],
        mean: Float[Tensor, " d_in"],
    ) -> list[tuple[Tensor, int]]:
        """Point each of the latents `dead` at a token that was drawn for it.

        Args:
            x, target: what each of these tokens reads, and what the latents are to give for it; scaled.
            mean: of the inputs of the whole batch.

        Returns the parameters of which rows were replaced, each with its dimension of latents: Adam is to forget them.
        Here the decoder row becomes the direction of the target less `b_dec`, on top of which latents write; a type
        with other tensors sets those as well.
        """
        self.W_dec[dead] = unit_rows(target - self.b_dec)
        return [(self.W_dec, 0)]

    def saelens(self) -> dict[str, Any] | None:
        """What SAELens' `cfg.json` says of an autoencoder with these weights, as they lie on disk, on one site: its
        name for them as `architecture`, and fields that belong to that; None where it has no such thing, or other
        tensors for it."""
        return None

    def take_scales(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        """Be told the factors that training multiplies each of `parts_in` and `parts_out` by: before `prepare`, and
        again when training goes on. For a type that is configured in units of raw activations; the others need no
        such thing."""

    def noted(self) -> dict[str, Any]:
        """What a type notes of its training in the manifest, as JSON values: what it was configured with in other
        units, say."""
        return {}

    @abstractmethod
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        """Take starting values from a sample of the scaled data, before the first step; one and the same sample for all
        processes."""

    def penalty(self, codes: Codes, target: Float[Tensor, "n d_out"], progress: float) -> Float[Tensor, ""]:
        """The type's own terms of the loss, mean over tokens; `target` is what the latents are to give, without the
        bypass, and `progress` the share of training done."""
        return target.new_zeros(())

    @abstractmethod
    def fold(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        """Take over the scales of the sites and the decoder's norms into the weights: same reconstructions of raw
        activations.

        Trained on sites multiplied by these factors, one for each of `parts_in` and `parts_out`; afterwards the
        dictionary reads and gives raw activations, and an activation is the length of its contribution (`row_sizes`).
        """


def new_dictionary(
    config: DictionaryConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE
) -> TrainableDictionary:
    """A freshly initialised dictionary; of processes that share its latents, the part of this one."""
    return type_of(kind_of(config))(config, generator, ranks)
