"""`/runs/<run>/features/<latent>/try`: one feature on a text that a reader gives."""

import numpy as np

from sparselex.base.config import Config
from sparselex.features.records import Histogram
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.explained import title_of
from sparselex.server.live_records import EMPTY, Answer, TextFound, TextQuestion
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page
from sparselex.server.pages.asking import AskingPage, Typed, as_typed, asking
from sparselex.server.pages.feature import Latent, checked_latent


class TriedView(Config):
    """A feature on a text."""

    example: ExampleView
    """The text with the activations on it; its position is the token of the largest, counted from 0."""

    n_active: int
    """Tokens on which the feature is active."""

    n_tokens: int
    """Tokens that a dictionary is shown."""

    share_below: float | None
    """Share of the corpus' activations of this feature that are at most as large as the largest here; None where it is
    active nowhere."""


class TryPage(AskingPage):
    """`/runs/<run>/features/<latent>/try`: one feature on a text that a reader gives."""

    latent: int
    """Number of the latent."""

    explanation: str
    """Its explanation in short; empty if there is none."""

    text: str
    """The text."""

    largest: float
    """Largest activation by size in the corpus; full heat on this page."""

    histogram: Histogram | None
    """Sizes of the activations in the corpus; None for a dead latent."""

    tried: TriedView | None
    """What was found; None where nothing was asked or could be answered."""


def ask(run: str, t: str, prompt: str, **_: object) -> TextQuestion | None:
    """What is asked of the model."""
    return TextQuestion(run=run, text=as_typed(t or prompt)) if t or prompt else None


def try_text(
    opened: OpenWorkspace, run: str, latent: Latent, t: Typed = "", prompt: Typed = "", answer: Answer = EMPTY
) -> TryPage:
    """One feature on a text, by either name. Raises `NoSuchPage` for a number that is no latent of the run."""
    found = opened.index(run)
    checked_latent(found, run, latent)
    windows = Windows(found.index, latent, found.texts)
    return TryPage(
        **asking(opened, run, answer, f"{run} / {latent} on a text"),
        latent=latent,
        explanation=title_of(opened.explained.entries(found.index), latent),
        text=as_typed(t or prompt),
        largest=windows.largest,
        histogram=found.index.record(latent).histogram,
        tried=_tried(windows, latent, answer.found) if isinstance(answer.found, TextFound) else None,
    )


PAGE = Page(path="/runs/{run}/features/{latent}/try", build=try_text, template=TEMPLATES / "try.html", asks=ask)


def _tried(windows: Windows, latent: int, here: TextFound) -> TriedView:
    mine = here.latents == latent
    active = dict(zip(here.places[mine].tolist(), here.values[mine].tolist(), strict=True))
    first = next((place for place, counted in enumerate(here.counted) if counted), 0)
    peak = max(active, key=lambda place: abs(active[place]), default=first)
    largest = abs(active.get(peak, 0.0))
    begins = int(here.tokens[0] == windows.corpus.bos_id)  # which is no text of the reader's
    shown = {place - begins: value for place, value in active.items()}
    below = float(np.mean(np.abs(windows.values) <= largest)) if largest and len(windows.values) else None
    return TriedView(
        example=windows.typed(here.tokens[begins:], shown, max(0, peak - begins), position=peak),
        n_active=len(active),
        n_tokens=sum(here.counted),
        share_below=below,
    )
