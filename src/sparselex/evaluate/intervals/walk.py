"""Hold explanations against test examples of every size of activation: Bricken et al. (2023), "Towards
Monosemanticity", activation-interval sampling and automated interpretability of activations, by rules in place of a
language model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.intervals import effective_units, even_groups
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.staging import stage
from sparselex.evaluate.intervals.config import IntervalsConfig
from sparselex.evaluate.intervals.figures import Answers, Said, curve, figures_of
from sparselex.evaluate.intervals.records import (
    FILE,
    KIND,
    N_BINS,
    IntervalAnswers,
    IntervalPopulation,
    SampledLatent,
)
from sparselex.evaluate.intervals.sampling import (
    Consistent,
    Floats,
    consistent,
    mixture,
    sampled,
    spearman,
    windows,
)
from sparselex.evaluate.rows import rows_to_judge
from sparselex.evaluate.ruled import Ruled, another_of
from sparselex.explain.keys import KeyTable
from sparselex.features.counted import Column, CountedTokens

_N_GROUPS, _NO_GROUP = 20, -1
"""Groups of test documents that are left out in turn, and none of them."""

_STEP = 16
"""Latents between two words of progress."""


def sample_intervals(
    own: Ruled,
    controls: Mapping[str, Callable[[], Ruled]],
    config: IntervalsConfig,
    to: Path,
    inputs: Mapping[str, str],
) -> None:
    """Write the artifact `to`. `controls` open the run's controls, by name, one after another. Raises `UserError` where
    fewer than two latents of the run have a rule, or none is active often enough in test documents; a control of which
    that is true is noted."""
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return
        found, answers, seen = population(own, config)
        populations, beside, missing = [found], dict[str, Answers](), dict[str, str]()
        for name, opened in controls.items():
            try:
                found, beside[name], _ = population(opened(), config)
            except UserError as error:
                missing[name] = error.given
                continue
            populations.append(found)
        figures = figures_of(answers, beside)
        record = IntervalAnswers(
            n_test=answers.n_tokens,
            figures=figures,
            populations=populations,
            missing=missing,
            latents=seen,
        )
        write_json(staging.folder / FILE, record.to_json())
        Figures(figures=figures).write(staging.folder)
        staging.finish()


def population(ruled: Ruled, config: IntervalsConfig) -> tuple[IntervalPopulation, Answers, list[SampledLatent]]:
    """The latents of one run: together, in numbers, and one by one."""
    latents = ruled.drawn(config.n_latents, config.seed)
    another, single = another_of(latents, config.seed), ruled.single_token
    looking, seen, answers = _Looking(ruled, config), list[SampledLatent](), list[_Seen]()
    with progress(f"intervals of {ruled.run}", len(latents), "latents") as bar:
        for part in np.split(latents, range(_STEP, len(latents), _STEP)):
            for latent in part.tolist():
                one = looking.seen(latent, another[latent], single=bool(single[latent]))
                if one is not None:
                    seen.append(one.record)
                    answers.append(one)
            bar.advance(len(part))
    if not seen:
        raise UserError(
            f"No explained latent of run {ruled.run!r} is active on {config.least_active} test tokens.",
            "one at least",
            "index more text, or ask for fewer by --least-active.",
        )
    every = _together(answers, looking)
    found = IntervalPopulation(
        run=ruled.run,
        words=ruled.words,
        n_explained=len(ruled.rules),
        n_looked=len(seen),
        n_rare=len(latents) - len(seen),
        n_single=int(every.single.sum()),
        curve=curve(every),
        counts=_counts(every.own.spearman),
        null_counts=_counts(every.null.spearman),
    )
    return found, every, seen


class _Told(NamedTuple):
    """What one rule says of one latent."""

    shares: Floats
    """`[n_intervals]`, share of each interval's examples that it calls active; NaN of one that has none."""

    counts: NDArray[np.bool_]
    """`[n_intervals]`, the intervals that have enough."""

    holds: Consistent
    spearman: float


class _Seen(NamedTuple):
    """One latent with what goes into figures."""

    record: SampledLatent
    own: _Told
    null: _Told
    without: list[_Told]
    """Without each group of test documents."""


