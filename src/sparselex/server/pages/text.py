"""`/runs/<run>/text`: the latents of a text that a reader gives."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.explain.records import Entry
from sparselex.server.explained import title_of
from sparselex.server.grid import By, Overall, by_similarity, matrix, overall
from sparselex.server.live_records import EMPTY, Answer, TextFound, TextQuestion
from sparselex.server.opened import DENSE_ABOVE, OpenIndex, OpenWorkspace, flags_of
from sparselex.server.page import TEMPLATES, Page
from sparselex.server.pages.asking import AskingPage, Typed, as_typed, asking

MOST_ROWS = 100

Sorted = Literal["rank", "similarity", "token"]
"""How the rows are sorted: by what they are ranked by; so that those that are alike lie beside each other; or by their
activation at one token."""

PerToken = Annotated[int, Field(ge=1, le=20)]
Rows = Annotated[int, Field(ge=1, le=MOST_ROWS)]
Listed = Annotated[str, StringConstraints(max_length=1000)]
Position = Annotated[int, Field(ge=-1, le=10**6)]


class TokenLatent(Config):
    """A latent at a token."""

    latent: int
    """Its number."""

    title: str
    """Its explanation in short; empty if there is none."""

    activation: float
    """How active it is there."""


class TextToken(Config):
    """A token of the text."""

    position: int
    """Counted from 0, the first token (BOS, where there is one)."""

    token: int
    """Its id."""

    text: str
    """Printable text."""

    counted: bool
    """Whether a dictionary is shown such a token: not BOS, and no attention sink."""

    n_active: int
    """Latents that are active there, dense ones among them."""

    top: list[TokenLatent]
    """Those that are most active there, dense ones left out unless they are asked for."""


class TextRow(Config):
    """A latent on the text: a row of the grid."""

    latent: int
    """Its number."""

    title: str
    """Its explanation in short; empty if there is none."""

    flags: list[str]
    """dead, dense, single-token."""

    largest: float
    """Its largest activation by size in the corpus; full heat in its row."""

    max: float
    """Its largest activation by size on this text."""

    mean: float
    """Its mean size over the counted tokens."""

    n_tokens: int
    """Tokens on which it is active."""

    activations: list[float]
    """At each of `tokens`."""


class TextPage(AskingPage):
    """`/runs/<run>/text`: the latents of a text that a reader gives."""

    text: str
    """The text."""

    k: int
    """Latents told of each token."""

    n: int
    """Rows of the grid."""

    by: By
    """What latents are ranked by."""

    order: Sorted
    """How the rows are sorted."""

    token: int
    """Position of the token that is looked at; -1 for none."""

    dense: bool
    """Whether dense latents are shown."""

    bos: bool
    """Whether tokens are shown that a dictionary is not (BOS, attention sinks)."""

    chosen: list[int]
    """Latents that the reader named, in this order; empty where they are chosen by rank."""

    tokens: list[TextToken]
    """The tokens, columns of the grid."""

    rows: list[TextRow]
    """The latents, rows of the grid, in their order."""

    n_latents: int
    """Latents that are active on the text."""

    n_dense: int
    """How many of these are dense."""


def ask(run: str, t: str, **_: object) -> TextQuestion | None:
    """What is asked of the model."""
    return TextQuestion(run=run, text=as_typed(t)) if t else None


def text(
    opened: OpenWorkspace,
    run: str,
    t: Typed = "",
    k: PerToken = 5,
    n: Rows = 20,
    by: By = "max",
    order: Sorted = "rank",
    token: Position = -1,
    dense: bool = False,
    bos: bool = False,
    rows: Listed = "",
    answer: Answer = EMPTY,
) -> TextPage:
    """The latents of a text, of each token and of all. Raises like `OpenWorkspace.index`, and `UserError` for `rows`
    that are no latents."""
    found = opened.index(run)
    chosen = listed(rows, found.index.d_sae)
    tokens, made, every, is_dense = list[TextToken](), list[TextRow](), None, np.zeros(0, dtype=bool)
    if isinstance(answer.found, TextFound):
        here = answer.found
        entries = opened.explained.entries(found.index).of(sorted({*here.latents.tolist(), *chosen}))
        every = overall(here)
        is_dense = found.index.table["density"][every.latents] > DENSE_ABOVE
        columns = [place for place, counted in enumerate(here.counted) if counted or bos]
        left_out = every.latents[is_dense & (not dense)]
        tokens = [_token(found, entries, here, place, left_out, k) for place in columns]
        shown = chosen or every.latents[[one for one in every.ranked(by) if dense or not is_dense[one]][:n]].tolist()
        values = matrix(here, shown)
        order_ = _order(values, order if not chosen else "rank", token)
        made = [_row(found, entries, every, shown[one], values[one, columns]) for one in order_]
    return TextPage(
        **asking(opened, run, answer, f"{run}: a text"),
        text=as_typed(t),
        k=k,
        n=n,
        by=by,
        order=order,
        token=token,
        dense=dense,
        bos=bos,
        chosen=chosen,
        tokens=tokens,
        rows=made,
        n_latents=0 if every is None else len(every.latents),
        n_dense=int(is_dense.sum()),
    )


PAGE = Page(
    path="/runs/{run}/text",
    build=text,
    template=TEMPLATES / "text.html",
    label="Text",
    needs=("index",),
    asks=ask,
)


def listed(words: str, d_sae: int) -> list[int]:
    """Latents that are named one behind the other. Raises `UserError` for what is none, and for too many."""
    parts = [part for part in re.split(r"[,\s]+", words) if part]
    wrong = [part for part in parts if not (part.isascii() and part.isdecimal() and len(part) < 10)]
    wrong = wrong or [part for part in parts if int(part) >= d_sae]
    if wrong or len(parts) > MOST_ROWS:
        given = f"{wrong[0][:20]!r} was named as a latent." if wrong else f"{len(parts)} latents were named."
        expected = f"at most {MOST_ROWS} numbers from 0 to {d_sae - 1}, separated by commas"
        raise UserError(given, expected, "correct the list, or leave it empty.")
    return list(dict.fromkeys(map(int, parts)))


def _order(values: NDArray[np.float32], order: Sorted, token: int) -> list[int]:
    if order == "similarity":
        return by_similarity(np.abs(values))
    if order == "token" and 0 <= token < values.shape[1]:
        places: list[int] = np.argsort(-np.abs(values[:, token]), kind="stable").tolist()
        return places
    return list(range(len(values)))


def _token(
    found: OpenIndex,
    entries: Mapping[int, list[Entry]],
    here: TextFound,
    place: int,
    left_out: NDArray[np.int32],
    k: int,
) -> TextToken:
    first, end = np.searchsorted(here.places, [place, place + 1]).tolist()
    latents, values = here.latents[first:end], here.values[first:end]
    shown = np.flatnonzero(~np.isin(latents, left_out))
    best = shown[np.argsort(-np.abs(values[shown]), kind="stable")][:k].tolist()
    return TextToken(
        position=place,
        token=here.tokens[place],
        text=found.texts.label(here.tokens[place]),
        counted=here.counted[place],
        n_active=end - first,
        top=[
            TokenLatent(
                latent=int(latents[one]), title=title_of(entries, int(latents[one])), activation=float(values[one])
            )
            for one in best
        ],
    )


def _row(
    found: OpenIndex, entries: Mapping[int, list[Entry]], every: Overall, latent: int, values: NDArray[np.float32]
) -> TextRow:
    place = int(np.searchsorted(every.latents, latent))
    is_there = place < len(every.latents) and every.latents[place] == latent
    return TextRow(
        latent=latent,
        title=title_of(entries, latent),
        flags=flags_of(found, latent),
        largest=abs(float(found.index.table["max"][latent])),
        max=float(every.max[place]) if is_there else 0.0,
        mean=float(every.mean[place]) if is_there else 0.0,
        n_tokens=int(every.tokens[place]) if is_there else 0,
        activations=values.tolist(),
    )
