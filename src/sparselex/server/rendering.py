"""Records in, answers out: templates, JSON, errors, and the headers on every answer."""

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import BaseLoader, ChoiceLoader, DictLoader, Environment, FileSystemLoader, FunctionLoader, StrictUndefined
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sparselex.base import formats
from sparselex.features.printing import visible
from sparselex.server import charts, grid, lines, marking
from sparselex.server.navigation import Navigation
from sparselex.server.notes.quoting import around
from sparselex.server.page import TEMPLATES, Download, Elsewhere, PageRecord
from sparselex.server.pages.activity import PROXIES
from sparselex.server.pages.feature_notes import noted_of

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with that, a browser does not say either that a form is of a page of this server.
    "referrer-policy": "same-origin",
    # Artifacts and program may change behind an address: a browser asks each time.
    "cache-control": "no-cache",
}
"""Sent with every answer: nothing from other hosts, nothing inline, no guessing of types."""

PLAIN, ERROR = TEMPLATES / "record.html", TEMPLATES / "error.html"
"""Templates of a page that brings none, and of an error."""


def asked(query: str) -> dict[str, str]:
    """What stands behind an address's `?`, by name."""
    return dict(parse_qsl(query))


FILTERS = {
    "number": formats.number,
    "fixed": formats.fixed,
    "count": formats.count,
    "counted": formats.counted,
    "percent": formats.percent,
    "pretty": formats.pretty,
    "bars": marking.bars,
    "breakable": marking.breakable,
    "leading_bars": marking.leading_bars,
    "stack": marking.stack,
    "said": marking.said,
    "example": marking.example,
    "judged": marking.judged,
    "examples": marking.examples,
    "prose": marking.prose,
    "cells": grid.cells,
    "heat": grid.level,
    "visible": visible,
    "around": around,
    "feature_rows": lines.feature_rows,
    "named": lines.named,
    "score": lines.score,
    "scored_by": lines.scored_by,
    "near_latents": lines.near_latents,
    "token_effects": lines.token_effects,
    "token_shares": lines.token_shares,
    "asked": asked,
}


class Place(NamedTuple):
    """Where a reader is."""

    path: str
    """Path of the address within the workspace, as it was asked for."""

    query: str = ""
    """What stands behind its `?`."""

    run: str = ""
    """The run whose page it is; empty where it is none's."""

    root: str = ""
    """What stands in front of every path of this workspace in an address: empty where it has the server to itself."""

    live: bool = False
    """Whether there is a live model to be asked."""

    may_write: bool = True
    """Whether notes may be written here."""

    home: str = ""
    """Address of the page of all workspaces; empty where the server has one."""

    @classmethod
    def of(cls, request: Request) -> "Place":
        """Where a request leads."""
        root, state = request.scope.get("root_path", "").rstrip("/"), request.app.state
        # Not the path of `request.url`, which ends where a name has a `?` in it.
        path = request.scope["path"].removeprefix(root) or "/"
        live = getattr(state, "live", None) is not None
        run, query = request.path_params.get("run", ""), request.scope.get("query_string", b"").decode("latin-1")
        return cls(path, query, run, quote(root), live, state.may_write, state.home)


class ErrorPage(PageRecord):
    """What is shown when there is no page."""

    status: int
    """HTTP status."""

    message: str
    """A plain sentence."""

    todo: str
    """What to do next."""


class SafeHeaders:
    """Puts the same headers on every answer, files and errors included."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        await self.app(scope, receive, with_headers)


class Rendering:
    """Records as pages or, where the address ends in `.json`, as themselves."""

    def __init__(self, navigation: Navigation, *, frameless: bool = False):
        """`frameless` draws every page in `bare.html`, as a part of a larger one."""
        # By name from our folder (what templates extend and include), and a page's own by its whole path.
        loaders: list[BaseLoader] = [FileSystemLoader(TEMPLATES), FunctionLoader(_at_path)]
        if frameless:
            loaders.insert(0, DictLoader({"base.html": (TEMPLATES / "bare.html").read_text(encoding="utf-8")}))
        self._templates = Environment(
            loader=ChoiceLoader(loaders),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        noted = partial(noted_of, navigation.opened)
        self._templates.globals |= {"charts": charts, "navigation": navigation, "proxies": PROXIES, "noted": noted}
        self._templates.filters |= FILTERS
        self._templates.tests["record"] = lambda value: isinstance(value, BaseModel)

    def show(
        self, found: PageRecord | Elsewhere | Download, template: Path | None, place: Place, status: int = 200
    ) -> Response:
        """What a builder found, in the form that the address asks for."""
        path, query = place.path, f"?{place.query}" if place.query else ""
        as_json = path.endswith(".json")
        if isinstance(found, Elsewhere):
            return RedirectResponse(place.root + found.address + ".json" * as_json, status_code=302)
        if isinstance(found, Download):
            named = {"content-disposition": f'attachment; filename="{found.name}"'}
            return Response(found.content, status_code=status, media_type=found.media_type, headers=named)
        if as_json:
            return Response(_json(found), status_code=status, media_type="application/json")
        where = place._asdict() | {"page": found}
        twin = ("/index.json" if path == "/" else quote(f"{path}.json")) + query
        text = self._templates.get_template(str(template or PLAIN)).render(twin=twin, **where)
        return HTMLResponse(text.encode(errors="backslashreplace"), status_code=status)

    def draw(self, template: str, **words: Any) -> str:
        """One of our templates, with these words."""
        return self._templates.get_template(template).render(**words)

    def error(
        self, place: Place, status: int, message: str, todo: str = "go back to the overview.", title: str = ""
    ) -> Response:
        """A plain sentence in place of a page."""
        title = title or ("There is no such page" if status == 404 else "This page cannot be shown")
        record = ErrorPage(title=title, status=status, message=message, todo=todo)
        return self.show(record, ERROR, place, status)


def _json(found: PageRecord) -> str:
    try:
        return found.model_dump_json()
    except PydanticSerializationError:  # a path in it is no UTF-8: its bytes are escaped
        return json.dumps(found.model_dump(mode="json"))


def _at_path(name: str) -> str | None:
    path = Path(name)
    return path.read_text(encoding="utf-8") if path.is_absolute() and path.is_file() else None