class _Looking:
    """Test documents, looked at through the rules of one run: of a long one no more than twice its even share, so that
    what is said is of documents and not of the longest."""

    def __init__(self, ruled: Ruled, config: IntervalsConfig):
        self._ruled, self._config = ruled, config
        corpus = ruled.features.corpus
        self._n_ctx, self._there = corpus.n_ctx, np.zeros(corpus.n_rows, dtype=bool)
        self._there[rows_to_judge(corpus, len(corpus.row_ranges["test"]))] = True
        self._tokens = CountedTokens(corpus, ruled.features.counted & np.repeat(self._there, self._n_ctx), "test")
        self._table, sizes = KeyTable(self._tokens), self._tokens.per_document
        self._groups = even_groups(sizes, _N_GROUPS)[self._tokens.documents]
        self._n_groups = int(self._groups.max(initial=-1)) + 1
        self.n_documents, self.n_tokens = effective_units(sizes), len(self._tokens)

    def seen(self, latent: int, other: int, *, single: bool) -> _Seen | None:
        """What the rules of a latent and of another one say; None for a latent that is too seldom active."""
        config = self._config
        column = self._column(latent)
        if len(column.ranks) < config.least_active:
            return None
        rng = generator(config.seed, "intervals", latent)
        drawn = sampled(column.values, config.n_intervals, config.n_sampled, rng)
        mixed = windows(mixture(column, self._table, self._n_ctx, rng), self._table.counted, self._n_ctx)
        true, by_rule, by_other = (self._dense(one) for one in (column, *map(self._called, (latent, other))))
        places, n_sampled = column.ranks[drawn.places], np.bincount(drawn.interval, minlength=config.n_intervals)
        counts = n_sampled >= config.least_sampled

        def told(said: Floats, without: int = _NO_GROUP) -> _Told:
            there, around = (self._groups[where] != without for where in (places, mixed))
            shares = drawn.at(there).shares(said[places[there]] > 0, config.n_intervals)
            some = counts & ~np.isnan(shares)
            holds = consistent(shares, some, config.consistent_from, config.top_share)
            return _Told(shares, some, holds, spearman(said[mixed[around]], true[mixed[around]]))

        own, null = told(by_rule), told(by_other)
        record = SampledLatent(
            latent=latent,
            single_token=single,
            n_active=len(column.ranks),
            largest=float(column.values.max()),
            n_sampled=n_sampled.tolist(),
            shares=_known(own.shares),
            null=_known(null.shares),
            whole=own.holds.whole,
            top_only=own.holds.top_only,
            spearman=own.spearman,
            spearman_null=null.spearman,
            n_tokens=len(mixed),
        )
        return _Seen(record, own, null, [told(by_rule, group) for group in range(self._n_groups)])

    def _column(self, latent: int) -> Column:
        """Where a latent is active among the tokens that are looked at, by size."""
        positions, values = self._ruled.features.split_column(latent, "test")
        inside = self._there[positions // self._n_ctx]
        return Column(self._tokens.ranks_of(positions[inside]), values[inside].astype(np.float64)).sizes()

    def _called(self, latent: int) -> Column:
        return self._table.called(self._ruled.rules[latent])

    def _dense(self, column: Column) -> Floats:
        found = np.zeros(self._table.n)
        found[column.ranks] = column.values
        return found


def _together(seen: list[_Seen], looking: _Looking) -> Answers:
    without = [_said(list(group)) for group in zip(*(one.without for one in seen), strict=True)]
    own, null = (_said([getattr(one, name) for one in seen]) for name in ("own", "null"))
    single = np.array([one.record.single_token for one in seen])
    return Answers(own, null, without, single, looking.n_documents, looking.n_tokens)


def _said(told: list[_Told]) -> Said:
    return Said(
        shares=np.stack([np.where(one.counts, one.shares, np.nan) for one in told]),
        whole=np.array([one.holds.whole for one in told]),
        top_only=np.array([one.holds.top_only for one in told]),
        spearman=np.array([one.spearman for one in told]),
    )


def _counts(correlations: Floats) -> list[int]:
    return np.histogram(correlations, np.linspace(-1, 1, N_BINS + 1))[0].tolist()


def _known(shares: Floats) -> list[float | None]:
    return [None if np.isnan(share) else float(share) for share in shares]
