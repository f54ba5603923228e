"""`/runs/<run>/steer`: what the model writes when latents are turned up or one is held, beside what it writes by
itself."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from fastapi import Query
from pydantic import Field, StringConstraints

from sparselex.base.bounds import SEEDS, Seed
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.server.explained import title_of
from sparselex.server.live_records import (
    EMPTY,
    MOST_NEW,
    MOST_PINNED,
    MOST_STEERED,
    Answer,
    At,
    Pinned,
    PinQuestion,
    Steered,
    SteerQuestion,
    Written,
)
from sparselex.server.opened import OpenIndex, OpenWorkspace
from sparselex.server.page import TEMPLATES, Page
from sparselex.server.pages.asking import AskingPage, Typed, as_typed, asking, printable
from sparselex.server.pages.pinned_view import PinnedView, pinned_view

_SHORT = StringConstraints(max_length=24)
Numbers = Annotated[list[Annotated[str, _SHORT]], Query(max_length=MOST_STEERED)]
"""Numbers in the fields of a form; some of them may be empty."""

NONE: list[str] = []

New = Annotated[int, Field(ge=1, le=MOST_NEW)]
Temperature = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Divergence = Annotated[str, _SHORT]
Samples = Annotated[int, Field(ge=1, le=MOST_PINNED)]

How = Literal["add", "pin"]
"""Whether a latent is turned up, or held at a value."""

USUAL = 2.0
"""Strength where none is said, as of `sparselex steer`."""

_MOST_STRENGTH, _MOST_VALUE = 1000.0, 1e6


class SteeredLatent(Config):
    """A latent that is steered."""

    latent: int
    """Its number."""

    title: str
    """Its explanation in short; empty if there is none."""

    strength: float
    """How many times its largest activation in the training split is asked for."""

    by: float | None
    """How much was added to its activation; None before it is steered."""


class SteerToken(Config):
    """A token of a text that was written, or of the prompt before it."""

    token: int
    """Token id."""

    text: str
    """Printable text; of a character that several tokens make the last has it, the others nothing."""

    new: bool
    """Whether it was written; else it is of the prompt."""

    loss: float | None
    """Its cross-entropy under the model without steering, nats; None of the first token."""

    kl: float
    """KL divergence of what is predicted at it under the steering from what is predicted without, nats."""


class WrittenView(Config):
    """A text that was written."""

    text: str
    """What was written."""

    tokens: list[SteerToken]
    """The prompt's tokens (without BOS) and those that were written."""

    loss: float
    """Mean cross-entropy of what was written under the model without steering, nats a token."""

    repeated: float | None
    """Share of the pieces of four tokens of what was written that stand in it before; None of fewer than four."""


class SteerPage(AskingPage):
    """`/runs/<run>/steer`: what the model writes when latents are turned up, beside what it writes by itself."""

    latents: list[SteeredLatent]
    """What is steered."""

    prompt: str
    """What is gone on from."""

    n: int
    """Tokens written at most."""

    temperature: float
    """0 for the likeliest."""

    seed: int
    """Of what is drawn; the same for both texts."""

    next_seed: int
    """What another sample is drawn by, around the end."""

    target_kl: float | None
    """The divergence that the strengths are scaled to, nats; None to leave them as they are."""

    kl: float | None
    """Mean KL divergence of the predictions at the prompt's tokens, nats; None before anything is steered."""

    plain: WrittenView | None
    """What is written without steering; None where nothing was asked or could be answered."""

    steered: WrittenView | None
    """What is written under it."""

    largest_kl: float
    """Largest divergence at one token; full heat on this page."""

    how: How
    """Whether latents are turned up, or one is held at a value."""

    value: float | None
    """The value that is asked for; None for the latent's largest activation."""

    at: At
    """At which tokens it is held."""

    samples: int
    """Texts of each kind that are written while it is held."""

    pinned: PinnedView | None
    """What was written while it was held; None where that was not asked, or could not be answered."""


class Asked(NamedTuple):
    """Latents with their strengths, and a divergence."""

    latents: tuple[int, ...]
    strengths: tuple[float, ...]
    kl: float | None


