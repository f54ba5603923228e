"""delphi's cache becomes a run that can be read, explained and judged: its rows are the corpus, its activations the
index. No model is needed, and none is asked for."""

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint
from sparselex.base.runs import RunCard
from sparselex.base.sites import Hook, Mask, Sites
from sparselex.base.staging import stage
from sparselex.base.vocabulary import Vocabulary
from sparselex.base.workspace import Workspace
from sparselex.convert.delphi_cache import Cache, read_cache
from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.features.elsewhere import KIND, Stated, write_stated
from sparselex.features.index import FeatureIndex
from sparselex.lm.config import ModelConfig
from sparselex.lm.vocabularies import vocabulary_of
from sparselex.recipes.config import RunConfig
from sparselex.recipes.dashboards.names import public_name
from sparselex.recipes.dashboards.playback import Played, playback
from sparselex.recipes.dashboards.taking import Taken, check_free
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.corpus import TokenCorpus
from sparselex.text.documents import Document

NUMBERS = "none"
"""Given for a tokenizer where there is none: tokens are then shown as their numbers."""

MOST_TOGETHER, FEWEST_DIVIDED = 16, 100
"""Neighbouring rows that share a split at most, for they are often of one text; and how many such blocks there must be
for a division into train, validation and test, of which each would else be in danger of being empty."""


