"""The one door that writes: a request from a page of this server, checked, then one operation, answered when it is on
the disk."""

import asyncio
import json
import secrets
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.server.notes.markdown import from_markdown
from sparselex.server.notes.merging import Merged, merge
from sparselex.server.notes.operations import NotThere, Overtaken, Written
from sparselex.server.notes.store import NoteStore, change
from sparselex.server.page import TEMPLATES, PageRecord
from sparselex.server.rendering import ERROR, ErrorPage, Place, Rendering
from sparselex.server.strangers import is_own_page

MOST_BYTES = 2**18
"""Bytes of a request to write: the longest text, escaped."""

BODY_S = 30.0
"""How long a client may take to send what is to be written."""

MOST_FILE = 2**23
"""Bytes of a file of notes that is taken up."""

MOST_FIELDS = 50
"""Fields of a form."""

JSON, FORM, MARKDOWN = "application/json", "application/x-www-form-urlencoded", "text/markdown"

_BACK = frozenset(map(chr, range(0x21, 0x7F))) - {"\\"}
"""What an address to go back to is written in: anything else is escaped there."""


class OvertakenPage(PageRecord):
    """What is shown where somebody wrote meanwhile: both texts, of which none is lost."""

    message: str
    """A plain sentence."""

    now: str
    """The text that stands there now."""

    sent: dict[str, str]
    """What was sent, with the version that stands there now: sent again, it takes that one's place."""


class Refused(Exception):
    """A request that is not taken."""

    def __init__(self, status: int, message: str, todo: str):
        super().__init__(message)
        self.status, self.message, self.todo = status, message, todo


def add_door(app: FastAPI, notes: NoteStore, rendering: Rendering) -> None:
    """Let the application take operations at `POST /notes`, as JSON or as a form, and files at `POST /notes/import`."""

    @app.post("/notes")
    async def write(request: Request) -> Response:
        place, values = Place.of(request), dict[str, Any]()
        try:
            kind, body = await checked(request, place, MOST_BYTES, (JSON, FORM))
            values = values_of(kind, body)
            done = await run_in_threadpool(_write, notes, values)
        except Overtaken as error:
            return _overtaken(rendering, place, wants_json(request), error, values)
        except Refused as refused:
            return told(rendering, place, wants_json(request), refused)
        if kind == FORM:
            return RedirectResponse(_home(place, values.get("back", "")), status_code=303)
        return _json(200, done)

    @app.post("/notes/import")
    async def take_up(request: Request) -> Response:
        place = Place.of(request)
        try:
            kind, body = await checked(request, place, MOST_FILE, (MARKDOWN, FORM))
            text = values_of(kind, body).get("text", "") if kind == FORM else _text(body)
            done = await run_in_threadpool(_merge, notes, text)
        except Refused as refused:
            return told(rendering, place, wants_json(request), refused)
        page = TakenUpPage(title="Taken up", summary=done.summary, conflicts=done.conflicts)
        return _json(200, page) if wants_json(request) else rendering.show(page, None, place)


class TakenUpPage(PageRecord):
    """What came of a file that was taken up."""

    summary: str
    """In words."""

    conflicts: list[str]
    """What is otherwise here than in the file, and stays so."""


def _merge(notes: NoteStore, text: str) -> Merged:
    """Raises `Refused` for a file that is none, and for all else that does not succeed."""
    try:
        found = from_markdown(text, "the file")
    except UserError as error:
        raise Refused(400, f"{error.given}. Expected: {error.expected}.", error.todo) from None
    try:
        return merge(notes, found)
    except UserError as error:
        raise Refused(503, error.given, error.todo) from None


