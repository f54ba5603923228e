"""`/runs/<run>/features/download`: the list as a file, as it is searched, filtered and sorted."""

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from sparselex.base.formats import guarded
from sparselex.explain.records import Entry
from sparselex.server.finding.columns import Columns
from sparselex.server.finding.find import find
from sparselex.server.finding.hits import Mode
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Download, Page
from sparselex.server.pages.features import Chosen, Column, Order, Score, Sort, Words, in_order

Form = Literal["csv", "parquet"]

_FORMS = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


def download(
    opened: OpenWorkspace,
    run: str,
    form: Form = "csv",
    q: Words = "",
    mode: Mode = "text",
    sort: Sort = "",
    order: Order = "desc",
    columns: Chosen = [],  # noqa: B006
    score: Score = "",
) -> Download:
    """The features that fit a search, all of them, in the list's order: all columns, or those that are chosen. Scores
    are those that `score` names, explanations of whoever is scored, where there is none the first. What is not known is
    empty. In CSV an apostrophe stands before texts that a spreadsheet would run as formulas."""
    found, written = find(opened, run, q, mode, score), io.BytesIO()
    sort, latents = in_order(found, sort, order)
    said = opened.explained.entries(found.columns.found.index).of(latents.tolist())
    scored = lambda one: one.explainer != found.columns.headlines.explainer
    first = [min(said.get(latent, ()), key=scored, default=None) for latent in latents.tolist()]
    rows = _Rows(found.columns, latents, first)
    names = dict.fromkeys(["latent", *(columns or _COLUMNS)])
    values: dict[str, pyarrow.Array] = {}
    for name in names:
        values |= _COLUMNS[name](rows)
    if found.hits:
        values["match"] = _numbers(found.columns.keys("match", latents, found.hits))
    table = pyarrow.table(values)
    if form == "csv":
        pyarrow.csv.write_csv(_for_spreadsheets(table), written)
    else:
        pyarrow.parquet.write_table(table, written)
    return Download(f"{run}-features.{form}", written.getvalue(), _FORMS[form])


PAGE = Page(path="/runs/{run}/features/download", build=download)


class _Rows:
    """Latents in the order of the list, with what is said of each."""

    def __init__(self, columns: Columns, latents: NDArray[np.int64], first: list[Entry | None]):
        self.columns, self.latents, self.first = columns, latents, first
        self.table = columns.found.index.table

    def number(self, name: str) -> pyarrow.Array:
        """A column of numbers."""
        return _numbers(self.columns.number(name)[self.latents])

    def flag(self, name: str) -> NDArray[np.bool_]:
        """A column of flags."""
        return self.columns.flag(name)[self.latents]


def _explanation(rows: _Rows) -> dict[str, pyarrow.Array]:
    return {
        "explainer": _texts([one and one.explainer for one in rows.first]),
        "status": _texts([one and one.status for one in rows.first]),
        "explanation": _texts([one and one.title for one in rows.first]),
    }


def _score(rows: _Rows) -> dict[str, pyarrow.Array]:
    scores = rows.columns.headlines
    mask = np.isnan(scores.score[rows.latents])
    by = {"scored": "explainer", "scorer": "scorer", "metric": "metric"}
    named = {name: _texts([getattr(scores.by, field, None)] * len(mask), mask) for name, field in by.items()}
    numbers = {"score": "score", "null": "null", "ci_low": "low", "ci_high": "high"}
    n = pyarrow.array(np.nan_to_num(scores.n[rows.latents]).astype(np.int64), mask=mask)
    return named | {name: rows.number(column) for name, column in numbers.items()} | {"n": n}


def _effect(rows: _Rows) -> dict[str, pyarrow.Array]:
    effect = rows.columns.number("effect")[rows.latents]
    return {"effect": _numbers(effect), "used": pyarrow.array(rows.flag("used"), mask=~np.isfinite(effect))}


def _top(rows: _Rows) -> dict[str, pyarrow.Array]:
    found = rows.columns.found
    tokens = found.top_tokens[rows.latents].tolist()
    return {"top_token": _texts(["" if token < 0 else found.texts.label(token) for token in tokens])}


def _flags(rows: _Rows) -> dict[str, pyarrow.Array]:
    of = rows.columns.found.duplicate_of[rows.latents]
    flags = {name.replace("-", "_"): pyarrow.array(rows.flag(name)) for name in rows.columns.found.flags}
    return flags | {"duplicate_of": pyarrow.array(of, mask=of < 0)}


_COLUMNS: dict[Column, Callable[[_Rows], dict[str, pyarrow.Array]]] = {
    "latent": lambda rows: {"latent": pyarrow.array(rows.latents)},
    "label": lambda rows: {"label": _texts([rows.columns.labels.get(latent) for latent in rows.latents.tolist()])},
    "explanation": _explanation,
    "score": _score,
    "effect": _effect,
    "density": lambda rows: {"density": pyarrow.array(rows.table["density"][rows.latents])},
    "active": lambda rows: {"active": pyarrow.array(rows.table["n_active"][rows.latents])},
    "max": lambda rows: {"max": pyarrow.array(rows.table["max"][rows.latents])},
    "mean": lambda rows: {"mean": pyarrow.array(rows.table["mean"][rows.latents])},
    "top": _top,
    "flags": _flags,
}
"""What each column of the list is in a file: one column or several."""


def _for_spreadsheets(table: pyarrow.Table) -> pyarrow.Table:
    """The table with no text that would be run as a formula."""
    for place, field in enumerate(table.schema):
        if field.type == pyarrow.string():
            said = [one and guarded(one) for one in table[place].to_pylist()]
            table = table.set_column(place, field, pyarrow.array(said, pyarrow.string()))
    return table


def _texts(values: list[str | None], mask: NDArray[np.bool_] | None = None) -> pyarrow.Array:
    return pyarrow.array(values, pyarrow.string(), mask=mask)


def _numbers(values: NDArray[np.float64]) -> pyarrow.Array:
    return pyarrow.array(values, pyarrow.float64(), from_pandas=True)
