"""`/runs/<run>/logits`: whether explanations say which tokens latents make likely."""

from collections.abc import Sequence

from sparselex.base.config import Config
from sparselex.base.formats import number
from sparselex.base.runs import RunCard
from sparselex.evaluate.logits.records import KIND, N_BINS, PAPER, AnsweredLatent, LogitAnswers
from sparselex.features.tokens import TokenTexts
from sparselex.server.answers_charts import NULL, histogram_of
from sparselex.server.charts import Chart
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.rule_tests import logit_answers, not_made

_N_LISTED = 8
"""Latents of each list."""


class AnsweredView(Config):
    """One latent with the text of its tokens."""

    found: AnsweredLatent
    """What its rule says."""

    title: str
    """The rule, in short."""

    hits: list[str]
    """Tokens that it raises and that are said raised."""

    missed: list[str]
    """Tokens that it raises and that are not."""

    alarms: list[str]
    """Others that are said raised."""


class LogitsPage(PageRecord):
    """`/runs/<run>/logits`: whether explanations say which tokens latents make likely."""

    run: RunCard
    """What the run says of itself."""

    found: LogitAnswers
    """What was measured, without the latents one by one."""

    controls: list[str]
    """Runs that stand beside it."""

    picture: Chart
    """Latents by accuracy: of the run, by rules of other latents, and of its controls."""

    table: list[tuple[str, list[int]]]
    """The numbers of the picture: the lower end of each bin, and latents of each series."""

    lists: dict[str, list[AnsweredView]]
    """Latents by why they are shown."""

    paper: dict[str, float]
    """Medians of the 2023 paper."""


def logits_page(opened: OpenWorkspace, run: str) -> LogitsPage:
    """What a run's rules say of logit weights. Raises `NotMadeYet` where they were not asked."""
    card, found = opened.card(run), logit_answers(opened, run)
    if found is None or opened.stale(run, KIND):
        raise not_made(opened, run, KIND)
    counts = {found.populations[0].run: found.populations[0].counts, NULL: found.populations[0].null_counts}
    counts |= {one.run: one.counts for one in found.populations[1:]}
    return LogitsPage(
        title=f"{run}: explanations of logits",
        run=card,
        found=found.model_copy(update={"latents": []}),
        controls=[one.run for one in found.populations[1:]],
        picture=histogram_of(counts, 0, 1, from_=0.2),
        table=[
            (number(place / N_BINS, 2) if place else "0", list(row))
            for place, row in enumerate(zip(*counts.values(), strict=True))
            if any(row)
        ],
        lists=_lists(opened, run, found.latents),
        paper=PAPER,
    )


PAGE = Page(path="/runs/{run}/logits", build=logits_page, template=TEMPLATES / "logits.html")


def answered_view(one: AnsweredLatent, title: str, texts: TokenTexts) -> AnsweredView:
    """A latent with the text of its tokens."""
    written = lambda tokens: [texts.label(token) for token in tokens]
    return AnsweredView(
        found=one, title=title, hits=written(one.hits), missed=written(one.missed), alarms=written(one.alarms)
    )


def _lists(opened: OpenWorkspace, run: str, latents: Sequence[AnsweredLatent]) -> dict[str, list[AnsweredView]]:
    """The best beside as many that nobody chose: these lie at even distances by number."""
    there = opened.index(run)
    best = sorted(latents, key=lambda one: (-one.accuracy, one.latent))[:_N_LISTED]
    even = latents[:: max(1, len(latents) // _N_LISTED)][:_N_LISTED]
    entries = opened.explained.entries(there.index).of([one.latent for one in [*best, *even]])
    view = lambda one: answered_view(one, title_of(entries, one.latent), there.texts)
    return {"answered best": [*map(view, best)], "that nobody chose": [*map(view, even)]}
