"""Compare the dictionaries of two runs."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.compare.build import Compares, compare
from sparselex.atlas.compare.records import Compared
from sparselex.atlas.compare.words import Spoken
from sparselex.atlas.config import CompareConfig
from sparselex.base.errors import UserError
from sparselex.base.progress import progress
from sparselex.base.workspace import Workspace
from sparselex.evaluate.report import write_report
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.vectors import Vectors
from sparselex.explain.keys import KeyTable
from sparselex.explain.pairs import called_by, common_explainers, explained, texts_of
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.recipes.run import Run

MOST_TOKENS = 48
"""Tokens of the encoder that are read of an explanation: a long sentence, or the dozen strongest entries of a rule. Its
time goes by them."""

NO_ENCODER = "no encoder was named"


def compare_runs(
    workspace: Workspace, run: str, other: str, config: CompareConfig, to: Path, inputs: dict[str, str]
) -> Compared:
    """Open both runs and compare them. Raises like `atlas.compare.build.compare`."""
    first, second = Run.open(workspace, run), Run.open(workspace, other)
    shared = _space(first) == _space(second)
    store = ExplanationStore(workspace.database)
    speaks = StoredWords(store, first.index, second.index, config.encoder, first.config.model.device)
    found = compare(_side(first, shared), _side(second, shared), config, to, inputs=inputs, speaks=speaks)
    if workspace.report.exists():
        write_report(workspace)
    return found


def _space(run: Run) -> tuple[str, tuple[str, ...], int]:
    """The model and the places that a run's directions lie in, and their width: models of one id are one model."""
    index = run.index
    return index.manifest.inputs["model"], tuple(map(str, index.sites.written)), run.dictionary.d_out


def _side(run: Run, shared: bool) -> Compares:
    dictionary = run.dictionary
    rows = dictionary.directions().cpu().float().numpy() if shared else None
    return Compares(run.name, run.index, None if rows is None else np.ascontiguousarray(rows), dictionary.signed)


class StoredWords:
    """What the explanations of a workspace say of latents of two indexes (`atlas.compare.words.Speaks`).

    Args:
        store: the explanations.
        a, b: the indexes.
        encoder: the sentence encoder, as `EmbedConfig` names it; None for none.
        device: where it computes.
    """

    def __init__(self, store: ExplanationStore, a: FeatureIndex, b: FeatureIndex, encoder: str | None, device: str):
        self.explainers = common_explainers(store, a.id, b.id)
        self._store, self._both = store, (a, b)
        # Rules are held against the same tokens: those that the first index counted.
        self._table = KeyTable(a.counted_tokens("test")) if a.corpus.id == b.corpus.id else None
        self._vectors = _Vectors(encoder, device)

    def of(self, explainer: str, left: NDArray[np.int64], right: NDArray[np.int64]) -> Spoken:
        """What an explainer says of the latents `left` of the one and `right` of the other."""
        said = [explained(self._store, index.id, explainer) for index in self._both]
        known: dict[str, int] = {}
        texts = texts_of(said[0], left, known), texts_of(said[1], right, known)
        vectors = self._vectors.of([*known])
        called = None
        if self._table is not None:
            one, other = called_by(said[0], left, self._table), called_by(said[1], right, self._table)
            called = (one, other) if one is not None and other is not None else None
        return Spoken(texts, vectors, called, missing=self._vectors.missing)


class _Vectors:
    """Sentence embeddings of texts, where there is an encoder."""

    def __init__(self, encoder: str | None, device: str):
        self._known, self.missing = None, NO_ENCODER
        if encoder is None:
            return
        try:
            self._known, self.missing = Vectors(EmbedConfig(encoder=encoder, most_tokens=MOST_TOKENS), device), ""
        except UserError as error:  # all else is compared without it, and says so
            self.missing = f"{error.given} {error.todo}".rstrip(".")

    def of(self, texts: list[str]) -> NDArray[np.float32] | None:
        """`[n, width]`, of length 1; None without an encoder."""
        if self._known is None:
            return None
        with progress("explanations", len(set(texts)), "texts") as bar:
            return self._known.of(texts, bar.advance)
