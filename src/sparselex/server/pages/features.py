"""`/runs/<run>/features`: the list, sorted and searched, and the door to any of it."""

import random
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt, StringConstraints

from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.evaluate.effects.records import EffectsIndex
from sparselex.server.explained import Entries, first_metric, score_of
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, Elsewhere, Page, PageRecord
from sparselex.server.pages.parts import EntryView, entry
from sparselex.server.pages.query import Query, parsed

Sort = Literal["latent", "score", "effect", "density", "max"]
"""Columns that the list can be sorted by."""

Order = Literal["asc", "desc"]
"""Which end of a column comes first."""

PER_PAGE = 50
DENSE_ABOVE = 0.1
"""Density above which a latent is called dense."""

Words = Annotated[str, StringConstraints(max_length=200)]


class FeatureRow(Config):
    """One line of the feature list."""

    latent: int
    """Number of the latent."""

    explanations: list[EntryView]
    """What is said of it, by explainer; the first is the one that is sorted by."""

    effect: float | None
    """What the model's predictions change without it, mean KL divergence in nats; None where that was not measured."""

    used: bool | None
    """Whether that is more than by random directions of its size."""

    density: float
    """Share of counted tokens on which it is active."""

    max: float
    """Largest activation."""

    top_token: str
    """Token of its largest training activation."""

    flags: list[str]
    """dead, dense, single-token (it is most active on one token, again and again)."""


class FeaturesPage(PageRecord):
    """`/runs/<run>/features`: the list."""

    made_elsewhere: str
    """What a reader has to know of features that were made elsewhere; empty where they were made here."""

    run: RunCard
    """What the run says of itself."""

    rows: list[FeatureRow]
    """One page of the list."""

    metric: str
    """The measure among the scores that is sorted by; empty where nothing is scored."""

    has_effects: bool
    """Whether it was measured what the model does without single latents."""

    n_found: int
    """Latents that fit the search."""

    n_latents: int
    """Latents of the dictionary."""

    page: int
    """Number of this page, from 1."""

    n_pages: int
    """Number of pages."""

    query: str
    """The search: words of explanations or tokens, or a latent's number, and conditions such as `density<0.01` or
    `is:used`."""

    sort: Sort
    """Column of the order."""

    descending: bool
    """Largest first."""


