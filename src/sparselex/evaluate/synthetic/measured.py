"""One dictionary on held-out samples of known features: everything that figures are computed from."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.known.draw import Active
from sparselex.activations.known.source import Known, KnownFeatures
from sparselex.base.errors import UserError
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.synthetic.counts import counted
from sparselex.evaluate.synthetic.matching import Matching, candidates, match

Floats = NDArray[np.float64]

Encode = Callable[[Known], Codes]
"""What codes a sample; a dictionary's own encoder where nothing else is said."""


class HeldOut(NamedTuple):
    """The samples that every dictionary is measured on."""

    source: KnownFeatures
    """What they were drawn from."""

    samples: Sequence[Known]
    """Each is a unit of the intervals."""

    n_true: Floats
    """`[n_features]`, tokens in which each feature is active."""

    @property
    def n_seen(self) -> int:
        """Features that are active at all."""
        return int((self.n_true > 0).sum())

    @property
    def n_tokens(self) -> int:
        """Tokens of all samples."""
        return sum(len(sample.x) for sample in self.samples)


class Measured(NamedTuple):
    """What was summed over the held-out samples, each sum by sample."""

    n_pairs: int
    """Pairs that there could be: of latents and features seen, as many as there are of the fewer."""

    matching: Matching
    """Which latent stands for which feature; dead latents for none."""

    alive: NDArray[np.bool_]
    """`[d_sae]`, latents that are active at all."""

    latent_cosines: Floats
    """`[d_sae]`, the largest cosine of each latent with a feature."""

    nearest: NDArray[np.int64]
    """`[d_sae]`, that feature."""

    feature_cosines: Floats
    """`[n_features]`, the largest cosine of each feature that is seen with a latent that is alive; NaN of others."""

    counts: Floats
    """`[n_samples, 9, d_sae]`, the `Counts` of each sample."""

    n_tokens: Floats
    """`[n_samples]`."""

    n_entries: Floats
    """`[n_samples]`, active latents of all tokens."""

    n_true: Floats
    """`[n_samples]`, active features of all tokens."""

    errors: Floats
    """`[n_samples]`, squared errors of reconstruction."""

    moments: Floats
    """`[n_samples, 1 + d_in]`, squares of the activations and their sum."""


def held_out(source: KnownFeatures, n_samples: int) -> HeldOut:
    """The first held-out samples of a source. Raises `UserError` where no feature is active in any of them."""
    samples = [source.held_out(number) for number in range(n_samples)]
    if not any(len(sample.truth.rows) for sample in samples):
        raise UserError(
            f"No feature is active in {n_samples} held-out samples of {source.batch_size} tokens.",
            "tokens with features",
            "raise l0, or take more or larger samples.",
        )
    counts = [np.bincount(sample.truth.features, minlength=source.config.n_features) for sample in samples]
    return HeldOut(source, samples, np.sum(counts, axis=0).astype(np.float64))


@torch.no_grad()
def measure(dictionary: Dictionary, held: HeldOut, encode: Encode | None = None) -> Measured:
    """Code every sample, match the latents that are alive with features by direction, and count."""
    encode = encode or (lambda sample: dictionary.encode_sparse(sample.x))
    sizes = dictionary.W_dec.norm(dim=-1)
    codes = [encode(sample) for sample in held.samples]
    errors = [_error(dictionary, one, sample.x) for one, sample in zip(codes, held.samples, strict=True)]
    active = [_lengths(one, sizes) for one in codes]
    alive = np.bincount(np.concatenate([one.features for one in active]), minlength=dictionary.d_sae) > 0
    return _matched(dictionary, held, active, alive, np.array(errors))


def _matched(
    dictionary: Dictionary, held: HeldOut, active: Sequence[Active], alive: NDArray[np.bool_], errors: Floats
) -> Measured:
    n_features, living = held.source.config.n_features, torch.from_numpy(np.flatnonzero(alive))
    found = candidates(dictionary.W_dec[living], held.source.directions, signed=dictionary.signed)
    matching = _spread_out(match(found, signed=dictionary.signed), alive)
    truths = [sample.truth for sample in held.samples]
    counts = [
        np.stack(counted(one, truth, matching.feature, matching.sign, n_features))
        for one, truth in zip(active, truths, strict=True)
    ]
    return Measured(
        n_pairs=min(dictionary.d_sae, held.n_seen),
        matching=matching,
        alive=alive,
        latent_cosines=_put(found.of_latents, alive),
        nearest=_put(found.nearest, alive),
        feature_cosines=np.where(held.n_true > 0, found.of_features, np.nan),
        counts=np.stack(counts),
        n_tokens=np.array([len(sample.x) for sample in held.samples], dtype=np.float64),
        n_entries=np.array([len(one.rows) for one in active], dtype=np.float64),
        n_true=np.array([len(truth.rows) for truth in truths], dtype=np.float64),
        errors=errors,
        moments=np.stack([_moments(sample.x) for sample in held.samples]),
    )


def _error(dictionary: Dictionary, codes: Codes, x: Tensor) -> float:
    return float((dictionary.reconstruct(x, codes).double() - x.double()).square().sum())


def _moments(x: Tensor) -> Floats:
    wide = x.double()
    return torch.cat([wide.square().sum()[None], wide.sum(0)]).numpy()


def _lengths(codes: Codes, sizes: Tensor) -> Active:
    """The entries of codes that are not 0, as lengths of what they write."""
    on = codes.values != 0
    values = (codes.values * sizes[codes.indices])[on].double()
    return Active(codes.rows[on].numpy(), codes.indices[on].long().numpy(), values.numpy())


def _spread_out(found: Matching, alive: NDArray[np.bool_]) -> Matching:
    """The matching of the living as one of all."""
    feature = np.full(len(alive), -1)
    feature[alive] = found.feature
    sign = np.ones(len(alive))
    sign[alive] = found.sign
    return Matching(feature, _put(found.cosine, alive), sign)


def _put(values: NDArray, alive: NDArray[np.bool_]) -> NDArray:
    """Values of the living as values of all, 0 of the dead."""
    out = np.zeros(len(alive), dtype=values.dtype)
    out[alive] = values
    return out
