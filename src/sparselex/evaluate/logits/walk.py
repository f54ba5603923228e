"""Ask of explanations which tokens their latents raise: Bricken et al. (2023), "Towards Monosemanticity", automated
interpretability of logit weights, answered from rules and text where the paper asked a language model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.atlas.universality.attribution import LogitWeights
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress
from sparselex.base.seeds import derive, generator
from sparselex.base.staging import stage
from sparselex.evaluate.logits.answering import Floats, NextTokens, accuracy
from sparselex.evaluate.logits.config import LogitsConfig
from sparselex.evaluate.logits.figures import Answers, figures_of
from sparselex.evaluate.logits.modes import Tails, tails
from sparselex.evaluate.logits.records import FILE, KIND, N_BINS, AnsweredLatent, LogitAnswers, LogitPopulation
from sparselex.evaluate.ruled import Ruled, another_of
from sparselex.explain.keys import KeyTable
from sparselex.explain.raised import Asked, asked_about
from sparselex.features.build import ranked_tokens
from sparselex.features.stream import Written

_CHUNK = 64
"""Latents whose logit weights are in memory at a time."""

_N_SHOWN = 8
"""Tokens of each kind that are kept of a latent, to be looked at."""


class Looked(NamedTuple):
    """A run with what its latents write."""

    ruled: Ruled
    """Its latents and their rules."""

    written: Written
    """Their directions, and how they come to the logits."""


def answer_logits(
    own: Looked,
    controls: Mapping[str, Callable[[], Looked]],
    config: LogitsConfig,
    to: Path,
    inputs: Mapping[str, str],
) -> None:
    """Write the artifact `to`. `controls` open the run's controls, by name, one after another. Raises `UserError` where
    fewer than two latents of the run have a rule, or too few tokens stand in its text; a control of which that is true
    is noted."""
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return
        populations, beside, missing = list[LogitPopulation](), dict[str, Answers](), dict[str, str]()
        found, answers, seen = population(own, config)
        populations.append(found)
        for name, opened in controls.items():
            try:
                found, beside[name], _ = population(opened(), config)
            except UserError as error:
                missing[name] = error.given
                continue
            populations.append(found)
        figures = figures_of(answers, beside)
        corpus = own.ruled.features.corpus
        record = LogitAnswers(
            n_tokens=len(ranked_tokens(corpus, config.least_count)),
            n_train=own.ruled.features.n_counted["train"],
            figures=figures,
            populations=populations,
            missing=missing,
            latents=seen,
        )
        write_json(staging.folder / FILE, record.to_json())
        Figures(figures=figures).write(staging.folder)
        staging.finish()


def population(looked: Looked, config: LogitsConfig) -> tuple[LogitPopulation, Answers, list[AnsweredLatent]]:
    """The latents of one run: together, in numbers, and one by one."""
    ruled = looked.ruled
    latents = ruled.drawn(config.n_latents, config.seed)
    another, single = another_of(latents, config.seed), ruled.single_token
    asking = _Asking(ruled, config)
    weigh = LogitWeights(looked.written, asking.among)
    random = _tails_of(LogitWeights(_random(looked.written, latents, config.seed), asking.among), len(latents))
    edge, seen = float(np.quantile(random.gap, 0.95)), list[AnsweredLatent]()
    with progress(f"logits of {ruled.run}", len(latents), "latents") as bar:
        for part in np.split(latents, range(_CHUNK, len(latents), _CHUNK)):
            weights = weigh.of(part).float().cpu().numpy()
            ends = tails(weights[:, asking.among])
            for place, latent in enumerate(part.tolist()):
                said = asking.answered(latent, another[latent], weights[place])
                gap = float(ends.gap[place])
                seen.append(
                    AnsweredLatent(
                        latent=latent,
                        single_token=bool(single[latent]),
                        above=float(ends.above[place]),
                        gap=gap,
                        n_right=int(ends.n_right[place]),
                        second_mode=gap > edge,
                        **said,
                    )
                )
            bar.advance(len(part))
    answers = Answers(
        accuracy=np.array([one.accuracy for one in seen]),
        null=np.array([one.null for one in seen]),
        even=np.array([one.even for one in seen]),
        ceiling=np.array([one.ceiling for one in seen]),
        single=np.array([one.single_token for one in seen], dtype=bool),
        above=np.array([one.above for one in seen]),
        above_null=random.above,
        second=np.array([one.second_mode for one in seen], dtype=bool),
    )
    together = LogitPopulation(
        run=ruled.run,
        words=ruled.words,
        n_explained=len(ruled.rules),
        n_asked=len(seen),
        n_single=int(answers.single.sum()),
        counts=_counts(answers.accuracy),
        null_counts=_counts(answers.null),
    )
    return together, answers, seen


class _Asking:
    """Rules of one run that are asked about tokens."""

    def __init__(self, ruled: Ruled, config: LogitsConfig):
        self._ruled, self._config = ruled, config
        counted = ruled.features.counted_tokens("train")
        self._table = KeyTable(counted)
        self._following = NextTokens(counted, config.prior, config.n_kinds)
        self.among = ranked_tokens(ruled.features.corpus, config.least_count)

    def answered(self, latent: int, other: int, weights: NDArray[np.floating]) -> dict[str, Any]:
        """What is said of the tokens of a latent by its rule, by that of another latent, and by its activations."""
        rng = generator(self._config.seed, "asked", latent)
        asked = asked_about(weights, self.among, self._config.first, self._config.n_each, rng)
        own, others = (np.sort(self._table.called(self._ruled.rules[one]).ranks) for one in (latent, other))
        active = self._ruled.features.counted_column(latent, "train").ranks
        some = rng.choice(own, min(self._config.n_even, len(own)), replace=False)
        scores = self._following.scores(own, asked.tokens)
        right = lambda ranks: accuracy(self._following.scores(ranks, asked.tokens), asked.raised)
        return {
            "accuracy": accuracy(scores, asked.raised),
            "another": other,
            "null": right(others),
            "even": right(some),
            "ceiling": right(active),
            "n_places": len(own),
            **_shown(asked, scores),
        }


def _shown(asked: Asked, scores: Floats) -> dict[str, list[int]]:
    """Some tokens of each kind, those of which the answer is surest."""
    said = np.zeros(len(scores), dtype=bool)
    said[np.argsort(-scores, kind="stable")[: int(asked.raised.sum())]] = True
    surest = np.argsort(-scores, kind="stable")
    pick = lambda which, order: asked.tokens[order[which[order]]][:_N_SHOWN].tolist()
    return {
        "hits": pick(said & asked.raised, surest),
        "missed": pick(~said & asked.raised, surest[::-1]),
        "alarms": pick(said & ~asked.raised, surest),
    }


def _counts(accuracies: Floats) -> list[int]:
    """Latents by accuracy; a border belongs to the bin on its left, but for 0."""
    return np.histogram(accuracies - 1e-9, np.linspace(0, 1, N_BINS + 1))[0].tolist()


def _random(written: Written, latents: NDArray[np.int64], seed: int) -> Written:
    """As many directions drawn from a normal distribution, of the lengths that those of the latents have."""
    rows = written.rows[torch.from_numpy(latents).to(written.rows.device)]
    drawing = torch.Generator().manual_seed(derive(seed, "logits", "random directions"))
    drawn = torch.randn(rows.shape, generator=drawing).to(rows)
    return written._replace(rows=drawn * (rows.norm(dim=-1) / drawn.norm(dim=-1))[:, None])


def _tails_of(weights: LogitWeights, n: int) -> Tails:
    """The tails of the first `n` directions over the tokens that are ranked."""
    ranked = weights.ranked.cpu().numpy()
    parts = [
        tails(weights.of(part).float().cpu().numpy()[:, ranked])
        for part in np.split(np.arange(n), range(_CHUNK, n, _CHUNK))
    ]
    return Tails(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
