"""`/runs/<run>/intervals`: whether explanations hold at every size of activation."""

from collections.abc import Sequence

from sparselex.base.config import Config
from sparselex.base.formats import number
from sparselex.base.runs import RunCard
from sparselex.evaluate.intervals.records import KIND, N_BINS, IntervalAnswers, SampledLatent
from sparselex.server.answers_charts import NULL, Curves, curves_of, histogram_of
from sparselex.server.charts import Chart
from sparselex.server.explained import title_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.rule_tests import interval_answers, not_made

_N_LISTED = 8
"""Latents of each list."""


class SampledView(Config):
    """One latent with its rule in short."""

    found: SampledLatent
    """What its rule says of examples."""

    title: str
    """The rule, in short."""


class IntervalsPage(PageRecord):
    """`/runs/<run>/intervals`: whether explanations hold at every size of activation."""

    run: RunCard
    """What the run says of itself."""

    found: IntervalAnswers
    """What was measured, without the latents one by one."""

    controls: list[str]
    """Runs that stand beside it."""

    curves: Curves
    """What rules call active by interval of activation."""

    picture: Chart
    """Latents by rank correlation: of the run, by rules of other latents, and of its controls."""

    table: list[tuple[str, list[int]]]
    """The numbers of that picture: the lower end of each bin, and latents of each series."""

    lists: dict[str, list[SampledView]]
    """Latents by why they are shown."""


def intervals_page(opened: OpenWorkspace, run: str) -> IntervalsPage:
    """How a run's rules hold at every size of activation. Raises `NotMadeYet` where that was not measured."""
    card, found = opened.card(run), interval_answers(opened, run)
    if found is None or opened.stale(run, KIND):
        raise not_made(opened, run, KIND)
    counts = {found.populations[0].run: found.populations[0].counts, NULL: found.populations[0].null_counts}
    counts |= {one.run: one.counts for one in found.populations[1:]}
    low = lambda place: -1 + 2 * place / N_BINS
    return IntervalsPage(
        title=f"{run}: explanations by activation",
        run=card,
        found=found.model_copy(update={"latents": []}),
        controls=[one.run for one in found.populations[1:]],
        curves=curves_of(found.populations),
        picture=histogram_of(counts, -1, 1, from_=-0.5),
        table=[
            (number(low(place), 2) if low(place) else "0", list(row))
            for place, row in enumerate(zip(*counts.values(), strict=True))
            if any(row)
        ],
        lists=_lists(opened, run, found.latents),
    )


PAGE = Page(path="/runs/{run}/intervals", build=intervals_page, template=TEMPLATES / "intervals.html")


def _lists(opened: OpenWorkspace, run: str, latents: Sequence[SampledLatent]) -> dict[str, list[SampledView]]:
    """The best beside as many that nobody chose: these lie at even distances by number."""
    best = sorted(latents, key=lambda one: (-one.spearman, one.latent))[:_N_LISTED]
    even = latents[:: max(1, len(latents) // _N_LISTED)][:_N_LISTED]
    entries = opened.explained.entries(opened.index(run).index).of([one.latent for one in [*best, *even]])
    view = lambda one: SampledView(found=one, title=title_of(entries, one.latent))
    return {"predicted best": [*map(view, best)], "that nobody chose": [*map(view, even)]}
