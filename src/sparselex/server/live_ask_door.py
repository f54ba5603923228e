"""The door for those who ask a language model about a feature: `POST /runs/<run>/features/<latent>/ask`."""

from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from sparselex.base.errors import UserError
from sparselex.explain.asking.registry import JUDGES
from sparselex.server.live_ask import Asker, Busy
from sparselex.server.live_ask_records import Job
from sparselex.server.notes.door import FORM, JSON, Refused, checked, told, values_of, wants_json
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.ask_view import writers_of
from sparselex.server.pages.feature import checked_latent
from sparselex.server.rendering import Place, Rendering

MOST_BYTES = 2**12
"""Bytes of a request."""


def add_ask_door(app: FastAPI, asker: Asker | None, opened: OpenWorkspace, rendering: Rendering) -> None:
    """Let the application take what readers ask of the `asker`: `do` is count, ask or stop; `writer` and a field
    `judge-<name>` for each judge say by whom. Checked as notes are; refused where the server asks no language model."""

    @app.post("/runs/{run}/features/{latent}/ask")
    async def ask(request: Request, run: str, latent: int) -> Response:
        place = Place.of(request)
        try:
            kind, body = await checked(request, place, MOST_BYTES, (JSON, FORM))
            await run_in_threadpool(_take, asker, opened, run, latent, values_of(kind, body))
        except Refused as refused:
            return told(rendering, place, wants_json(request), refused)
        here = f"{place.root}/runs/{quote(run, safe='')}/features/{latent}"
        return RedirectResponse(f"{here}#ask" if kind == FORM else f"{here}/ask.json", status_code=303)


def _take(asker: Asker | None, opened: OpenWorkspace, run: str, latent: int, values: dict[str, Any]) -> None:
    """Raises `Refused`."""
    if asker is None:
        raise Refused(409, "This server asks no language model.", "start it with --llm URL --llm-model NAME.")
    job, do = _job(opened, run, latent, values), values.get("do")
    if do == "stop":
        asker.stop(run, latent)
        return
    if do not in ("count", "ask"):
        raise Refused(400, "It is not said what is to be done.", "send do=count, ask or stop.")
    try:
        asker.start(job)
    except Busy as busy:
        words = f"Somebody is asking about {busy} already, and this server asks about one feature at a time."
        raise Refused(409, words, "wait until that is done, then ask again.") from None


def _job(opened: OpenWorkspace, run: str, latent: int, values: dict[str, Any]) -> Job:
    """What is asked for. Raises `Refused`."""
    try:
        found = opened.index(run)
        checked_latent(found, run, latent)
    except UserError as error:
        raise Refused(404, error.given, error.todo) from None
    writer, writers = values.get("writer") or "llm", writers_of(opened, run, latent)
    judges = tuple(name for name in JUDGES.names() if values.get(f"judge-{name}"))
    only_stops = values.get("do") == "stop"
    if writer not in writers or not (judges or only_stops):
        expected = f"a writer ({', '.join(writers)}) and one of the judges {', '.join(JUDGES.names())} or more"
        raise Refused(400, "It is not said who is to explain and who is to judge.", f"choose {expected}.")
    return Job(run, latent, writer, judges, values.get("do") == "count")
