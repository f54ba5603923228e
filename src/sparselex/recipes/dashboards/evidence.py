"""A run's evidence as dashboards, a batch of latents at a time."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.convert.dashboard import NO_BARS, Aligned, Bars, Dashboard, DashboardExample, DashboardExplanation
from sparselex.explain.records import Score
from sparselex.explain.store import ExplanationStore
from sparselex.features.records import Example, FeatureRecord, TokenEffect
from sparselex.features.rows import RowTexts
from sparselex.features.stream import written_to_stream
from sparselex.recipes.run import Run

N_ALIGNED, N_BINS = 3, 50
"""Coordinates of a direction that are named, and bins of a histogram of logits: as many as SAEDashboard has."""


class Evidence:
    """What a run knows of its latents. Raises `UserError` where it has no dictionary, or no index of it."""

    def __init__(self, run: Run):
        run.manifest("index")
        self.run, self.index = run, run.index
        self.rows = RowTexts(self.index.corpus)
        self._directions = run.dictionary.W_dec.detach().float()
        self._store = ExplanationStore(run.workspace.database)

    def of(self, latents: Sequence[int]) -> list[Dashboard]:
        """The dashboards of some latents. Raises `UserError` for a number that is no latent."""
        records = [self.index.record(latent) for latent in latents]
        bars = self._logit_bars(latents)
        return [self._dashboard(record, logits) for record, logits in zip(records, bars, strict=True)]

    def _dashboard(self, record: FeatureRecord, logits: Bars) -> Dashboard:
        latent = record.latent
        return Dashboard(
            latent=latent,
            density=record.density,
            largest=abs(_shorter(float(self.index.table["max"][latent]))),
            examples=self._examples(record),
            activations=_bars(record),
            logits=logits,
            raised=self._tokens(record.logits_top),
            lowered=self._tokens(record.logits_bottom),
            aligned=self._aligned(latent),
            explanations=self._explanations(latent),
        )

    def _examples(self, record: FeatureRecord) -> list[DashboardExample]:
        positions, values = self.index.column(record.latent)
        top = max((abs(one.value) for one in record.top), default=0.0)
        found = self._texts(record.top, positions, values, -1, _shorter(top), -1)
        n_tokens = max(1, self.index.n_tokens["train"])
        for part in record.intervals:
            share = part.n / n_tokens
            found += self._texts(part.examples, positions, values, _shorter(part.low), _shorter(part.high), share)
        return found

    def _texts(
        self,
        examples: Iterable[Example],
        positions: NDArray[np.int64],
        values: NDArray[np.float32],
        low: float,
        high: float,
        share: float,
    ) -> list[DashboardExample]:
        n_ctx, first, found = self.index.corpus.n_ctx, self.rows.first, []
        for one in examples:
            row, column = divmod(one.position, n_ctx)
            tokens = self.rows.of(row)
            begin = row * n_ctx + first
            start, stop = np.searchsorted(positions, [begin, begin + len(tokens)])
            acts = [0.0] * len(tokens)
            for place, value in zip((positions[start:stop] - begin).tolist(), values[start:stop].tolist(), strict=True):
                acts[place] = _shorter(value)
            found.append(DashboardExample(tokens, acts, column - first, low, high, share))
        return found

    def _tokens(self, effects: list[TokenEffect]) -> tuple[list[str], list[float]]:
        vocabulary = self.index.corpus.vocabulary
        return [vocabulary.text(one.token) for one in effects], [_shorter(one.value) for one in effects]

    def _aligned(self, latent: int) -> Aligned:
        row = self._directions[latent]
        values, places = row.topk(min(N_ALIGNED, len(row)))
        shares = values.abs() / row.abs().sum().clamp(min=1e-30)
        return Aligned(places.tolist(), _all_shorter(values), _all_shorter(shares))

    def _logit_bars(self, latents: Sequence[int]) -> list[Bars]:
        """Histograms of what each latent adds to the logits of all tokens; empty without a direct path to them."""
        if self._written is None:
            return [NO_BARS] * len(latents)
        rows, write, unembed = self._written
        directions = rows[list(latents)]
        logits = (directions if write is None else directions @ write) @ unembed
        return histograms(logits, N_BINS)

    @cached_property
    def _written(self) -> tuple[Tensor, Tensor | None, Tensor] | None:
        model, n_vocab = self.run.model, len(self.index.corpus.vocabulary)
        try:
            found = written_to_stream(model, self._directions.to(model.device), self.index.sites)
        except UserError:
            return None
        return found.rows, found.write, found.unembed[:, :n_vocab]

    def _explanations(self, latent: int) -> list[DashboardExplanation]:
        scores = self._store.scores(self.index.id, latent=latent)
        return [
            DashboardExplanation(
                text=said.text,
                author=said.explainer,
                notes="; ".join(_told(score) for score in scores if score.explainer == said.explainer),
            )
            for said in self._store.of_latent(self.index.id, latent)
            if said.status == "explained"
        ]


def histograms(values: Tensor, n_bins: int) -> list[Bars]:
    """`[n, m]` numbers as `n` histograms of equal bins from each row's least to its largest, by the bins' centres."""
    low, high = values.min(dim=1).values, values.max(dim=1).values
    width = ((high - low) / n_bins).clamp(min=1e-30)
    place = ((values - low[:, None]) / width[:, None]).long().clamp(0, n_bins - 1)
    place += n_bins * torch.arange(len(values), device=values.device)[:, None]
    counts = torch.bincount(place.reshape(-1), minlength=n_bins * len(values)).reshape(-1, n_bins)
    centres = low[:, None] + width[:, None] * (torch.arange(n_bins, device=values.device) + 0.5)
    return [Bars(_all_shorter(at), n.tolist()) for at, n in zip(centres, counts, strict=True)]


def _bars(record: FeatureRecord) -> Bars:
    if record.histogram is None:
        return NO_BARS
    edges = np.array(record.histogram.edges)
    return Bars([_shorter(centre) for centre in ((edges[1:] + edges[:-1]) / 2).tolist()], record.histogram.counts)


def _told(score: Score) -> str:
    """A score as a sentence's part, with what it is held against."""
    interval = "" if score.ci_low is None else f", 95 % {score.ci_low:.3g} to {score.ci_high:.3g}"
    null = "" if score.null is None else f", null {score.null:.3g}"
    return f"{score.scorer} {score.metric} {score.value:.3g}{interval}{null}, n {score.n}"


def _shorter(value: float) -> float:
    """A number to six digits: more are noise, and half of a file."""
    return float(f"{value:.6g}")


def _all_shorter(values: Tensor) -> list[float]:
    return [_shorter(value) for value in values.tolist()]