def _write(notes: NoteStore, values: dict[str, Any]) -> Written:
    """Raises `Overtaken`, and `Refused` for all else that does not succeed."""
    # Whoever has no program of their own on the page draws no ids.
    drawn = {"id": secrets.token_hex(8)} if values.get("do") in ("note", "study") else {}
    try:
        operation = change(drawn | {name: value for name, value in values.items() if name != "back"})
    except UserError as error:
        raise Refused(400, error.given, error.todo) from None
    try:
        return notes.write(operation)
    except Overtaken:
        raise
    except NotThere as error:
        raise Refused(404, error.given, error.todo) from None
    except UserError as error:  # the database is locked, damaged, or on a full disk
        raise Refused(503, error.given, error.todo) from None


async def checked(request: Request, place: Place, most: int, kinds: tuple[str, ...]) -> tuple[str, bytes]:
    """The media type of a request to write and its body. Raises `Refused` for one that may not write, comes from a page
    of another site, or is not of these types and at most so long."""
    if not place.may_write:
        raise Refused(403, "This server is for reading only.", "ask who started it, with --read-only.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    own = is_own_page(request)
    # No browser lets another site send other types than a form's without asking first; what is no browser says nothing.
    if own is False or (own is None and kind == FORM):
        words = "This request is not from a page of this server, or the proxy before it does not pass Host on."
        raise Refused(403, words, "write from the pages themselves.")
    if kind not in kinds:
        raise Refused(415, f"{kind[:80] or 'Nothing'} is not what is written.", f"send {' or '.join(kinds)}.")
    try:
        async with asyncio.timeout(BODY_S):
            return kind, await _body(request, most)
    except TimeoutError:
        raise Refused(408, "The request did not come to its end.", "send it again.") from None


def wants_json(request: Request) -> bool:
    """Whether an answer is read by a program rather than a person."""
    return "text/html" not in request.headers.get("accept", "")


async def _body(request: Request, most: int) -> bytes:
    too_long = Refused(413, f"This is more than {most:,} bytes.", "write less at once.")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most:
        raise too_long
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > most:
            raise too_long
    return bytes(found)


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except ValueError:
        raise Refused(400, "What was sent is no UTF-8.", "send the file as it was written.") from None


def values_of(kind: str, body: bytes) -> dict[str, Any]:
    """What a request says. Raises `Refused` for what is no JSON object, or no form, in UTF-8."""
    try:
        text = body.decode()
        if kind == FORM:
            return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS))
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(400, "What was sent cannot be read.", f"send {kind} in UTF-8.") from None
    if not isinstance(values, dict):
        raise Refused(400, "What was sent is no JSON object.", "send the fields of one operation.")
    return values


def _home(place: Place, back: str) -> str:
    """Where a form leads: back to the page that it stands on, never to another host."""
    is_path = back.startswith("/") and not back.startswith("//") and _BACK.issuperset(back)
    return place.root + (back if is_path else "/notes")


def _overtaken(rendering: Rendering, place: Place, as_json: bool, error: Overtaken, values: dict[str, Any]) -> Response:
    if as_json:
        return _json(409, Told(message=error.given, todo=error.todo, now=error.now, version=error.version))
    sent = {name: str(value) for name, value in values.items()} | {"version": str(error.version)}
    page = OvertakenPage(title="Changed meanwhile", message=error.given, now=error.now, sent=sent)
    return rendering.show(page, TEMPLATES / "overtaken.html", place, 409)


class Told(Config):
    """Why nothing was written, to a program."""

    message: str
    """A plain sentence."""

    todo: str
    """What to do next."""

    now: str = ""
    """The text that stands there, where somebody wrote meanwhile."""

    version: int = 0
    """Which text that is."""


def told(rendering: Rendering, place: Place, as_json: bool, refused: Refused) -> Response:
    """The answer to a request that was refused."""
    if as_json:
        return _json(refused.status, Told(message=refused.message, todo=refused.todo))
    page = ErrorPage(title="Not written", status=refused.status, message=refused.message, todo=refused.todo)
    return rendering.show(page, ERROR, place, refused.status)


def _json(status: int, record: Config) -> Response:
    return Response(record.model_dump_json(), status_code=status, media_type=JSON)
