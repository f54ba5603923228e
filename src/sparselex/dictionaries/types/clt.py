"""Cross-layer transcoders: latents read one layer and write to it and to all layers after it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from sparselex.base.bounds import Amount, Count
from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.config import DictionaryConfig, check_k
from sparselex.dictionaries.dictionary import by_token
from sparselex.dictionaries.kinds import Gradients, SelectionDtype
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.sparse.layered import LayeredScores
from sparselex.dictionaries.sparse.products import Scorer, decode_at, encode_at
from sparselex.dictionaries.sparse.selection import batch_codes
from sparselex.dictionaries.trainable import Select, TrainableDictionary
from sparselex.dictionaries.vectors import largest_positive, spread, unit_rows


class CrossLayerConfig(DictionaryConfig):
    """Configuration of `CrossLayerTranscoder`."""

    kind: Literal["clt"] = "clt"
    """Type of dictionary."""

    d_out: PositiveInt
    """Width of all sites written together."""

    layers_in: tuple[PositiveInt, ...]
    """Widths of the sites read, one for each layer, from the first layer to the last."""

    layers_out: tuple[PositiveInt, ...]
    """Widths of the sites written, as many."""

    k: Count = 32
    """Latents kept per token over all layers together, on average over a training batch."""

    selection: SelectionDtype = "float32"
    """Precision in which training chooses latents."""

    threshold_rate: Amount = 0.1
    """Rate at which the inference threshold follows the smallest kept contribution of each batch."""

    thresholds: Literal["one", "each"] = "one"
    """Whether one threshold decides for all latents, as training here finds it, or each has its own: the JumpReLU of
    other projects' files."""

    from_sites: ClassVar[tuple[str, ...]] = ("d_in", "d_out", "layers_in", "layers_out")
    in_order: ClassVar[bool] = True

    @classmethod
    def fields_at(cls, read: Sequence[int], written: Sequence[int], expansion: float | int) -> dict[str, Any]:
        """Of several sites and as many targets; each layer has the same number of latents."""
        n = len(read)
        if n < 2 or len(written) != n:
            raise UserError(
                "A cross-layer transcoder (clt) reads several sites and writes as many, and this run has others.",
                "two or more hooks joined by +, and as many targets",
                "begin the run with, for example, --hook blocks.0.hook_mlp_in+blocks.1.hook_mlp_in "
                "--target blocks.0.hook_mlp_out+blocks.1.hook_mlp_out.",
            )
        sizes = {"d_in": sum(read), "d_out": sum(written), "d_sae": n * max(1, round(sum(read) * expansion / n))}
        return sizes | {"layers_in": tuple(read), "layers_out": tuple(written)}

    @property
    def target_width(self) -> int:
        return self.d_out

    @property
    def only_read(self) -> str:
        return "thresholds=each" if self.thresholds == "each" else ""

    @property
    def n_blocks(self) -> int:
        return len(self.layers_in)

    @property
    def n_weights(self) -> int:
        """A latent reads one site, and writes that one and all later ones."""
        written = sum(width * number for number, width in enumerate(self.layers_out, 1))
        return self.d_sae // (len(self.layers_in) or 1) * (self.d_in + written)

    @model_validator(mode="after")
    def _layers_fit(self) -> "CrossLayerConfig":
        n = len(self.layers_in)
        if n < 2 or len(self.layers_out) != n:
            raise ValueError(
                f"layers_in={self.layers_in} and layers_out={self.layers_out} must name as many sites, and two or more"
            )
        if sum(self.layers_in) != self.d_in or sum(self.layers_out) != self.d_out:
            raise ValueError(
                f"layers_in={self.layers_in} must sum to d_in={self.d_in}, layers_out={self.layers_out} to "
                f"d_out={self.d_out}"
            )
        if self.d_sae % n:
            raise ValueError(f"d_sae={self.d_sae} cannot be shared out evenly among {n} layers")
        check_k(self.k, self.d_sae)
        return self


