"""`/runs/<run>/features`: the list, searched, filtered and sorted, and the door to any of it."""

import random
from typing import Annotated, Literal

import numpy as np
from fastapi import Query
from pydantic import BeforeValidator, StringConstraints

from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.server.finding.columns import Columns
from sparselex.server.finding.find import Found, find
from sparselex.server.finding.hits import RANKED, MatchView, Mode
from sparselex.server.finding.meaning import outdated
from sparselex.server.opened import OpenWorkspace, flags_of
from sparselex.server.page import TEMPLATES, Elsewhere, Impossible, Page, PageRecord
from sparselex.server.pages.parts import EntryView, HeadlineView, ScoredBy, entry, headline_view, scored_by

Column = Literal[
    "latent", "label", "explanation", "score", "effect", "density", "active", "max", "mean", "top", "flags"
]
"""Columns that the list can show."""

Sort = Column | Literal["", "match", "null", "low", "high"]
"""Columns that the list can be sorted by."""

Order = Literal["asc", "desc"]
"""Which end of a column comes first."""

SHOWN: tuple[Column, ...] = ("latent", "explanation", "score", "effect", "density", "max", "top", "flags")
"""Columns that the list shows where none are chosen."""

PER_PAGE = 50

Words = Annotated[str, StringConstraints(max_length=2000)]
Key = Annotated[str, StringConstraints(max_length=40)]
Score = Annotated[str, StringConstraints(max_length=200)]
"""Whose explanations are scored, by whom and by which measure, with strokes between them."""

Chosen = Annotated[list[Column], Query(max_length=20), BeforeValidator(lambda given: ",".join(given).split(","))]
"""Names of columns, with commas between them or each for itself, as forms send them."""


class FeatureRow(Config):
    """One line of the feature list."""

    latent: int
    """Number of the latent."""

    label: str
    """What people call it; empty where nobody calls it anything."""

    explanations: list[EntryView]
    """What is said of it, by explainer: first by whoever is scored in this list, then in the explainers' order."""

    score: HeadlineView | None
    """The score by which the list is sorted and filtered; None where it has none."""

    effect: float | None
    """What the model's predictions change without it, mean KL divergence in nats; None where that was not measured."""

    used: bool | None
    """Whether that is more than by random directions of its size."""

    density: float
    """Share of counted tokens on which it is active."""

    active: int
    """Counted tokens on which it is active."""

    max: float
    """Largest activation."""

    mean: float
    """Mean activation over all counted tokens."""

    top_token: str
    """Token of its largest training activation."""

    flags: list[str]
    """dead, rare (active on fewer than one token in 100,000), dense (on more than one in ten), single-token (it is
    most active on one token, again and again), duplicate of another (the cosine of their directions is 0.9 or more)."""

    match: float | None
    """How well it fits the search; None where nothing was searched for."""

    matches: list[MatchView]
    """What was found of it."""


class FeaturesPage(PageRecord):
    """`/runs/<run>/features`: the list."""

    made_elsewhere: str
    """What a reader has to know of features that were made elsewhere; empty where they were made here."""

    run: RunCard
    """What the run says of itself."""

    rows: list[FeatureRow]
    """One page of the list."""

    score: ScoredBy | None
    """Whose explanations the scores are of, by whom and by which measure; None where nothing is scored."""

    scores: list[ScoredBy]
    """Every such score that the run has: its `key` as `score` in the address chooses it."""

    score_chosen: bool
    """Whether the reader has chosen it; else it is that of most latents."""

    notice: str
    """How what was searched is not what there is now, and what to do; empty where it is."""

    has_effects: bool
    """Whether it was measured what the model does without single latents."""

    n_found: int
    """Latents that fit the search."""

    n_latents: int
    """Latents of the dictionary."""

    n_searched: int
    """Tokens of text that were searched for the words."""

    first: int
    """Place of the first row among all that fit, from 1."""

    next: str | None
    """What `after` is on the next page: value and latent of the last row; None on the last page."""

    previous: str | None
    """What `before` is on the previous page; None on the first."""

    query: str
    """The search: words, or a latent's number, and conditions such as `density<0.01`, `is:used` or `top:def`."""

    mode: Mode
    """How the words are understood."""

    ranked_by: str
    """What comes first where the list is in the order of how well latents fit; empty where nothing was searched
    for."""

    sort: Sort
    """Column of the order."""

    descending: bool
    """Largest first."""

    columns: list[Column]
    """Columns that are shown."""

    chosen: bool
    """Whether the reader has chosen them."""


