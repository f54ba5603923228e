"""What is put in a site's place: a dictionary, a control of one, what explanations predict, what a token has on
average."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from sparselex.activations.source import Batch
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.moments import Moments, pair_ids, target_of
from sparselex.explain.predictions import Predictions
from sparselex.explain.records import Explanation
from sparselex.explain.surroundings import Surroundings
from sparselex.text.rows import TokenRows, tokens_at


class Reconstructed(NamedTuple):
    """What stands in place of some tokens' activations."""

    x_hat: Tensor
    """`[n, width]`, of the target."""

    n_active: Tensor
    """`[n]`, latents of each token that are not 0; float64."""


@runtime_checkable
class Subject(Protocol):
    """Whatever is measured in a site's place."""

    def reconstruct(self, batch: Batch, before: Mapping[str, Reconstructed]) -> Reconstructed:
        """Reconstructions of a batch's target; `before` has those of the subjects that come before this one."""
        ...


class Itself(NamedTuple):
    """A dictionary, as it reads the reader's hook."""

    dictionary: Dictionary

    def reconstruct(self, batch: Batch, before: Mapping[str, Reconstructed]) -> Reconstructed:
        x = batch.x.to(self.dictionary.b_dec.device)
        return _decoded(self.dictionary, x, self.dictionary.encode_sparse(x))


class InPlaceOf(NamedTuple):
    """A control of the target itself: on each token it has as many active latents as the subject in whose place it
    stands."""

    dictionary: Dictionary

    control_of: str
    """Name of that subject, which comes before."""

    def reconstruct(self, batch: Batch, before: Mapping[str, Reconstructed]) -> Reconstructed:
        x = target_of(batch).to(self.dictionary.b_dec.device)
        n_active = before[self.control_of].n_active.to(torch.int64)
        return _decoded(self.dictionary, x, self.dictionary.encode_as_sparse(x, n_active))


class AsExplained(NamedTuple):
    """A dictionary's decoder on what explanations predict: the activations themselves are not looked at."""

    dictionary: Dictionary
    predictions: Predictions
    corpus: TokenRows

    def reconstruct(self, batch: Batch, before: Mapping[str, Reconstructed]) -> Reconstructed:
        said = self.predictions.on(Surroundings(self.corpus, batch.positions))
        rows, latents, values = (torch.from_numpy(column).to(self.dictionary.b_dec.device) for column in said)
        values = values.to(self.dictionary.b_dec.dtype)
        codes = Codes.from_pairs(rows, latents, values, len(batch.positions), self.dictionary.d_sae)
        return Reconstructed(self.dictionary.decode_sparse(codes).cpu(), codes.indptr.diff().double().cpu())


def not_spliced(dictionary: Dictionary, explanations: Sequence[Explanation]) -> str:
    """Why what explanations predict cannot stand in a site's place; empty where it can."""
    if not Predictions(explanations).n_latents:
        return "no explanation predicts activations by itself"
    if dictionary.signed:
        return "latents of this dictionary have signs, and explanations predict sizes"
    if dictionary.bypass(torch.zeros(1, dictionary.d_in, device=dictionary.b_dec.device)) is not None:
        return "part of what this dictionary writes bypasses its latents, which explanations are of"
    return ""


class TokenLookup(NamedTuple):
    """The mean of each token over training documents: what is known without any dictionary. One more of it is imagined,
    at the mean of all, so that a token seen once is not taken at its word."""

    moments: Moments
    corpus: TokenRows

    def reconstruct(self, batch: Batch, before: Mapping[str, Reconstructed]) -> Reconstructed:
        tokens = torch.from_numpy(tokens_at(self.corpus, batch.positions)[0])
        deviations, n = self.moments.of_tokens
        x_hat = self.moments.mean + (deviations[tokens] / (n[tokens] + 1)[:, None]).float()
        return Reconstructed(x_hat, torch.ones(len(tokens), dtype=torch.float64))


class PairLookup(NamedTuple):
    """The mean of each token behind each other one, over training documents: the least that rules see, without any
    dictionary. One more of each pair is imagined, as the token is by itself."""

    moments: Moments
    corpus: TokenRows

    def reconstruct(self, batch: Batch, before: Mapping[str, Reconstructed]) -> Reconstructed:
        alone = TokenLookup(self.moments, self.corpus).reconstruct(batch, before)
        tokens, previous = tokens_at(self.corpus, batch.positions)
        _, sums, n = self.moments.of_pairs
        found, known = self.moments.of_pairs.found(pair_ids(tokens, previous, len(self.corpus.vocabulary)))
        places, there = torch.from_numpy(found[known]), torch.from_numpy(known)
        x_hat = alone.x_hat.clone()
        x_hat[there] = (n[places, None] * self.moments.mean + sums[places] + x_hat[there]) / (n[places] + 1)[:, None]
        return alone._replace(x_hat=x_hat)


def _decoded(dictionary: Dictionary, x: Tensor, codes: Codes) -> Reconstructed:
    return Reconstructed(dictionary.reconstruct(x, codes).cpu(), codes.indptr.diff().double().cpu())