class CachedRows:
    """The rows of a cache and what is active on them, for `Playback`; a tokenizer for just these."""

    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    adds_bos = False

    def __init__(self, cache: Cache, vocabulary: Vocabulary):
        self._cache, self.vocabulary = cache, vocabulary
        self.n_texts, self.n_ctx = cache.tokens.shape
        self.d_sae = cache.d_sae
        self.id = fingerprint([_digest(cache.tokens), len(vocabulary)])
        self.entries_id = fingerprint([_digest(part) for part in (cache.places, cache.latents, cache.values)])
        self._ends = np.searchsorted(cache.places, np.arange(self.n_texts * self.n_ctx + 1))

    @property
    def together(self) -> int:
        """Rows in a document."""
        return max(1, min(MOST_TOGETHER, self.n_texts // FEWEST_DIVIDED))

    @property
    def is_divided(self) -> bool:
        """Whether there are enough documents for three splits."""
        return self.n_texts >= FEWEST_DIVIDED

    def documents(self) -> Iterable[Document]:
        """Blocks of rows, which come tokenized."""
        for start in range(0, self.n_texts, self.together):
            rows = self._cache.tokens[start : start + self.together]
            yield Document(f"rows {start} to {start + len(rows) - 1}", "", ids=rows.reshape(-1).tolist())

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """No text comes untokenized. Raises `UserError` for one."""
        if texts:
            raise UserError("A text was to be tokenized for a cache.", "the cache's own rows", "use a run of a model.")
        return []

    def by_row(self, corpus: TokenCorpus) -> dict[bytes, int]:
        """The number of every row of their corpus, by its tokens."""
        return self._numbers

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        """The number of every row, by its tokens; of equal ones the first on which something is active, for a cache may
        hold rows that were never read."""
        n_active = np.diff(self._ends[:: self.n_ctx])
        # Of two the later is kept: those that are to be found come last.
        order = np.lexsort((-np.arange(self.n_texts), n_active > 0))
        return {self._cache.tokens[number].tobytes(): int(number) for number in order}

    def n_otherwise(self) -> int:
        """Rows with the tokens of another one on which something else is active: they are shown as that one."""
        shown, found = self._numbers, 0
        if len(shown) == self.n_texts:
            return 0
        for number, row in enumerate(self._cache.tokens):
            other = shown[row.tobytes()]
            found += other != number and self._row(number) != self._row(other)
        return found

    def codes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Activations by place: where each place's begin, their latents, and their values."""
        cache = self._cache
        return torch.from_numpy(self._ends), torch.from_numpy(cache.latents), torch.from_numpy(cache.values)

    def stated(self) -> dict[int, Stated]:
        """How dense each latent is over the whole cache, and its largest activation."""
        cache, n_tokens = self._cache, self.n_texts * self.n_ctx
        counts, largest = np.bincount(cache.latents, minlength=cache.d_sae), np.zeros(cache.d_sae)
        np.maximum.at(largest, cache.latents, np.abs(cache.values))
        return {
            int(latent): Stated(density=counts[latent] / n_tokens, largest=float(largest[latent]))
            for latent in np.flatnonzero(counts)
        }

    def _row(self, number: int) -> tuple[bytes, bytes, bytes]:
        start, stop = self._ends[[number * self.n_ctx, (number + 1) * self.n_ctx]]
        places = self._cache.places[start:stop] - number * self.n_ctx
        return places.tobytes(), self._cache.latents[start:stop].tobytes(), self._cache.values[start:stop].tobytes()


def take_cache(workspace: Workspace, run: str, source: Path, *, tokenizer: str = "", hookpoint: str = "") -> Taken:
    """Read delphi's cache of one hookpoint as a run of the workspace.

    Args:
        workspace: the workspace.
        run: the run that it becomes.
        source: the folder of the hookpoint, or one of results.
        tokenizer: a model on this machine or a Hugging Face name whose tokenizer made the tokens, or `none`; left out,
            the model that the cache names, if it lies on this machine.
        hookpoint: of several the one that is meant.

    Raises `UserError` for what `read_cache` refuses, for a tokenizer that cannot be had or has fewer tokens than the
    text names, and for a run of that name that was made otherwise.
    """
    check_free(workspace, run)
    cache = read_cache(source, hookpoint)
    rows = CachedRows(cache, _vocabulary(cache, tokenizer))
    if not len(cache.values):
        raise UserError(f"{cache.folder} has no activation.", "a cache with activations", "give another folder.")
    left_out = {
        "activations of 0": cache.n_zero,
        "rows that stand there twice, with other activations": rows.n_otherwise(),
    }
    taken = Taken(
        run=run,
        source=public_name(str(source.absolute())),
        format="delphi",
        model=public_name(cache.model) or "unnamed",
        dictionary=cache.hookpoint,
        n_features=len(np.unique(cache.latents)),
        n_texts=rows.n_texts,
        n_read=rows.n_texts * rows.n_ctx,
        n_explanations=0,
        left_out={what: n for what, n in left_out.items() if n},
    )
    _write(workspace, taken, cache, rows)
    return taken


def _write(workspace: Workspace, taken: Taken, cache: Cache, rows: CachedRows) -> FeatureIndex:
    shares = (0.8, 0.1, 0.1) if rows.is_divided else (1.0, 0.0, 0.0)
    config = CorpusConfig(source=taken.source, n_ctx=rows.n_ctx, bos="never", shares=shares, copies="together")
    folder = workspace.corpora / fingerprint([config.to_json(), rows.id])
    corpus = build_corpus(rows.documents(), rows, config, folder, text_id=rows.id)
    sites = Sites(hooks=(_hook(cache.hookpoint),), mask=Mask(norm_outlier=0))
    settings = RunConfig(model=ModelConfig(name=taken.model), text=config, hook=str(sites), mask=sites.mask)
    card = RunCard(name=taken.run, model=taken.model, sites=sites, corpus=folder.name)
    workspace.keep(card, {KIND: taken.source} | settings.to_json())
    model, played = playback(taken.model, rows, corpus), Played(rows)
    inputs = {"dashboards": rows.entries_id, "corpus": corpus.id}
    index = build_index(model, played, corpus, sites, IndexConfig(), workspace.run(taken.run) / "index", inputs=inputs)
    with stage(workspace.run(taken.run) / KIND, KIND, taken, {"index": index.id}) as staging:
        if not staging.made:
            write_stated(staging.folder, rows.stated(), rows.d_sae)
            staging.finish(taken.to_json() | {"files": {}})
    return index


def _hook(hookpoint: str) -> Hook:
    try:
        return Hook(hookpoint)
    except UserError:
        return Hook(f"module:{hookpoint}")


def _vocabulary(cache: Cache, tokenizer: str) -> Vocabulary:
    most = int(cache.tokens.max())
    if tokenizer == NUMBERS:
        return Vocabulary([f"#{number} ".encode() for number in range(most + 1)])
    found = vocabulary_of(tokenizer) if tokenizer else vocabulary_of(cache.model, only_here=True)
    if most not in found:
        raise UserError(
            f"{cache.folder} has the token {most}, and {tokenizer or cache.model!r} has {len(found):,} of them.",
            "the tokenizer with which the cache was made",
            "name it with --tokenizer.",
        )
    return found


def _digest(array: NDArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
