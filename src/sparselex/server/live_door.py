"""Requests that ask something of the live model: who may, who waits, who has left."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.live import Live, Ticket
from sparselex.server.live_records import EMPTY, STATUS, Answer, Question
from sparselex.server.live_turns import Full, Reader

COOKIE = "sparselex-reader"
"""Tells readers of one address apart, so that they take turns."""

PATIENCE_S = 1.5
"""How long a page waits for a model to be loaded before it says that it is."""

LOOK_S = 0.25
"""How often it is looked whether a reader has left."""


class Door:
    """Asks the live model for readers of pages; without one it says so."""

    def __init__(self, workspace: Workspace, live: Live | None):
        self._workspace, self.live = workspace, live

    async def answer(self, request: Request, asks: Callable[..., Question | None], given: Mapping[str, Any]) -> Answer:
        """What becomes of what a page `asks` with these parameters. Raises nothing but what ends the request."""
        try:
            question = asks(**given)
        except UserError as error:
            return Answer("refused", f"{error.given} Expected: {error.expected}.", error.todo)
        if question is None or not self._workspace.has(question.run, "index"):
            return EMPTY  # the page itself says what is not there
        if self.live is None:
            return Answer("off", "This server runs no model.", "see the command below.")
        if not is_own(request):
            return Answer(
                "elsewhere",
                "Another site led here, so nothing was computed.",
                "look at what is asked, then press the button.",
            )
        return self.live.known(question) or await self._asked(self.live, request, question)

    def mark(self, request: Request, answer: Answer, response: Response) -> Response:
        """The page with the status of its answer; a reader who has no mark yet gets one."""
        if response.status_code == 200:
            response.status_code = STATUS[answer.state]
        if answer.state in ("loading", "busy", "ended"):
            response.headers["retry-after"] = "2"
        if self.live is not None and COOKIE not in request.cookies:
            response.set_cookie(COOKIE, secrets.token_urlsafe(12), httponly=True, samesite="strict")
        return response

    async def _asked(self, live: Live, request: Request, question: Question) -> Answer:
        reader = reader_of(request)
        try:
            opening = live.opening(question.run, reader)
            if opening is not None:
                done, _ = await asyncio.wait([_awaited(opening)], timeout=PATIENCE_S)
                if not done:
                    return _loading(live.opens_since(question.run))
                if opening.result().state != "answered":
                    return opening.result()
            return await self._unless_left(live, request, live.put(reader, question))
        except Full as full:
            return Answer("busy", f"{full}.", "wait until one of them is answered, then ask again.")

    async def _unless_left(self, live: Live, request: Request, ticket: Ticket) -> Answer:
        waited = _awaited(ticket.answer)
        try:
            while not (await asyncio.wait([waited], timeout=LOOK_S))[0]:
                if await request.is_disconnected():
                    return Answer("left")
            return waited.result()
        finally:
            if not ticket.answer.done():
                live.leave(ticket)


def is_own(request: Request) -> bool:
    """Whether a request may cost something: one of this site's own pages, of a person who typed or kept the address, or
    of a program that is no browser. Another site's page could else have its readers' browsers keep the model busy."""
    return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def reader_of(request: Request) -> Reader:
    """Who asks."""
    return Reader(request.client.host if request.client else "", request.cookies.get(COOKIE, "")[:40])


def _awaited(answer: "Future[Answer]") -> "asyncio.Future[Answer]":
    return asyncio.wrap_future(answer)


def _loading(since_s: float) -> Answer:
    message = f"The model of this run is being loaded, for {since_s:.0f} s so far."
    return Answer(
        "loading", message, "wait: this page asks again by itself, and every later answer comes without that."
    )
