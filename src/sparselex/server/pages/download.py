"""`/runs/<run>/features/download`: the list as a file, as it is searched and sorted."""

import io
from typing import Any, Literal

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Download, Page
from sparselex.server.pages.features import Columns, Order, Sort, Words, search
from sparselex.server.pages.query import FLAGS

Form = Literal["csv", "parquet"]

_FORMS = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


def download(
    opened: OpenWorkspace, run: str, form: Form = "csv", q: Words = "", sort: Sort = "score", order: Order = "desc"
) -> Download:
    """The features that fit a search, all of them, in the list's order: what the first explainer said with its first
    score, and what the list has besides. What is not known is empty."""
    found, written = search(opened, run, q, sort, order), io.BytesIO()
    table = pyarrow.table(_said(found.columns, found.latents) | _measured(found.columns, found.latents))
    if form == "csv":
        pyarrow.csv.write_csv(table, written)
    else:
        pyarrow.parquet.write_table(table, written)
    return Download(f"{run}-features.{form}", written.getvalue(), _FORMS[form])


PAGE = Page(path="/runs/{run}/features/download", build=download)


def _said(columns: Columns, latents: np.ndarray) -> dict[str, pyarrow.Array]:
    first = [next(iter(columns.entries.get(latent, ())), None) for latent in latents.tolist()]
    heads = [one.headlines[0] if one and one.headlines else None for one in first]
    text = lambda values: pyarrow.array(values, pyarrow.string())
    numbers = lambda values: pyarrow.array(values, pyarrow.float64())
    return {
        "latent": pyarrow.array(latents),
        "explainer": text([one and one.explainer for one in first]),
        "status": text([one and one.status for one in first]),
        "explanation": text([one and one.title for one in first]),
        "metric": text([head and head.metric for head in heads]),
        "score": numbers([head and head.value for head in heads]),
        "null": numbers([head and head.null for head in heads]),
    }


def _measured(columns: Columns, latents: np.ndarray) -> dict[str, Any]:
    index, effect = columns.found.index, columns.of("effect")[latents]
    tokens = columns.found.top_tokens[latents].tolist()
    flags = {name: columns.flag(name)[latents] for name in FLAGS}
    return {
        "effect": pyarrow.array(effect, from_pandas=True),
        "used": pyarrow.array(flags.pop("used"), mask=~np.isfinite(effect)),
        "density": index.table["density"][latents],
        "max": index.table["max"][latents],
        "top_token": ["" if token < 0 else columns.found.texts.label(token) for token in tokens],
        **{name.replace("-", "_"): values for name, values in flags.items() if name != "explained"},
    }
