"""What was found, in numbers, each beside what a shuffled text gives."""

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.automata.chosen import Chosen, Confirmed
from sparselex.atlas.automata.leads import Leads
from sparselex.base.estimates import figure_of, interval_figure, mean_figure
from sparselex.base.figures import Figure
from sparselex.base.intervals import Interval

_LEADS = (
    "leads: pairs of latents i and j (or i itself) of which j is more active than usual behind places of i where a "
    "token follows that i raises, above every pair in every shuffle, in training documents and again in test documents"
)


def figures_of(found: Chosen, sure: Confirmed, n_automata: dict[str, int], token_alone: NDArray) -> list[Figure]:
    """All figures. `n_automata` are the automata of several states and their latents, of the text and, as
    `"shuffled ..."`, of one that was shuffled once more; `token_alone` is `[n]`, of each confirmed lead."""
    by_chance = found.shuffled
    null = "null: those above the thresholds of training documents when the text is shuffled once more"
    loops = lambda leads: int((leads.source == leads.target).sum())
    n_pairs = len(found.sources) * int(np.isfinite(found.scale).sum())
    empty = "no lead was above the thresholds in training documents"
    sources = found.sources
    return [
        _count("leads", len(sure.leads.source), len(by_chance.source), f"{_LEADS}; {null}", n_pairs, "pairs"),
        _count(
            "self_loops",
            loops(sure.leads),
            loops(by_chance),
            f"latents that lead to themselves; {null}",
            len(sources),
            "latents",
        ),
        _count(
            "automata",
            n_automata["automata"],
            n_automata["shuffled automata"],
            f"sets of two states or more, few enough to be drawn, that lead to each other in circles; {null}",
            len(sources),
            "latents",
        ),
        _count(
            "states",
            n_automata["latents"],
            n_automata["shuffled latents"],
            f"latents that are a state of one of these; {null}",
            len(sources),
            "latents",
        ),
        mean_figure(
            "automata/leading_share",
            np.isin(sources, sure.leads.source),
            f"share of the latents that were looked at as the first of a pair that lead somewhere; {null}",
            over="latents",
            null=float(np.isin(sources, by_chance.source).mean()) if len(sources) else None,
            empty="no latent is active often enough before the tokens that it raises",
        ),
        _confirmed_share(found.leads, sure, empty),
        _per_source(
            sure.leads,
            sure.test - token_alone,
            "automata/beyond_token",
            "mean over latents that lead somewhere of the mean weight of their leads in test documents, less what it "
            "would be if the target were as active on each of these tokens as it is wherever that token stands",
            0.0,
        ),
    ]


def _count(name: str, n: int, null: int, words: str, of: int, over: str) -> Figure:
    """A number of things: nothing was drawn, and it has no interval."""
    spread = (of, float(of), float("nan"))
    found = Interval(float(n), float("nan"), float("nan"))
    words = f"number of {words}; a count, without an interval"
    return interval_figure(
        f"automata/{name}", found, words, over=over, spread=spread, null=float(null), empty=f"there are no {over}"
    )


def _confirmed_share(leads: Leads, sure: Confirmed, empty: str) -> Figure:
    keys = lambda one: one.source * (1 << 32) + one.target
    passes = np.isin(keys(leads), keys(sure.leads))
    every, row = np.unique(leads.source, return_inverse=True)
    sums = np.stack([np.bincount(row, passes, len(every)), np.bincount(row, minlength=len(every))], axis=1)
    return figure_of(
        "automata/confirmed_share",
        sums.astype(np.float64),
        lambda s: s[..., 0] / s[..., 1],
        "share of the leads chosen in training documents that test documents confirm; null: the share of those looked "
        "at there that pass when their text is shuffled once more",
        over="latents that lead somewhere",
        share=True,
        n=len(leads.source),
        null=sure.shuffled_share,
        empty=empty,
    )


def _per_source(leads: Leads, values: NDArray, name: str, words: str, null: float) -> Figure:
    every, row = np.unique(leads.source, return_inverse=True)
    means = np.bincount(row, values, len(every)) / np.maximum(np.bincount(row, minlength=len(every)), 1)
    return mean_figure(name, means, words, over="latents", null=null, empty="no lead was confirmed")
