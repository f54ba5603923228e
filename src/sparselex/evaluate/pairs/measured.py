"""Jacobians of a pair over test tokens, summed by document."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.activations.live import Reader
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.causal.jacobians import Active, Jacobians, LatentMlp
from sparselex.dictionaries.side_by_side import SideBySide
from sparselex.evaluate.model_features.jacobian import HELD
from sparselex.evaluate.pairs.records import THRESHOLDS
from sparselex.lm.mlps import Formula
from sparselex.training.pairs import TrainedPair, reads_of, writes_of

_MOMENTS = ("s1", "s2", "s3", "s4")
_ABOVE = tuple(f"above {one:g}" for one in THRESHOLDS)

COLUMNS = ("tokens", "entries", *_ABOVE, *_MOMENTS, "held", "size", "x", "y")
"""What is summed by document: tokens with a Jacobian that is not 0; entries, those above each threshold, the first four
moments of normalised entries; the share of entries of each token that holds `HELD` of their sum; sizes of raw ones;
active latents before the MLP and behind it."""

_TOKENS = 256
"""Tokens whose Jacobians are held at a time."""


class Sums(NamedTuple):
    """Of one pair, by document."""

    own: NDArray[np.float64]
    """`[n_documents, len(COLUMNS)]`."""

    shuffled: NDArray[np.float64]
    """The same with what latents write before the MLP exchanged among those that are alive."""


@torch.no_grad()
def jacobian_sums(
    reader: Reader, mlp: Formula, pairs: Mapping[str, TrainedPair], rows: NDArray[np.int64], seed: int
) -> dict[str, Sums]:
    """Sums over the counted tokens of test rows, for each of several pairs of the same sites of the same model; the
    documents are those of the rows, ascending."""
    owners = np.asarray(reader.corpus.documents)
    documents = np.unique(owners[rows])
    documents = documents[documents >= 0]
    found = {name: _PairSums(mlp, pair, len(documents), seed) for name, pair in pairs.items()}
    with progress("jacobians", len(rows), "rows") as bar:
        for batch in reader.checked(rows, "test"):
            owner = np.searchsorted(documents, owners.reshape(-1)[batch.positions])
            for start in range(0, len(batch.x), _TOKENS):
                part = slice(start, start + _TOKENS)
                for one in found.values():
                    one.add(batch.x[part], owner[part])
            bar.advance(len(np.unique(batch.positions // reader.corpus.n_ctx)))
    return {name: Sums(*one.sums) for name, one in found.items()}


class _PairSums:
    """Sums of one pair."""

    def __init__(self, mlp: Formula, pair: TrainedPair, n_documents: int, seed: int):
        self._pair: SideBySide = pair.dictionary
        before, behind = self._pair.each
        self._mlp, self._ratio = mlp.to(self._pair.b_dec), pair.scales[1] / pair.scales[0]
        writes, reads = writes_of(before), reads_of(behind)
        order = torch.from_numpy(generator(seed, "pair", "shuffled").permutation(len(writes)))
        self._latent = [LatentMlp.of(self._mlp, rows, reads) for rows in (writes, writes[order.to(writes.device)])]
        self.sums = [np.zeros((n_documents, len(COLUMNS))) for _ in range(2)]

    def add(self, x: Tensor, owner: NDArray[np.int64]) -> None:
        """Add some tokens, and the places of their documents."""
        codes = self._pair.encode_sparse(x.to(self._pair.b_dec))
        source, later = (Active.of(one) for one in self._pair.codes_of(codes))
        x_hat = self._pair.columns(self._pair.decode_sparse(codes))[0]
        for latent, into in zip(self._latent, self.sums, strict=True):
            found = of_tokens(latent.jacobians(x_hat, source, later), self._ratio)
            for number, column in enumerate(found.T.cpu().numpy()):
                into[:, number] += np.bincount(owner, column, len(into))


def of_tokens(found: Jacobians, ratio: float = 1.0) -> Tensor:
    """`[n, len(COLUMNS)]` of each token, float64; zeros where every entry is 0. `ratio` brings entries to units in
    which both sites have E|x|² = width."""
    sizes = found.entries.double().abs().flatten(1)
    entries, n = found.entries.double().flatten(1), found.there.flatten(1).sum(1).double()
    length = entries.norm(dim=1)
    known = (length > 0).double()
    unit = entries / length.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    above = [(unit.abs() > one).sum(1).double() for one in THRESHOLDS]
    moments = [unit.pow(power).sum(1) for power in (1, 2, 3, 4)]
    ordered = sizes.sort(dim=1, descending=True).values.cumsum(1) if sizes.shape[1] else sizes
    below = (ordered < HELD * sizes.sum(1, keepdim=True)).sum(1).double()
    active = [found.there.any(dim).sum(1).double() for dim in (1, 2)]
    columns = [torch.ones_like(n), n, *above, *moments, (below + 1) / n.clamp_min(1), ratio * sizes.sum(1), *active]
    return torch.stack(columns, dim=1) * known[:, None]