def features(
    opened: OpenWorkspace,
    run: str,
    q: Words = "",
    mode: Mode = "text",
    sort: Sort = "",
    order: Order = "desc",
    after: Key = "",
    before: Key = "",
    columns: Chosen = [],  # noqa: B006
    score: Score = "",
) -> FeaturesPage:
    """One page of the list: the rows behind the one that `after` names (its value in the column of the order, and its
    latent), or before the one that `before` names, which stay these whatever else is added to the list. Its scores are
    those that `score` names, such as `llm/detection/balanced_accuracy`."""
    found = find(opened, run, q, mode, score)
    sort, latents = in_order(found, sort, order)
    keys = found.columns.keys(sort, latents, found.hits)
    start = _start(keys, latents, order, after, before)
    shown = latents[start : start + PER_PAGE].tolist()
    key = lambda place: f"{'' if np.isnan(keys[place]) else repr(float(keys[place]))},{latents[place]}"
    return FeaturesPage(
        title=f"{run}: features",
        made_elsewhere=elsewhere.notice if (elsewhere := opened.elsewhere(run)) else "",
        run=opened.card(run),
        rows=_rows(opened, found, shown),
        score=scored_by(found.columns.headlines.by),
        scores=[scored for one in opened.explained.foremost(found.columns.found.index) if (scored := scored_by(one))],
        score_chosen=bool(score),
        notice=outdated(opened, run) if mode == "meaning" and found.hits else "",
        has_effects=found.columns.effects is not None,
        n_found=len(latents),
        n_latents=found.columns.d_sae,
        n_searched=found.columns.found.examples.n_tokens if found.hits else 0,
        first=start + 1 if shown else 0,
        next=key(start + len(shown) - 1) if start + len(shown) < len(latents) else None,
        previous=key(start) if start else None,
        query=found.query,
        mode=mode,
        ranked_by=RANKED[mode] if found.hits else "",
        sort=sort,
        descending=order != "asc",
        columns=shown_columns(found.columns, columns),
        chosen=bool(columns),
    )


def random_feature(opened: OpenWorkspace, run: str) -> Elsewhere:
    """Any living latent."""
    living = np.flatnonzero(opened.index(run).index.table["n_active"])
    return Elsewhere(f"/runs/{run}/features/{living[random.randrange(len(living))] if len(living) else 0}")


PAGE = Page(
    path="/runs/{run}/features",
    build=features,
    template=TEMPLATES / "features.html",
    label="Features",
    needs=("index",),
)
RANDOM = Page(path="/runs/{run}/features/random", build=random_feature)


def in_order(found: Found, sort: Sort, order: Order) -> tuple[Sort, np.ndarray]:
    """What the list is sorted by where nothing else was chosen, and the latents that fit in this order."""
    default: Sort = "match" if found.hits else "score"
    sort = default if not sort or (sort == "match" and not found.hits) else sort
    return sort, found.columns.ordered(sort, found.latents, order != "asc", found.hits)


def shown_columns(columns: Columns, chosen: list[Column]) -> list[Column]:
    """The columns that are shown: those chosen, the latent always."""
    if chosen:
        return list(dict.fromkeys(["latent", *chosen]))
    return [name for name in SHOWN if name != "effect" or columns.effects is not None]


def _start(keys: np.ndarray, latents: np.ndarray, order: Order, after: str, before: str) -> int:
    """Where the page begins among the latents in order."""
    if not after and not before:
        return 0
    text, _, number = (after or before).partition(",")
    try:
        value, latent = float(text or "nan"), int(number)
    except ValueError:
        where = f"No row of the list is called {(after or before)!r}."
        raise Impossible(where, "a value and a latent, such as 0.25,17", "begin with the first page.") from None
    sign = -1 if order != "asc" else 1
    ascending, key = np.nan_to_num(sign * keys, nan=np.inf), np.nan_to_num(sign * value, nan=np.inf)
    low, high = (int(np.searchsorted(ascending, key, side)) for side in ("left", "right"))
    place = low + int(np.searchsorted(latents[low:high], latent, "right" if after else "left"))
    if not after:
        return max(0, place - PER_PAGE)
    return place if place < len(latents) else max(0, len(latents) - PER_PAGE)  # lists grow shorter


def _rows(opened: OpenWorkspace, found: Found, shown: list[int]) -> list[FeatureRow]:
    entries = opened.explained.entries(found.columns.found.index).of(shown)
    first = lambda one: one.explainer != found.columns.headlines.explainer
    matches = found.hits.show(shown) if found.hits else {}
    fits = found.columns.keys("match", np.array(shown, dtype=np.int64), found.hits).tolist()
    rows = []
    for latent, fit in zip(shown, fits, strict=True):
        said = [entry(one) for one in sorted(entries.get(latent, ()), key=first)]
        match = (fit, matches.get(latent, [])) if found.hits else (None, [])
        rows.append(_row(found.columns, latent, said, *match))
    return rows


def _row(
    columns: Columns, latent: int, explanations: list[EntryView], match: float | None, matches: list[MatchView]
) -> FeatureRow:
    table, token = columns.found.index.table, int(columns.found.top_tokens[latent])
    measured = columns.effects.row(latent) if columns.effects else None
    return FeatureRow(
        latent=latent,
        label=columns.labels.get(latent, ""),
        explanations=explanations,
        score=headline_view(columns.headlines.of(latent)),
        effect=measured["effect"] if measured else None,
        used=bool(measured["used"]) if measured else None,
        density=float(table["density"][latent]),
        active=int(table["n_active"][latent]),
        max=float(table["max"][latent]),
        mean=float(table["mean"][latent]),
        top_token="" if token < 0 else columns.found.texts.label(token),
        flags=flags_of(columns.found, latent),
        match=match,
        matches=matches,
    )
