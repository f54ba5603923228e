"""Components of a matrix as a dictionary: each a latent, active where it is important."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.dictionary import by_token
from sparselex.dictionaries.importance import importance_gates
from sparselex.dictionaries.kinds import Gradients
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.dictionaries.vectors import unit_rows


class ComponentsConfig(DictionaryConfig):
    """Configuration of `ComponentsDictionary`."""

    kind: Literal["components"] = "components"
    """Type of dictionary."""

    d_out: PositiveInt
    """Width of what the matrix writes."""

    d_gate: PositiveInt = Field(default=4)
    """Hidden units of each component's network of importance."""

    least: float = Field(default=0.1, ge=0, lt=1)
    """Importances at or below this are taken for none."""

    from_sites: ClassVar[tuple[str, ...]] = ("d_in", "d_out")

    @classmethod
    def fields_at(cls, read: Sequence[int], written: Sequence[int], expansion: float | int) -> dict[str, Any]:
        """No sites: it is made of a matrix. Always raises `UserError`."""
        raise UserError(
            "Components of a matrix are not trained on activations.",
            "a type of dictionary that is",
            "take a matrix apart with `sparselex decompose`.",
        )

    @property
    def target_width(self) -> int:
        return self.d_out

    @property
    def only_read(self) -> str:
        return "kind=components"


class ComponentsDictionary(TrainableDictionary):
    """The rank-one components of a matrix (arXiv:2506.20790) as latents: what component c adds to the matrix's product
    where only what is important stays, `g_c(V_c · x) (V_c · x) U_c`.

    An activation is its length with the sign of `V_c · x`, and rows of `W_dec` are the directions of `U_c`. The
    reconstruction is the matrix's output, its bias included, with every component masked by its importance, and those
    left out whose importance is next to nothing. It is made by decomposition of weights, which trains through the whole
    model; here it is read.
    """

    config: ComponentsConfig
    signed = True

    def __init__(self, config: ComponentsConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__()
        self.config, self.ranks = config, ranks
        self.d_in, self.d_sae, self.d_out = config.d_in, config.d_sae, config.d_out
        shape = config.d_sae, config.d_gate
        self.W_read = nn.Parameter(unit_rows(torch.randn(config.d_sae, config.d_in, generator=generator)))
        self.W_dec = nn.Parameter(unit_rows(torch.randn(config.d_sae, config.d_out, generator=generator)))
        self.b_dec = nn.Parameter(torch.zeros(config.d_out))
        self.size = nn.Parameter(torch.ones(config.d_sae))
        self.gate_in = nn.Parameter(torch.randn(shape, generator=generator))
        self.gate_in_bias = nn.Parameter(torch.zeros(shape))
        self.gate_out = nn.Parameter(torch.randn(shape, generator=generator))
        self.gate_out_bias = nn.Parameter(torch.ones(config.d_sae))

    @classmethod
    @torch.no_grad()
    def of(cls, tensors: Mapping[str, Tensor], bias: Float[Tensor, " d_out"] | None) -> "ComponentsDictionary":
        """The dictionary of components as they were found.

        Args:
            tensors: `V [n, d_in]`, `U [n, d_out]` and the networks `gate_in`, `gate_in_bias`, `gate_out` `[n, d_gate]`
                and `gate_out_bias [n]`.
            bias: what the matrix's product has added.
        """
        V, U = tensors["V"], tensors["U"]
        config = ComponentsConfig(
            d_in=V.shape[1], d_sae=V.shape[0], d_out=U.shape[1], d_gate=tensors["gate_in"].shape[1]
        )
        found = cls(config)
        found.W_read.copy_(V)
        found.size.copy_(U.norm(dim=-1))
        found.W_dec.copy_(unit_rows(U))
        found.b_dec.copy_(torch.zeros(config.d_out) if bias is None else bias)
        for name in ("gate_in", "gate_in_bias", "gate_out", "gate_out_bias"):
            getattr(found, name).copy_(tensors[name])
        return found

    @property
    def is_autoencoder(self) -> bool:
        return False

    def importances(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """How important each component is, between 0 and 1; 0 where that is next to nothing (`least`)."""
        return self._importances(x @ self.W_read.T)

    def _importances(self, inner: Tensor) -> Tensor:
        networks = self.gate_in, self.gate_in_bias, self.gate_out, self.gate_out_bias
        g = importance_gates(inner, *networks).clamp(0.0, 1.0)
        return torch.where(g > self.config.least, g, 0.0)

    @by_token
    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_sae"]:
        inner = x @ self.W_read.T
        return self._importances(inner) * inner * self.size

    def encoder_rows(self) -> Float[Tensor, "d_sae d_in"]:
        return self.W_read.detach()

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        return self.encode_sparse(x)

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        self.b_dec.copy_(target.mean(0, dtype=torch.float64))

    @torch.no_grad()
    def fold(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        lengths = self.W_dec.norm(dim=-1).clamp_min(torch.finfo(self.W_dec.dtype).tiny)
        self.W_dec.div_(lengths[:, None])
        self.size.mul_(lengths / (target_scales[0]))
        self.b_dec.div_(target_scales[0])
        # Networks and sizes are of V · x in scaled inputs: the row takes the scale, they stay.
        self.W_read.mul_(x_scales[0])
