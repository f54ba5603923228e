"""`/runs/<run>/features/<latent>/without`: what the model predicts without one feature, at a place or on a text."""

from typing import Annotated

import numpy as np
from pydantic import Field

from sparselex.base.bounds import Seed
from sparselex.base.config import Config
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.explained import title_of
from sparselex.server.live_records import EMPTY, AblateFound, AblateQuestion, Answer, To
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page
from sparselex.server.pages.asking import AskingPage, Typed, as_typed, asking, printable
from sparselex.server.pages.effects import ChangedView
from sparselex.server.pages.feature import Latent, checked_latent
from sparselex.text.rows import TokenRows

N_LISTED = 12
"""Places in the table of those whose prediction changes most."""

Place = Annotated[int, Field(ge=-1, lt=10**15)]


class WithoutToken(Config):
    """What the ablation does to one token's prediction of the next."""

    position: int
    """Counted from 0, the first token of the row (BOS, where there is one)."""

    token: int
    """Token id."""

    text: str
    """Printable text; of a character that several tokens make the last has it, the others nothing."""

    name: str
    """The token as it stands in lists."""

    next: str
    """The token that comes, as it stands in lists; empty at the last."""

    activation: float
    """The latent's activation there; 0 where a dictionary is shown no such token."""

    to: float
    """What it is changed to."""

    kl: float
    """KL divergence of what is predicted without the latent from what is predicted with it, nats."""

    loss: float | None
    """How much the cross-entropy of the token that comes rises, nats; None at the last."""

    changed: list[ChangedView]
    """The next tokens whose probabilities change most."""


class WithoutPage(AskingPage):
    """`/runs/<run>/features/<latent>/without`: what the model predicts without one feature, at a place or on a text."""

    latent: int
    """Number of the latent."""

    explanation: str
    """Its explanation in short; empty if there is none."""

    position: int
    """The position of the corpus at which it is taken away; -1 for a text of the reader's."""

    document: str
    """Name of the document there; empty for a text of the reader's."""

    prompt: str
    """The reader's text."""

    to: To
    """What the activation becomes: 0, its mean over the training split, or what it is at other tokens of it."""

    seed: int
    """Of what `resample` draws."""

    largest: float
    """Largest activation by size in the corpus; full heat on this page."""

    example: ExampleView | None
    """The text with the activations on it; None where nothing was asked or could be answered."""

    tokens: list[WithoutToken]
    """What changes, token by token."""

    most: list[int]
    """Places in `tokens` whose predictions change most, the foremost first."""

    largest_loss: float
    """Largest change of loss by size; full heat in the row of effects."""


def ask(run: str, latent: int, position: int, prompt: str, to: To, seed: int, **_: object) -> AblateQuestion | None:
    """What is asked of the model."""
    if position < 0 and not prompt:
        return None
    place = position if position >= 0 else None
    text = "" if position >= 0 else as_typed(prompt)
    return AblateQuestion(run=run, latent=latent, prompt=text, position=place, to=to, seed=seed)


def without(
    opened: OpenWorkspace,
    run: str,
    latent: Latent,
    position: Place = -1,
    prompt: Typed = "",
    to: To = "zero",
    seed: Seed = 0,
    answer: Answer = EMPTY,
) -> WithoutPage:
    """What the model predicts without one feature. Raises `NoSuchPage` for a latent or a position that there is not."""
    found = opened.index(run)
    checked_latent(found, run, latent)
    corpus = found.index.corpus
    if position >= corpus.n_rows * corpus.n_ctx:
        expected = f"a number below {corpus.n_rows * corpus.n_ctx}"
        raise NoSuchPage(f"The corpus has no position {position}.", expected, "choose an example of a feature.")
    windows, here = Windows(found.index, latent, found.texts), answer.found
    tokens = _tokens(found, here, position) if isinstance(here, AblateFound) else []
    owner = int(corpus.documents[divmod(position, corpus.n_ctx)]) if position >= 0 else -1
    return WithoutPage(
        **asking(opened, run, answer, f"{run} without {latent}"),
        latent=latent,
        explanation=title_of(opened.explained.entries(found.index), latent),
        position=position,
        document=corpus.names[owner] if owner >= 0 else "",
        prompt="" if position >= 0 else as_typed(prompt),
        to=to,
        seed=seed,
        largest=windows.largest,
        example=_example(windows, tokens, position) if tokens else None,
        tokens=tokens,
        most=sorted((n for n, one in enumerate(tokens) if one.kl > 0), key=lambda n: -tokens[n].kl)[:N_LISTED],
        largest_loss=max((abs(one.loss or 0) for one in tokens), default=0.0),
    )


PAGE = Page(path="/runs/{run}/features/{latent}/without", build=without, template=TEMPLATES / "without.html", asks=ask)


def _tokens(found: OpenIndex, here: AblateFound, position: int) -> list[WithoutToken]:
    """Those of the document, or of the reader's text, BOS left out."""
    corpus, label = found.index.corpus, found.texts.label
    begins = _begins(corpus, position) if position >= 0 else int(here.tokens[0] == corpus.bos_id)
    nexts = [*map(label, here.tokens[1:]), ""]
    printed = printable(found.texts, here.tokens)
    return [
        WithoutToken(
            position=place,
            token=here.tokens[place],
            text=printed[place],
            name=label(here.tokens[place]),
            next=nexts[place],
            activation=one.activation,
            to=one.to,
            kl=one.kl,
            loss=one.loss,
            changed=[
                ChangedView(token=each.token, text=label(each.token), before=each.before, after=each.after)
                for each in one.changed
            ],
        )
        for place, one in enumerate(here.ablated.tokens)
        if place >= begins
    ]


def _example(windows: Windows, tokens: list[WithoutToken], position: int) -> ExampleView:
    active = {n: one.activation for n, one in enumerate(tokens) if one.activation}
    if position < 0:
        peak = max(active, key=lambda n: abs(active[n]), default=0)
        return windows.typed([one.token for one in tokens], active, peak, position=tokens[peak].position)
    peak = position % windows.corpus.n_ctx - _begins(windows.corpus, position)
    return windows.typed([one.token for one in tokens], active, peak, position=position)


def _begins(corpus: TokenRows, position: int) -> int:
    """Where in its row the document begins that a position is in."""
    row, column = divmod(position, corpus.n_ctx)
    return int(np.flatnonzero(corpus.documents[row] == corpus.documents[row, column])[0])
