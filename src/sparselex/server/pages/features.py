"""`/runs/<run>/features`: the list, sorted and searched."""

import numpy as np
from numpy.typing import NDArray

from sparselex.features.index import FeatureIndex
from sparselex.server.contexts import FeatureRow, FeaturesPage
from sparselex.server.pages.overview import control_of
from sparselex.server.reading import UNEXPLAINED, Entry, OpenIndex, Reading

SORTS = ("latent", "f1", "density", "max")
PER_PAGE = 50
DENSE_ABOVE = 0.1
"""Density above which a latent is called dense."""


def features(
    reading: Reading, run: str, *, query: str = "", sort: str = "f1", descending: bool = True, page: int = 1
) -> FeaturesPage:
    """One page of the list. Unknown sort columns and page numbers out of range fall back to the nearest."""
    opened = reading.index(run)
    index, entries = opened.index, reading.entries(opened.index)
    query = "".join(char for char in query if char.isprintable()).strip()
    sort = sort if sort in SORTS else "f1"
    latents = _matching(reading, opened, query)
    latents = latents[_order(index, entries, latents, sort, descending)]
    n_pages = max(1, -(-len(latents) // PER_PAGE))
    page = min(max(1, page), n_pages)
    shown = latents[(page - 1) * PER_PAGE : page * PER_PAGE]
    return FeaturesPage(
        title=f"{run}: features",
        run=run,
        control=control_of(reading, run),
        rows=[_row(opened, entries.get(int(latent), UNEXPLAINED), int(latent)) for latent in shown],
        n_found=len(latents),
        n_latents=index.d_sae,
        page=page,
        n_pages=n_pages,
        query=query,
        sort=sort,
        descending=descending,
    )


def flags_of(index: FeatureIndex, latent: int) -> list[str]:
    """What is unusual about how often a latent is active."""
    density = float(index.table["density"][latent])
    return [name for name, is_so in (("dead", density == 0), ("dense", density > DENSE_ABOVE)) if is_so]


def _matching(reading: Reading, opened: OpenIndex, query: str) -> NDArray[np.int64]:
    """The latent of a number; for any other words, latents by explanation or by top token."""
    d_sae = opened.index.d_sae
    if not query:
        return np.arange(d_sae)
    if query.isascii() and query.isdecimal():
        return np.array([int(query)] if int(query) < d_sae else [], dtype=np.int64)
    found = set(reading.explained_with(opened.index, query)) | set(opened.with_top_token(query).tolist())
    return np.array(sorted(found), dtype=np.int64)


def _order(
    index: FeatureIndex, entries: dict[int, Entry], latents: NDArray[np.int64], sort: str, descending: bool
) -> NDArray[np.int64]:
    """Places of `latents` in order; what has no value comes last either way."""
    if sort == "latent":
        values = latents.astype(float)
    elif sort == "f1":
        scores = [entries.get(latent, UNEXPLAINED).f1 for latent in latents.tolist()]
        values = np.array([np.nan if score is None else score for score in scores], dtype=float)
    else:
        values = np.abs(index.table[sort][latents].astype(float))
    return np.lexsort((latents, np.nan_to_num(-values if descending else values, nan=np.inf)))


def _row(opened: OpenIndex, entry: Entry, latent: int) -> FeatureRow:
    index, token = opened.index, int(opened.top_tokens[latent])
    flags = flags_of(index, latent)
    nothing = "never active on the counted tokens" if "dead" in flags else "not explained yet"
    return FeatureRow(
        latent=latent,
        title=entry.title or nothing,
        status=entry.status,
        f1=entry.f1,
        null_f1=entry.null_f1,
        density=float(index.table["density"][latent]),
        max=float(index.table["max"][latent]),
        top_token="" if token < 0 else opened.texts.label(token),
        flags=flags,
    )