def ask(
    run: str,
    latent: Sequence[str],
    strength: Sequence[str],
    kl: str,
    prompt: str,
    n: int,
    temperature: float,
    seed: int,
    how: How = "add",
    value: str = "",
    at: At = "all",
    samples: int = 3,
    **_: object,
) -> SteerQuestion | PinQuestion | None:
    """What is asked of the model. Raises `UserError` for what is no number, and where several latents are to be
    held."""
    asked = parsed(latent, strength, kl)
    if not (asked.latents and prompt):
        return None
    if how == "pin":
        if len(asked.latents) > 1:
            raise UserError(f"{len(asked.latents)} latents were to be held.", "one", "name one, or turn them up.")
        return PinQuestion(
            run=run,
            prompt=as_typed(prompt),
            latent=asked.latents[0],
            value=_value(value),
            at=at,
            n_samples=samples,
            n_new=n,
            temperature=temperature,
            seed=seed,
        )
    given = {"n_new": n, "temperature": temperature, "seed": seed, **asked._asdict()}
    return SteerQuestion(run=run, prompt=as_typed(prompt), **given)


def steer(
    opened: OpenWorkspace,
    run: str,
    latent: Numbers = NONE,
    strength: Numbers = NONE,
    kl: Divergence = "",
    prompt: Typed = "",
    n: New = 40,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    how: How = "add",
    value: Divergence = "",
    at: At = "all",
    samples: Samples = 3,
    answer: Answer = EMPTY,
) -> SteerPage:
    """What the model writes plain and steered, or while a latent is held. Raises like `OpenWorkspace.index`."""
    found = opened.index(run)
    # What is no number was refused in words when it was asked.
    asked = parsed(latent, strength, kl) if _fits(latent, strength, kl) else Asked((), (), None)
    here = answer.found if isinstance(answer.found, Steered) else None
    entries = opened.explained.entries(found.index)
    by = here.by if here else [None] * len(asked.latents)
    return SteerPage(
        **asking(opened, run, answer, f"{run}: steering"),
        latents=[
            SteeredLatent(latent=one, title=title_of(entries, one), strength=times, by=added)
            for one, times, added in zip(asked.latents, asked.strengths, by, strict=True)
        ],
        prompt=as_typed(prompt),
        n=n,
        temperature=temperature,
        seed=seed,
        next_seed=(seed + 1) % SEEDS,
        target_kl=asked.kl,
        kl=here.kl if here else None,
        plain=_written(found, here.plain, here.plain_written) if here else None,
        steered=_written(found, here.steered, here.steered_written) if here else None,
        how=how,
        value=_value(value) if _is_number(value) else None,
        at=at,
        samples=samples,
        pinned=pinned_view(answer.found, found.texts) if isinstance(answer.found, Pinned) else None,
        largest_kl=max((token.kl for token in here.steered_written.tokens), default=0.0) if here else 0.0,
    )


PAGE = Page(
    path="/runs/{run}/steer",
    build=steer,
    template=TEMPLATES / "steer.html",
    label="Steer",
    needs=("index",),
    asks=ask,
)


def parsed(latents: Sequence[str], strengths: Sequence[str], kl: str) -> Asked:
    """The fields of the form as numbers. Raises `UserError` for what is none."""
    pairs = [
        (one.strip(), (strengths[place] if place < len(strengths) else "").strip()) for place, one in enumerate(latents)
    ]
    pairs = [pair for pair in pairs if pair[0]]
    for one, _ in pairs:
        if not (one.isascii() and one.isdecimal() and len(one) < 10):
            raise UserError(f"{one!r} was named as a latent.", "a number from 0", "correct it.")
    times = [_number(word, "a strength", _MOST_STRENGTH) if word else USUAL for _, word in pairs]
    return Asked(tuple(int(one) for one, _ in pairs), tuple(times), _number(kl, "a KL", 100.0) if kl.strip() else None)


def _fits(latents: Sequence[str], strengths: Sequence[str], kl: str) -> bool:
    try:
        parsed(latents, strengths, kl)
    except UserError:
        return False
    return True


def _value(word: str) -> float | None:
    return _number(word, "a value", _MOST_VALUE) if word.strip() else None


def _is_number(word: str) -> bool:
    try:
        _value(word)
    except UserError:
        return False
    return True


def _number(word: str, what: str, most: float) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) <= most:
        raise UserError(f"{word!r} was given as {what}.", f"a number of at most {most:g}", "correct it.")
    return value


def _written(found: OpenIndex, text: str, here: Written) -> WrittenView:
    tokens = here.tokens[int(here.tokens[0].token == found.index.corpus.bos_id) :]
    printed = printable(found.texts, [one.token for one in tokens])
    return WrittenView(
        text=text,
        tokens=[
            SteerToken(token=one.token, text=drawn, new=one.new, loss=one.loss, kl=one.kl)
            for one, drawn in zip(tokens, printed, strict=True)
        ],
        loss=here.loss,
        repeated=here.repeated,
    )
