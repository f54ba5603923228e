"""Contexts in, answers out: templates, JSON, errors, and the headers on every answer."""

from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sparselex.base import formats
from sparselex.base.config import Config
from sparselex.server import charts
from sparselex.server.contexts import ErrorPage

FOLDER = Path(__file__).parent
"""Where templates and static files lie."""

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Artifacts and program may change behind an address: a browser asks each time.
    "cache-control": "no-cache",
}
"""Sent with every answer: nothing from other hosts, nothing inline, no guessing of types."""


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


class Pages:
    """Contexts as pages or, where the address ends in `.json`, as themselves."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["charts"] = charts
        self._templates.filters |= {
            "number": formats.number,
            "fixed": formats.fixed,
            "count": formats.count,
            "percent": formats.percent,
            "pretty": formats.pretty,
        }

    def show(self, name: str, context: Config, request: Request, status: int = 200) -> Response:
        """The context in the form that the address asks for."""
        path = request.url.path
        if path.endswith(".json"):
            return Response(context.model_dump_json(), status_code=status, media_type="application/json")
        twin = "/index.json" if path == "/" else f"{path}.json"
        if request.url.query:
            twin += f"?{request.url.query}"
        html = self._templates.get_template(f"{name}.html").render(page=context, twin=twin)
        return HTMLResponse(html, status_code=status)

    def error(self, request: Request, status: int, message: str, todo: str = "go back to the overview.") -> Response:
        """A plain sentence in place of a page."""
        title = "There is no such page" if status == 404 else "This page cannot be shown"
        return self.show("error", ErrorPage(title=title, status=status, message=message, todo=todo), request, status)
