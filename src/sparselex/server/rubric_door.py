"""The door for the rubric: an answer to a question of `/runs/<run>/rubric`, checked as notes are, counted once."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BeforeValidator, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.explain.rubric.question import AskedInterval
from sparselex.explain.rubric.records import PERFECT, RubricAnswer, RubricScores, Words
from sparselex.explain.rubric.store import RubricStore
from sparselex.server.notes.door import FORM, JSON, Refused, checked, told, values_of, wants_json
from sparselex.server.opened import OpenWorkspace
from sparselex.server.ratings_door import MOST_SECONDS, Rater
from sparselex.server.rendering import Place, Rendering
from sparselex.server.rubric_subjects import asking_of

MOST_BYTES = 2**14
"""Bytes of an answer."""


def _number(value: Any) -> Any:
    """A digit of a form as a number; nothing chosen as nothing."""
    if isinstance(value, str):
        return None if not value else int(value) if value.isascii() and value.isdecimal() and len(value) < 3 else value
    return value


Points = Annotated[int | None, BeforeValidator(_number)]
"""Points as a form or a program sends them; how many there may be, the scores say."""


class RubricSent(Config):
    """What a person sends."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Of the question."""

    begun: Annotated[int, Field(ge=0, le=2**52)]
    """When it was shown, milliseconds since 1970."""

    shown: Annotated[str, Field(max_length=40)]
    """Fingerprint of what was shown."""

    interpretation: Words = ""
    """What it means."""

    confidence: Points
    """How sure the person is of that, 0 to 3."""

    activation: Points
    """How consistent the marked tokens are, 0 to 5."""

    logits: Points
    """How consistent the raised tokens are, 0 to 3."""

    separation: Points = None
    """Whether those that are not are weaker, 0 or 1; does not count where all are consistent."""

    specificity: Points
    """How much the interpretation leaves out, 0 to 3."""

    rater: Rater = ""
    """The person's name, if they gave one."""

    @property
    def scores(self) -> dict[str, int | None]:
        """The points as they count."""
        given = {name: getattr(self, name) for name in RubricScores.model_fields}
        return given | ({"separation": None} if self.logits == PERFECT else {})


class RubricTaken(Config):
    """What became of an answer."""

    counted: bool
    """Whether it is a new one: the same question answered twice is one answer."""

    n_answered: int
    """Answers about the run now."""


def add_rubric_door(app: FastAPI, opened: OpenWorkspace, rendering: Rendering) -> None:
    """Let the application take answers at `POST /runs/<run>/rubric`, as JSON or as a form."""

    @app.post("/runs/{run}/rubric")
    async def write(request: Request, run: str) -> Response:
        place = Place.of(request)
        try:
            kind, body = await checked(request, place, MOST_BYTES, (JSON, FORM))
            sent = _sent(values_of(kind, body))
            done = await run_in_threadpool(_take, opened, run, sent)
        except Refused as refused:
            return told(rendering, place, wants_json(request), refused)
        if kind == FORM:
            more = f"?{urlencode({'rater': sent.rater})}" if sent.rater else ""
            return RedirectResponse(f"{place.root}/runs/{quote(run, safe='')}/rubric{more}", status_code=303)
        return Response(done.model_dump_json(), media_type=JSON)


def _sent(values: dict[str, Any]) -> RubricSent:
    """Raises `Refused` for what is no answer, and for scores that there are not."""
    try:
        sent = RubricSent.model_validate(values)
        RubricScores.model_validate(sent.scores)
    except ValidationError as error:
        fields = ", ".join(str(one["loc"][-1]) if one["loc"] else "separation" for one in error.errors()[:5])
        todo = "go back, and give all five scores; separation is left out where all raised tokens are consistent."
        raise Refused(400, f"This is no answer ({fields}).", todo) from None
    return sent


def _take(opened: OpenWorkspace, run: str, sent: RubricSent) -> RubricTaken:
    """Write an answer. Raises `Refused`."""
    index, store = opened.index(run).index, RubricStore(opened.workspace.database)
    asked = asking_of(opened, run).of(sent.id)
    if asked is None or asked.shown != sent.shown:
        raise Refused(409, "What was shown is not what the run and its controls have now.", "answer the next question.")
    try:
        new = store.add([_answer(index.id, sent, asked)])
        return RubricTaken(counted=bool(new), n_answered=store.count(index.id))
    except UserError as error:  # the database is locked, damaged, or on a full disk
        raise Refused(503, error.given, error.todo) from None


def _answer(index_id: str, sent: RubricSent, asked: AskedInterval) -> RubricAnswer:
    now = time.time()
    about = {
        "id": sent.id,
        "index": index_id,
        "kind": asked.kind,
        "of": asked.of,
        "latent": asked.latent,
        "interval": asked.interval,
        "positions": str(asked.positions),
        "interpretation": sent.interpretation,
        "seconds": min(MOST_SECONDS, max(0.0, now - sent.begun / 1000)),
        "rater": sent.rater,
        "written": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
    }
    return RubricAnswer.model_validate(sent.scores | about)
