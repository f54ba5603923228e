"""`/runs/<run>/text/download`: every active latent of a text as a file."""

import io

import numpy as np
import pyarrow
import pyarrow.csv

from sparselex.server.explained import title_of
from sparselex.server.live_records import EMPTY, Answer, TextFound
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Download, Page
from sparselex.server.pages.asking import AskingPage, Typed, asking
from sparselex.server.pages.text import ask


def text_file(opened: OpenWorkspace, run: str, t: Typed = "", answer: Answer = EMPTY) -> Download | AskingPage:
    """A line for each latent that is active at each token; what became of the question where there is no answer. Raises
    like `OpenWorkspace.index`."""
    index, here = opened.index(run), answer.found
    if not isinstance(here, TextFound):
        return AskingPage(**asking(opened, run, answer, f"{run}: a text as a file"))
    tokens, written = np.asarray(here.tokens)[here.places].tolist(), io.BytesIO()
    latents = here.latents.tolist()
    entries = opened.explained.entries(index.index).of(sorted(set(latents)))
    table = {
        "position": here.places,
        "token": tokens,
        "text": [index.texts.label(token) for token in tokens],
        "latent": here.latents,
        "activation": here.values,
        "explanation": [title_of(entries, latent) for latent in latents],
    }
    pyarrow.csv.write_csv(pyarrow.table(table), written)
    return Download(f"{run}-text.csv", written.getvalue(), "text/csv; charset=utf-8")


PAGE = Page(path="/runs/{run}/text/download", build=text_file, template=TEMPLATES / "asked.html", asks=ask)
