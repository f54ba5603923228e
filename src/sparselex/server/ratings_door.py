"""The door for ratings: an answer to a question of `/rate/<run>`, checked as notes are, counted once."""

import threading
import time
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import Field, StringConstraints, ValidationError
from starlette.concurrency import run_in_threadpool

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.explain.ratings.question import Asked, Asking
from sparselex.explain.ratings.records import Choice, Rating, print_of
from sparselex.explain.ratings.store import RatingStore
from sparselex.explain.store import ExplanationStore
from sparselex.server.notes.door import FORM, JSON, Refused, checked, told, values_of, wants_json
from sparselex.server.opened import OpenWorkspace
from sparselex.server.rendering import Place, Rendering

MOST_BYTES = 2**12
"""Bytes of an answer."""

MOST_SECONDS = 86_400.0
"""What took longer was left open."""

Rater = Annotated[str, StringConstraints(max_length=60, strip_whitespace=True, pattern=r"^[^\x00-\x1f]*$")]
"""What people call themselves."""


class Answer(Config):
    """What a person sends."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Of the question."""

    begun: Annotated[int, Field(ge=0, le=2**52)]
    """When it was shown, milliseconds since 1970."""

    shown: Annotated[str, Field(max_length=40)]
    """Fingerprint of what was shown."""

    choice: Choice
    """What fits."""

    rater: Rater = ""
    """The person's name, if they gave one."""


class Counted(Config):
    """What became of an answer."""

    counted: bool
    """Whether it is a new rating: the same answer sent twice is one."""

    n_rated: int
    """Ratings of the run's latents now."""


def add_ratings_door(app: FastAPI, opened: OpenWorkspace, rendering: Rendering) -> None:
    """Let the application take answers at `POST /rate/<run>`, as JSON or as a form."""
    scoring = threading.Lock()

    @app.post("/rate/{run}")
    async def write(request: Request, run: str) -> Response:
        place = Place.of(request)
        try:
            kind, body = await checked(request, place, MOST_BYTES, (JSON, FORM))
            answer = _answer(values_of(kind, body))
            done = await run_in_threadpool(_take, opened, run, answer, scoring)
        except Refused as refused:
            return told(rendering, place, wants_json(request), refused)
        if kind == FORM:
            more = f"?{urlencode({'rater': answer.rater})}" if answer.rater else ""
            return RedirectResponse(f"{place.root}/rate/{quote(run, safe='')}{more}", status_code=303)
        return Response(done.model_dump_json(), media_type=JSON)


def _answer(values: dict[str, Any]) -> Answer:
    try:
        return Answer.model_validate(values)
    except ValidationError as error:
        fields = ", ".join(str(one["loc"][-1]) if one["loc"] else "it" for one in error.errors()[:5])
        raise Refused(400, f"This is no answer ({fields}).", "answer from the page itself.") from None


def _take(opened: OpenWorkspace, run: str, answer: Answer, scoring: threading.Lock) -> Counted:
    """Write an answer and score what it is of. Raises `Refused`."""
    index, database = opened.index(run).index, opened.workspace.database
    store = RatingStore(database)
    asked = Asking(index, ExplanationStore(database)).of(answer.id)
    if asked is None or asked.shown != answer.shown:
        raise Refused(409, "What was shown is not what explainers say now.", "answer the next question.")
    try:
        # One after another: who scores last has read all that was written before.
        with scoring:
            new = store.add([_rating(index.id, answer, asked)])
            if new:
                store.score(index.id, [asked.latent])
            return Counted(counted=bool(new), n_rated=store.count(index.id))
    except UserError as error:  # the database is locked, damaged, or on a full disk
        raise Refused(503, error.given, error.todo) from None


def _rating(index_id: str, answer: Answer, asked: Asked) -> Rating:
    now = time.time()
    return Rating(
        id=answer.id,
        index=index_id,
        latent=asked.latent,
        a_explainer=asked.a.explainer,
        a_latent=asked.a.latent,
        a_text=print_of(asked.a),
        b_explainer=asked.b.explainer,
        b_latent=asked.b.latent,
        b_text=print_of(asked.b),
        positions=str(asked.positions),
        choice=answer.choice,
        seconds=min(MOST_SECONDS, max(0.0, now - answer.begun / 1000)),
        rater=answer.rater,
        written=datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
    )