class CrossLayerTranscoder(TrainableDictionary):
    """Cross-layer transcoder (Ameisen et al. 2025, Circuit Tracing) with the selection of BatchTopK (arXiv:2412.06410).

    With L layers of n latents each, latents `l n` to `(l + 1) n - 1` are `f_l = act(W_enc[l].T @ x_l + b_enc[l])`, and
    site m becomes `sum over l <= m of f_l @ W_dec[l -> m] + b_dec[m]`. `W_enc[l] [d_l, n]` lies in memory latent by
    latent. `W_write[l]` holds all that layer l writes, `[n, widths of sites l to L - 1]`, so that one sum over rows
    decodes a latent at all its sites; the interface's `W_dec [d_sae, d_out]`, most of it zeros, is made only when asked
    for.

    The `n k` largest contributions of a batch of n tokens are kept, those of all layers together; afterwards one
    threshold decides. A contribution is the activation times the sum of the row's norms at the sites it writes, each in
    units of the site's own scale. The paper's activation is a JumpReLU with a tanh penalty: we keep a number of latents
    instead, which leaves one setting in place of four.
    """

    config: CrossLayerConfig
    part_scales: Tensor
    threshold: Tensor
    latent_dims: ClassVar[Mapping[str, int]] = {"W_enc": 1, "W_write": 0, "b_enc": 0}

    def __init__(self, config: CrossLayerConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE):
        super().__init__()
        self.ranks = ranks
        self.config, self.d_in, self.d_out = config, config.d_in, config.d_out
        self.d_sae = config.d_sae // ranks.n_latents
        self.n_layers = len(config.layers_in)
        self.n_in_layer, n = self.d_sae // self.n_layers, config.d_sae // self.n_layers
        tails = [sum(config.layers_out[layer:]) for layer in range(self.n_layers)]
        read = [unit_rows(ranks.randn(n, width, generator)) for width in config.layers_in]
        written = [unit_rows(ranks.randn(n, width, generator)) for width in tails]
        self.W_enc = nn.ParameterList([nn.Parameter(rows.T) for rows in read])
        self.W_write = nn.ParameterList([nn.Parameter(rows) for rows in written])
        self.b_enc = nn.Parameter(torch.zeros(self.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(self.d_out))
        self.register_buffer("part_scales", torch.ones(self.n_layers))
        shape = (self.d_sae,) if config.thresholds == "each" else ()
        self.register_buffer("threshold", torch.zeros(shape, dtype=torch.float64))

    @property
    def is_autoencoder(self) -> bool:
        return False

    @property
    def parts_in(self) -> tuple[int, ...]:
        return self.config.layers_in

    @property
    def parts_out(self) -> tuple[int, ...]:
        return self.config.layers_out

    @property
    def aux_width(self) -> int:
        """The widest site read: AuxK's number is meant relative to the width of one layer, not to that of all
        together."""
        return max(self.parts_in)

    @property
    def W_dec(self) -> Float[Tensor, "d_sae d_out"]:  # type: ignore[override]
        """All decoder rows at all sites, zeros where a latent does not write; made anew each time."""
        return torch.cat([F.pad(rows, (self.d_out - rows.shape[1], 0)) for rows in self.W_write])

    def encoder_rows(self) -> Float[Tensor, "d_sae d_in"]:
        """At all sites, zeros where a latent does not read; made anew each time."""
        starts = [sum(self.parts_in[:layer]) for layer in range(self.n_layers)]
        parts = zip(self.W_enc, starts, strict=True)
        return torch.cat([F.pad(W.detach().T, (start, self.d_in - start - W.shape[0])) for W, start in parts])

    def site_scales(self) -> Float[Tensor, " n_parts"]:
        return self.part_scales.detach()

    def directions(self) -> Float[Tensor, "d_sae d_out"]:
        return self.W_dec.detach() * spread(self.part_scales.tolist(), self.parts_out, self.b_dec)

    def part_norms(self) -> Float[Tensor, "n_parts d_sae"]:
        norms = []
        for layer, rows in enumerate(self.W_write):
            sites = torch.stack([part.norm(dim=-1) for part in rows.split(self.parts_out[layer:], dim=-1)])
            norms.append(F.pad(sites, (0, 0, layer, 0)))
        return torch.cat(norms, dim=-1) * self.part_scales[:, None]

    @by_token
    def encode(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_sae"]:
        pre = torch.cat(list(self._pre_acts(x)), dim=-1)
        return torch.where(pre > self._cut(), pre, 0)

    def encode_sparse(self, x: Float[Tensor, "n d_in"]) -> Codes:
        parts, cuts = [], self._cut().split(self.n_in_layer)
        for pre, cut in zip(self._pre_acts(x), cuts, strict=True):  # one layer's pre-activations in memory at a time
            rows, indices = (pre > cut).nonzero(as_tuple=True)
            parts.append(Codes.from_pairs(rows, indices, pre[rows, indices], len(x), self.n_in_layer))
        return Codes.side_by_side(parts)

    def decode(self, acts: Float[Tensor, "*n d_sae"]) -> Float[Tensor, "*n d_out"]:
        parts = zip(acts.split(self.n_in_layer, dim=-1), self.W_write, strict=True)
        return self._summed(part @ rows for part, rows in parts) + self.b_dec

    def decode_sparse(self, codes: Codes) -> Float[Tensor, "n d_out"]:
        return self.training_decode(codes)

    def training_codes(self, x: Float[Tensor, "n d_in"], *, gradients: Gradients = "auto") -> Codes:
        codes = batch_codes(self.scorer, x, self.config, self.threshold, gradients=gradients, ranks=self.ranks)
        blocks, found = codes.blocks(self.n_layers), []
        parts = blocks.cut(codes.values.detach())
        for part, own, weights, bias in zip(parts, self._sites(x), self.W_enc, self._biases(), strict=True):
            tied = encode_at(own, weights, bias, own.new_zeros(own.shape[1]), part, gradients=gradients)
            found.append(tied.values)
        return codes.with_values(blocks.joined(found))

    def training_decode(self, codes: Codes, *, gradients: Gradients = "auto") -> Float[Tensor, "n d_out"]:
        parts, divided = codes.blocks(self.n_layers).cut(codes.values), self.ranks.n_latents > 1

        def written() -> Iterator[Tensor]:
            for layer, (part, rows) in enumerate(zip(parts, self.W_write, strict=True)):
                bias = self.b_dec if not (layer or divided) else self.b_dec.new_zeros(rows.shape[1])
                yield decode_at(part, rows, bias, gradients=gradients)

        here = self._summed(written())
        return self.ranks.over_latents(here) + self.b_dec if divided else here

    def scorer(self, dtype: torch.dtype | None = None) -> LayeredScores:
        """What gives each latent's contribution length by one product for each layer."""
        sizes = self.row_sizes()
        parts = zip(self.W_enc, sizes.split(self.n_in_layer), self._biases(), strict=True)
        scorers = [Scorer(rows.T, size, bias * size, dtype or rows.dtype) for rows, size, bias in parts]
        return LayeredScores(scorers, self.parts_in, sizes)

    def reconstruct_from_dead(
        self, x: Float[Tensor, "n d_in"], dead: Int[Tensor, " n_dead"], k_aux: int, select: Select = torch.index_select
    ) -> Float[Tensor, "n d_out"]:
        owners = (dead // self.n_in_layer).bincount(minlength=self.n_layers).tolist()
        chosen = [part - layer * self.n_in_layer for layer, part in enumerate(dead.split(owners))]
        layers = zip(self._sites(x), self.W_enc, self._biases(), chosen, strict=True)
        pre = torch.cat([torch.addmm(bias[rows], own, select(W, 1, rows)) for own, W, bias, rows in layers], dim=-1)
        acts = largest_positive(pre, k_aux, self.ranks).split(owners, dim=-1)
        return self._summed(part @ select(W, 0, rows) for part, W, rows in zip(acts, self.W_write, chosen, strict=True))

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "n d_in"], target: Float[Tensor, "n d_out"]) -> None:
        """Start the decoder bias at the mean of the target, the encoders centred on the data by `b_enc`, and each
        decoder row where the sites that it writes go on average when the latent's pre-activation rises."""
        self.b_dec.copy_(target.mean(0, dtype=torch.float64))
        start = 0
        for layer, (own, W, bias) in enumerate(zip(self._sites(x), self.W_enc, self._biases(), strict=True)):
            mean = own.mean(0, dtype=torch.float64).to(x.dtype)
            bias.copy_(-(mean @ W))
            self.W_write[layer].copy_(unit_rows(W.T @ ((own - mean).T @ (target - self.b_dec)[:, start:])))
            start += self.parts_out[layer]

    @torch.no_grad()
    def fold(self, x_scales: Sequence[float], target_scales: Sequence[float]) -> None:
        sizes = self.row_sizes().clamp_min(torch.finfo(self.b_dec.dtype).tiny)
        target_scale = spread(target_scales, self.parts_out, self.b_dec)
        self.b_dec.div_(target_scale)
        self.b_enc.mul_(sizes)
        for layer, size in enumerate(sizes.split(self.n_in_layer)):
            written = self.W_write[layer]
            written.div_(size[:, None]).div_(target_scale[self.d_out - written.shape[1] :])
            self.W_enc[layer].mul_(size).mul_(x_scales[layer])
        self.part_scales.mul_(spread(target_scales, [1] * self.n_layers, self.b_dec))

    def _cut(self) -> Tensor:
        return (self.threshold / self.row_sizes().double()).to(self.b_dec.dtype)

    def _sites(self, x: Tensor) -> list[Tensor]:
        """What each layer reads, rows unbroken in memory for the sums over them."""
        return [part.contiguous() for part in x.split(self.parts_in, dim=-1)]

    def _biases(self) -> tuple[Tensor, ...]:
        return self.b_enc.split(self.n_in_layer)

    def _pre_acts(self, x: Tensor) -> Iterator[Tensor]:
        for own, W, bias in zip(self._sites(x), self.W_enc, self._biases(), strict=True):
            yield torch.addmm(bias, own, W)

    def _summed(self, parts: Iterable[Tensor]) -> Tensor:
        """The sum `[n, d_out]` of what each layer writes: to its own site and all after it, side by side."""
        done: list[Tensor] = []
        rest: Tensor | None = None
        for width, part in zip(self.parts_out, parts, strict=True):
            rest = part if rest is None else rest + part
            own, rest = rest.split((width, rest.shape[-1] - width), dim=-1)  # no later layer writes here
            done.append(own)
        return torch.cat(done, dim=-1)
