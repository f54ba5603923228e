"""What a model has at a site in some texts, and what several kinds of coordinates make of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from sparselex.base.bos import Bos, bos_of
from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.probes.logistic import Floats
from sparselex.evaluate.probes.records import LATENTS
from sparselex.evaluate.supervised.meaning import at_rates
from sparselex.lm.subject import SubjectModel

_TOKENS = 1024
"""Tokens that are coded at a time."""

_MOST_RANDOM = 2048
"""Random directions, where a dictionary has more latents."""


def _all_of(values: Float[Tensor, "n d"]) -> Bool[Tensor, " n"]:
    return torch.ones(len(values), dtype=torch.bool)


class Judged(NamedTuple):
    """A dictionary at its site."""

    model: SubjectModel
    """What it was trained on."""

    hook: Hook
    """The site that it reads and writes."""

    dictionary: Dictionary
    """What encodes."""

    bos: Bos = "auto"
    """Whether rows begin with BOS, by the rule of its corpus."""

    within: Callable[[Float[Tensor, "n d"]], Bool[Tensor, " n"]] = _all_of
    """Which values the dictionary was trained on: others, of norms far from those of most tokens, are left out."""


class Site(NamedTuple):
    """What is at a site at the tokens of some texts."""

    values: Float[Tensor, "n_tokens d"]
    """Token by token, float32."""

    owner: Int[Tensor, " n_tokens"]
    """The text that each token is of, by number."""

    n_texts: int
    """How many there are."""

    n_left_out: int = 0
    """Tokens that are none of those that the dictionary was trained on."""

    def pooled(self) -> Floats:
        """`[n_texts, d]`, the mean over the tokens of each text."""
        sums = torch.zeros(self.n_texts, self.values.shape[1], dtype=torch.float64)
        sums.index_add_(0, self.owner, self.values.double())
        counts = torch.bincount(self.owner, minlength=self.n_texts).clamp_min(1)
        found: Floats = (sums / counts[:, None]).numpy()
        return found


class Columns(NamedTuple):
    """What one kind of coordinates makes of texts."""

    values: csr_array
    """`[n_texts, m]`, means over the tokens of each text."""

    directions: Floats
    """`[m, d]`, what one unit of each adds at the site."""

    rates: Floats
    """`[m]`, share of the texts in which each is active at some token."""

    @classmethod
    def always(cls, values: Floats, directions: Floats) -> "Columns":
        """Coordinates `[n_texts, m]` that are active everywhere."""
        return cls(csr_array(values), directions, np.ones(values.shape[1]))


def read_texts(judged: Judged, texts: Sequence[str], batch_rows: int) -> Site:
    """What is at the site in each text, BOS left out. Raises `UserError` for a text that is longer than the model
    reads."""
    begins = bos_of(judged.model.tokenizer, judged.bos)
    before = [] if begins is None else [begins]
    rows = [[*before, *row] for row in judged.model.tokenizer.encode_batch(list(texts))]
    if max(map(len, rows)) > judged.model.n_ctx:
        said = f"A text has {max(map(len, rows))} tokens of {judged.model.name}."
        raise UserError(said, f"at most {judged.model.n_ctx}, which is what it reads", "probe another model.")
    values, owners = list[Tensor](), list[Tensor]()
    for start in range(0, len(rows), batch_rows):
        part = rows[start : start + batch_rows]
        n_ctx = max(map(len, part))
        tokens = torch.tensor([[*row, *[row[-1]] * (n_ctx - len(row))] for row in part])
        read = judged.model.read(tokens, [judged.hook])[judged.hook].float().cpu()
        columns = torch.arange(n_ctx)
        own = (columns >= len(before)) & (columns < torch.tensor([len(row) for row in part])[:, None])
        values.append(read[own])
        owners.append(own.nonzero()[:, 0] + start)
    there, owner = torch.cat(values), torch.cat(owners)
    inside = judged.within(there)
    return Site(there[inside], owner[inside], len(rows), int((~inside).sum()))


def coordinates(site: Site, dictionaries: Mapping[str, Dictionary], seed: torch.Generator) -> dict[str, Columns]:
    """What each dictionary makes of some texts, and beside the first, `latents`, neurons, principal components and
    random directions that are active on as many tokens as its latents."""
    found = {name: latents_of(dictionary, site) for name, dictionary in dictionaries.items()}
    x = site.pooled()
    centred = x - x.mean(0)
    basis = np.linalg.svd(centred, full_matrices=False)[2]
    found["neurons"] = Columns.always(centred, np.eye(x.shape[1]))
    found["pca"] = Columns.always(centred @ basis.T, basis)
    found["random"] = _random(site, dictionaries[LATENTS], seed)
    return found


@torch.no_grad()
def latents_of(dictionary: Dictionary, site: Site) -> Columns:
    """What a dictionary makes of some texts."""
    acts = _codes(dictionary, site.values)
    return _pooled(acts, site, dictionary.W_dec.detach().double().cpu().numpy())


def _codes(dictionary: Dictionary, values: Float[Tensor, "n d"]) -> csr_array:
    parts = list[csr_array]()
    device, dtype = dictionary.W_dec.device, dictionary.W_dec.dtype
    from_ = values.split(_TOKENS)
    for part in from_:
        codes = dictionary.encode_sparse(part.to(device, dtype)).cpu()
        places = (codes.rows.numpy(), codes.indices.numpy())
        parts.append(csr_array((codes.values.double().numpy(), places), shape=(len(part), dictionary.d_sae)))
    return _stacked(parts)


def _stacked(parts: Sequence[csr_array]) -> csr_array:
    data = np.concatenate([part.data for part in parts])
    columns = np.concatenate([part.indices for part in parts])
    starts = np.cumsum([0, *(part.nnz for part in parts)])
    ends = [part.indptr[1:] + start for part, start in zip(parts, starts, strict=False)]
    indptr = np.concatenate([[0], *ends])
    return csr_array((data, columns, indptr), shape=(len(indptr) - 1, parts[0].shape[1]))


def _pooled(acts: csr_array, site: Site, directions: Floats) -> Columns:
    owner = site.owner.numpy()
    counts = np.bincount(owner, minlength=site.n_texts)
    mean = csr_array((1 / counts[owner], (owner, np.arange(len(owner)))), shape=(site.n_texts, len(owner)))
    values = csr_array(mean @ acts)
    values.eliminate_zeros()
    rates = np.bincount(values.indices, minlength=values.shape[1]) / site.n_texts
    return Columns(values, directions, rates)


@torch.no_grad()
def _random(site: Site, dictionary: Dictionary, seed: torch.Generator) -> Columns:
    """How far values lie beyond a threshold along random directions. The thresholds are such that each is passed by as
    many tokens as one of the latents is active on."""
    x = site.values
    rates = torch.from_numpy(_firing(_codes(dictionary, x)))
    living = rates[rates > 0].clamp_max(1 - 1 / max(2, len(x)))
    if not len(living):
        living = torch.full((1,), 1 / max(2, len(x)))
    drawn = living[torch.randint(len(living), (min(dictionary.d_sae, _MOST_RANDOM),), generator=seed)]
    rows, thresholds = at_rates(x, drawn.float(), seed)
    along = (x - x.mean(0)) @ rows.T
    # Of tokens that lie at one place all are above a threshold or none: where that is all, the lowest one counts from.
    beyond = (along - torch.maximum(thresholds, along.amin(0))).clamp_min(0)
    return _pooled(csr_array(beyond.double().numpy()), site, rows.double().numpy())


def _firing(acts: csr_array) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.bincount(acts.indices[acts.data != 0], minlength=acts.shape[1]) / acts.shape[0]
    return found