def features(
    opened: OpenWorkspace,
    run: str,
    q: Words = "",
    sort: Sort = "score",
    order: Order = "desc",
    page: PositiveInt = 1,
) -> FeaturesPage:
    """One page of the list; a number beyond the last page is the last one's, since lists grow shorter."""
    found = search(opened, run, q, sort, order)
    columns, latents = found.columns, found.latents
    n_pages = max(1, -(-len(latents) // PER_PAGE))
    page = min(page, n_pages)
    shown = latents[(page - 1) * PER_PAGE : page * PER_PAGE].tolist()
    return FeaturesPage(
        title=f"{run}: features",
        made_elsewhere=elsewhere.notice if (elsewhere := opened.elsewhere(run)) else "",
        run=opened.card(run),
        rows=[_row(*columns, latent) for latent in shown],
        metric=first_metric(columns.entries),
        has_effects=columns.effects is not None,
        n_found=len(latents),
        n_latents=columns.found.index.d_sae,
        page=page,
        n_pages=n_pages,
        query=found.query,
        sort=sort,
        descending=order != "asc",
    )


def random_feature(opened: OpenWorkspace, run: str) -> Elsewhere:
    """Any living latent."""
    living = np.flatnonzero(opened.index(run).index.table["n_active"])
    return Elsewhere(f"/runs/{run}/features/{random.choice(living) if len(living) else 0}")


PAGE = Page(
    path="/runs/{run}/features",
    build=features,
    template=TEMPLATES / "features.html",
    label="Features",
    needs=("index",),
)
RANDOM = Page(path="/runs/{run}/features/random", build=random_feature)


class Columns(NamedTuple):
    """What all latents have in each column of the list."""

    found: OpenIndex
    entries: Entries
    effects: EffectsIndex | None

    def of(self, name: str) -> NDArray[np.float64]:
        """`[d_sae]`; NaN for what is not known."""
        index = self.found.index
        if name == "latent":
            return np.arange(index.d_sae).astype(float)
        if name == "score":
            return np.array([score_of(self.entries, latent) for latent in range(index.d_sae)], dtype=float)
        if name == "effect":
            return self._of_effects("effect")
        return np.abs(index.table[name].astype(float))

    def flag(self, name: str) -> NDArray[np.bool_]:
        """`[d_sae]`, whether each is so."""
        density = self.found.index.table["density"]
        match name:
            case "dead":
                return density == 0
            case "dense":
                return density > DENSE_ABOVE
            case "single-token":
                return self.found.index.single_token
            case "used":
                return self._of_effects("used") == 1
        said = np.zeros(len(density), dtype=bool)
        said[[latent for latent, found in self.entries.items() if found and found[0].status == "explained"]] = True
        return said

    def _of_effects(self, name: str) -> NDArray[np.float64]:
        d_sae = self.found.index.d_sae
        return np.full(d_sae, np.nan) if self.effects is None else self.effects.by_latent(name, d_sae)


class Found(NamedTuple):
    """What a search has found."""

    columns: Columns
    """What all latents have."""

    latents: NDArray[np.int64]
    """Those that fit, in order."""

    query: str
    """What was looked for."""


def search(opened: OpenWorkspace, run: str, q: str, sort: Sort, order: Order) -> Found:
    """The latents that fit a search, in order. Raises like `OpenWorkspace.index`."""
    found = opened.index(run)
    columns = Columns(found, opened.explained.entries(found.index), opened.effects(run))
    query = "".join(char for char in q if char.isprintable()).strip()
    latents = _matching(opened, found, columns, parsed(query))
    return Found(columns, latents[_order(columns.of(sort), latents, order != "asc")], query)


def flags_of(found: OpenIndex, latent: int) -> list[str]:
    """What is unusual about when a latent is active."""
    density = float(found.index.table["density"][latent])
    is_so = {
        "dead": density == 0,
        "dense": density > DENSE_ABOVE,
        "single-token": bool(found.index.single_token[latent]),
    }
    return [name for name, so in is_so.items() if so]


def _matching(opened: OpenWorkspace, found: OpenIndex, columns: Columns, query: Query) -> NDArray[np.int64]:
    """The latent of a number; for any other words, latents by explanation or by top token; of these, those of which all
    conditions hold."""
    d_sae, words = found.index.d_sae, query.words
    if not words:
        latents = np.arange(d_sae)
    elif words.isascii() and words.isdecimal():
        latents = np.array([int(words)] if int(words) < d_sae else [], dtype=np.int64)
    else:
        explained = opened.explained.search(found.index, words)
        latents = np.array(sorted({*explained, *found.with_top_token(words).tolist()}), dtype=np.int64)
    for condition in query.conditions:
        latents = latents[condition.holds(columns.of(condition.column)[latents])]
    for name, wanted in query.flags.items():
        latents = latents[columns.flag(name)[latents] == wanted]
    return latents


def _order(column: NDArray[np.float64], latents: NDArray[np.int64], descending: bool) -> NDArray[np.int64]:
    """Places of `latents` in order; what has no value comes last either way."""
    values = column[latents]
    return np.lexsort((latents, np.nan_to_num(-values if descending else values, nan=np.inf)))


def _row(found: OpenIndex, entries: Entries, effects: EffectsIndex | None, latent: int) -> FeatureRow:
    table, token = found.index.table, int(found.top_tokens[latent])
    measured = effects.row(latent) if effects else None
    return FeatureRow(
        latent=latent,
        explanations=[entry(one) for one in entries.get(latent, ())],
        effect=measured["effect"] if measured else None,
        used=bool(measured["used"]) if measured else None,
        density=float(table["density"][latent]),
        max=float(table["max"][latent]),
        top_token="" if token < 0 else found.texts.label(token),
        flags=flags_of(found, latent),
    )
