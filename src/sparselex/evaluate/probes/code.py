"""Tokens of a run's own text that have a concept of source code by rule, and what is at the site there."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.activations.even import even_rows
from sparselex.base.seeds import generator
from sparselex.evaluate.probes.asked import Asked, Fold, Ints
from sparselex.evaluate.probes.coded import Judged, Site
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.tasks.code_concepts import CODE_CONCEPTS, CODE_KINDS, code_labels
from sparselex.text.corpus import TokenCorpus
from sparselex.text.splits import Split

Labels = Mapping[str, NDArray[np.bool_]]
"""Of each concept whether it holds, token by token."""

_SPLITS: tuple[Split, Split] = ("train", "test")


class CodeTokens(NamedTuple):
    """Tokens of two splits with their labels."""

    positions: Ints
    """`[n]`, into the corpus; those of the training split first."""

    documents: Ints
    """`[n]`, the document of each."""

    labels: dict[str, NDArray[np.bool_]]
    """`[n]` of each concept."""

    n_fit: int
    """How many are of the training split."""

    n_refused: int
    """Documents that are no Python."""

    def of(self, rows: NDArray[np.bool_]) -> "CodeTokens":
        """Some of them."""
        labels = {name: has[rows] for name, has in self.labels.items()}
        n_fit = int(rows[: self.n_fit].sum())
        return self._replace(positions=self.positions[rows], documents=self.documents[rows], labels=labels, n_fit=n_fit)

    def asked(self) -> dict[str, Asked]:
        """Every concept, made on the training split and tested on the test split."""
        return self._asked(np.ones(len(self.positions), dtype=np.bool_), tuple(self.labels))

    def kinds(self) -> dict[str, Asked]:
        """Concepts of which no two hold at once, of tokens of which one does."""
        return self._asked(np.any([self.labels[name] for name in CODE_KINDS], axis=0), CODE_KINDS)

    def _asked(self, among: NDArray[np.bool_], names: Sequence[str]) -> dict[str, Asked]:
        rows = np.flatnonzero(among)
        folds = [Fold(rows[rows < self.n_fit], rows[rows >= self.n_fit])]
        return {name: Asked(CODE_CONCEPTS[name], self.labels[name], self.documents, folds) for name in names}


def code_tokens(corpus: TokenCorpus, config: ProbesConfig) -> CodeTokens:
    """Tokens that are drawn from some rows of the training and of the test split, over many documents."""
    rows = [even_rows(np.asarray(corpus.documents), corpus.row_ranges[split], config.n_rows) for split in _SPLITS]
    owners = np.asarray(corpus.documents)[np.concatenate(rows)]
    known = {int(one): _labels_of(corpus, int(one)) for one in np.unique(owners[owners >= 0])}
    fit, test = (_drawn(corpus, some, known, config, split) for some, split in zip(rows, _SPLITS, strict=True))
    positions = np.concatenate([fit, test])
    documents = np.asarray(corpus.documents).reshape(-1)[positions].astype(np.int64)
    labels = {name: np.zeros(len(positions), dtype=np.bool_) for name in CODE_CONCEPTS}
    for document in np.unique(documents):
        own, places = documents == document, corpus.document_positions(int(document))
        for name, holds in (known[int(document)] or {}).items():
            labels[name][own] = holds[np.searchsorted(places, positions[own])]
    return CodeTokens(positions, documents, labels, len(fit), sum(one is None for one in known.values()))


def read_code(judged: Judged, corpus: TokenCorpus, tokens: CodeTokens, batch_rows: int) -> Site:
    """What is at the site at these tokens, each of them a text of its own; none is left out."""
    rows, columns = np.divmod(tokens.positions, corpus.n_ctx)
    some, places = np.unique(rows, return_inverse=True)
    values = []
    for start in range(0, len(some), batch_rows):
        ids = torch.from_numpy(np.asarray(corpus.tokens[some[start : start + batch_rows]]).astype(np.int64))
        values.append(judged.model.read(ids, [judged.hook])[judged.hook].float().cpu())
    there = torch.cat(values)[torch.from_numpy(places), torch.from_numpy(columns)]
    return Site(there, torch.arange(len(there)), len(there))


def _drawn(
    corpus: TokenCorpus, rows: Ints, known: Mapping[int, Labels | None], config: ProbesConfig, split: Split
) -> Ints:
    """Positions in these rows, ascending, of tokens whose labels are known."""
    owners = np.asarray(corpus.documents)[rows]
    row, column = np.isin(owners, [one for one, labels in known.items() if labels is not None]).nonzero()
    positions = rows[row] * corpus.n_ctx + column
    n = min(config.n_places, len(positions))
    return np.sort(generator(config.seed, "tokens of source code", split).choice(positions, n, replace=False))


def _labels_of(corpus: TokenCorpus, document: int) -> Labels | None:
    """Of each concept whether it holds for each token of a document; None for what is no Python. A token is what its
    first byte is that is no space."""
    try:
        source = corpus.document_bytes(document).decode()
    except UnicodeDecodeError:
        return None
    found = code_labels(source)
    if found is None:
        return None
    pieces = [corpus.vocabulary.token_bytes(token) for token in corpus.document_tokens(document).tolist()]
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    first = starts + [min(len(piece) - len(piece.lstrip()), max(0, len(piece) - 1)) for piece in pieces]
    return {name: holds[np.minimum(first, len(holds) - 1)] for name, holds in found.items()}
