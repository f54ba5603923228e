"""The browser's server: routes, errors, and nothing that needs PyTorch."""

import gc
import inspect
import socket
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from sparselex.base.errors import UserError
from sparselex.base.registry import Registry
from sparselex.base.workspace import Workspace
from sparselex.server.navigation import Navigation
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import NoSuchPage, Page
from sparselex.server.rendering import HEADERS, Rendering, SafeHeaders
from sparselex.server.strangers import Impatient, KnownHosts

STATIC = Path(__file__).parent / "static"
"""Where static files lie."""

PAGES: Registry[Page] = Registry(
    "page",
    {
        "overview": "sparselex.server.pages.overview:PAGE",
        "features": "sparselex.server.pages.features:PAGE",
        "random": "sparselex.server.pages.features:RANDOM",
        "feature": "sparselex.server.pages.feature:PAGE",
        "about": "sparselex.server.pages.about:PAGE",
    },
)
"""All pages, those of other packages included."""


def create_app(workspace: Workspace, *, host: str = "127.0.0.1") -> FastAPI:
    """The application over one workspace, for requests to `host` or this machine. It reads; nothing it does changes an
    artifact.

    Raises `UserError` if a page of another package cannot be loaded.
    """
    app = FastAPI(title="sparselex", docs_url=None, redoc_url=None, openapi_url=None)
    opened, pages = OpenWorkspace(workspace), [page for _, page in PAGES.items()]
    rendering = Rendering(Navigation(pages, opened))
    app.add_middleware(KnownHosts, host=host)
    app.add_middleware(SafeHeaders)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    # Fixed words before parameters: `random` is no latent.
    for page in sorted(pages, key=lambda page: len(page.parameters)):
        _add_page(app, page, opened, rendering)
    _add_errors(app, rendering)
    return app


def _add_page(app: FastAPI, page: Page, opened: OpenWorkspace, rendering: Rendering) -> None:
    def show(request: Request, **asked: Any) -> Response:
        return rendering.show(page.build(opened, **asked), page.template, request)

    # What the builder takes besides the workspace, FastAPI reads out of the signature, and checks.
    taken = list(inspect.signature(page.build, eval_str=True).parameters.values())[1:]
    request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in taken]
    show.__signature__ = inspect.Signature([request, *keywords])  # type: ignore[attr-defined]
    for path in (page.json_path, page.path):
        app.add_api_route(path, show, response_model=None)


def _add_errors(app: FastAPI, rendering: Rendering) -> None:
    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> Response:
        status = 404 if isinstance(error, NoSuchPage) else 409
        return rendering.error(request, status, f"{error.given} Expected: {error.expected}.", error.todo)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        plain = error.status_code == 404
        message = f"{request.url.path} is no page of this workspace." if plain else f"{error.detail}."
        return rendering.error(request, error.status_code, message)

    @app.exception_handler(RequestValidationError)
    async def bad_request(request: Request, error: RequestValidationError) -> Response:
        where = ", ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
        return rendering.error(request, 400, f"The address asks for something impossible ({where}).")

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        # Starlette raises the error again behind this answer, so it is logged with its traceback; this
        # answer is made outside of all middleware and brings its headers itself.
        message, todo = "This is a fault in sparselex.", "see the server's output for what went wrong."
        answer = rendering.error(request, 500, message, todo)
        answer.headers.update(HEADERS)
        return answer


def serve(workspace: Workspace, *, host: str = "127.0.0.1", port: int = 8321) -> None:
    """Serve a workspace until interrupted; prints the address once it answers. Port 0 takes any free one.

    Raises `UserError` if the address cannot be used.
    """
    app, listener = create_app(workspace, host=host), _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    print(f"\nsparselex is at http://{shown}:{listener.getsockname()[1]}  (stop with Ctrl-C)", flush=True)
    # Without this, every few dozen pages wait 12 ms while the garbage collector walks over all imported modules.
    gc.freeze()
    server_of(app).run(sockets=[listener])


def server_of(app: FastAPI) -> uvicorn.Server:
    """What serves the application over sockets."""
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, http=Impatient))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay (40 ms an answer) off only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Listening before the address is printed: whoever follows it at once waits instead of being refused.
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UserError(
            f"Port {port} on {host} cannot be used: {error.strerror}.",
            "a free port on an address of this machine",
            "choose another with --port, or --port 0 for any free one.",
        ) from None
    return listener
