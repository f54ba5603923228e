"""Hold explanations against test examples of every size of activation: Bricken et al. (2023), "Towards
Monosemanticity", activation-interval sampling and automated interpretability of activations, by rules in place of a
language model."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.staging import stage
from sparselex.evaluate.intervals.config import IntervalsConfig
from sparselex.evaluate.intervals.figures import Answers, curve, figures_of
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
from sparselex.evaluate.ruled import Ruled, another_of
from sparselex.explain.keys import KeyTable
from sparselex.features.counted import Column

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
            n_test=own.features.n_counted["test"],
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
    every = _together(answers)
    found = IntervalPopulation(
        run=ruled.run,
        words=ruled.words,
        n_explained=len(ruled.rules),
        n_looked=len(seen),
        n_rare=len(latents) - len(seen),
        n_single=int(every.single.sum()),
        curve=curve(every),
        counts=_counts(every.spearman),
        null_counts=_counts(every.spearman_null),
    )
    return found, every, seen


class _Seen:
    """One latent with what goes into figures."""

    def __init__(self, record: SampledLatent, known: tuple[Floats, Floats], null: Consistent):
        self.record, self.known, self.null = record, known, null


class _Looking:
    """Test documents, looked at through the rules of one run."""

    def __init__(self, ruled: Ruled, config: IntervalsConfig):
        self._ruled, self._config = ruled, config
        self._table = KeyTable(ruled.features.counted_tokens("test"))
        self._n_ctx = ruled.features.corpus.n_ctx

    def seen(self, latent: int, other: int, *, single: bool) -> _Seen | None:
        """What the rules of a latent and of another one say; None for a latent that is too seldom active."""
        config = self._config
        column = self._ruled.features.counted_column(latent, "test").sizes()
        if len(column.ranks) < config.least_active:
            return None
        rng = generator(config.seed, "intervals", latent)
        drawn = sampled(column.values, config.n_intervals, config.n_sampled, rng)
        n_sampled = np.bincount(drawn.interval, minlength=config.n_intervals)
        mixed = windows(mixture(column, self._table, self._n_ctx, rng), self._table.counted, self._n_ctx)
        true, by_rule, by_other = (self._dense(one) for one in (column, *map(self._called, (latent, other))))
        places, counts = column.ranks[drawn.places], n_sampled >= config.least_sampled
        shares, null = (drawn.shares(said[places] > 0, config.n_intervals) for said in (by_rule, by_other))
        own, others = (consistent(part, counts, config.consistent_from, config.top_share) for part in (shares, null))
        record = SampledLatent(
            latent=latent,
            single_token=single,
            n_active=len(column.ranks),
            largest=float(column.values.max()),
            n_sampled=n_sampled.tolist(),
            shares=_known(shares),
            null=_known(null),
            whole=own.whole,
            top_only=own.top_only,
            spearman=spearman(by_rule[mixed], true[mixed]),
            spearman_null=spearman(by_other[mixed], true[mixed]),
            n_tokens=len(mixed),
        )
        enough = lambda part: np.where(counts, part, np.nan)
        return _Seen(record, (enough(shares), enough(null)), others)

    def _called(self, latent: int) -> Column:
        return self._table.called(self._ruled.rules[latent])

    def _dense(self, column: Column) -> Floats:
        found = np.zeros(self._table.n)
        found[column.ranks] = column.values
        return found


def _together(seen: list[_Seen]) -> Answers:
    of = lambda name: np.array([getattr(one.record, name) for one in seen])
    return Answers(
        shares=np.stack([one.known[0] for one in seen]),
        null=np.stack([one.known[1] for one in seen]),
        whole=of("whole"),
        whole_null=np.array([one.null.whole for one in seen]),
        top_only=of("top_only"),
        top_only_null=np.array([one.null.top_only for one in seen]),
        spearman=of("spearman"),
        spearman_null=of("spearman_null"),
        single=of("single_token"),
    )


def _counts(correlations: Floats) -> list[int]:
    return np.histogram(correlations, np.linspace(-1, 1, N_BINS + 1))[0].tolist()


def _known(shares: Floats) -> list[float | None]:
    return [None if np.isnan(share) else float(share) for share in shares]
