"""The browser's server: routes, errors, and nothing that needs PyTorch."""

import gc
import random
import socket
from typing import Annotated

import numpy as np
import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.pages.about import about
from sparselex.server.pages.feature import feature
from sparselex.server.pages.features import features
from sparselex.server.pages.overview import overview
from sparselex.server.reading import NoSuchPage, Reading
from sparselex.server.rendering import FOLDER, HEADERS, Pages, SafeHeaders


def create_app(workspace: Workspace) -> FastAPI:
    """The application over one workspace. It reads; nothing it does changes an artifact."""
    app = FastAPI(title="sparselex", docs_url=None, redoc_url=None, openapi_url=None)
    reading, pages = Reading(workspace), Pages()
    app.add_middleware(SafeHeaders)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    _add_pages(app, reading, pages)
    _add_errors(app, pages)
    return app


def _add_pages(app: FastAPI, reading: Reading, pages: Pages) -> None:
    @app.get("/")
    @app.get("/index.json")
    def overview_page(request: Request) -> Response:
        return pages.show("overview", overview(reading), request)

    @app.get("/runs/{run}/features")
    @app.get("/runs/{run}/features.json")
    def features_page(
        request: Request,
        run: str,
        q: Annotated[str, Query(max_length=200)] = "",
        sort: str = "f1",
        order: str = "desc",
        page: int = 1,
    ) -> Response:
        found = features(reading, run, query=q, sort=sort, descending=order != "asc", page=page)
        return pages.show("features", found, request)

    @app.get("/runs/{run}/features/random")
    def random_feature(run: str) -> Response:
        """Any living latent."""
        index = reading.index(run).index
        living = np.flatnonzero(index.table["n_active"])
        latent = int(random.choice(living)) if len(living) else 0
        return RedirectResponse(f"/runs/{run}/features/{latent}", status_code=302)

    @app.get("/runs/{run}/features/{latent}")
    def feature_page(request: Request, run: str, latent: str) -> Response:
        return pages.show("feature", feature(reading, run, _number(latent.removesuffix(".json"))), request)

    @app.get("/about/{run}")
    def about_page(request: Request, run: str) -> Response:
        return pages.show("about", about(reading, run.removesuffix(".json")), request)


def _add_errors(app: FastAPI, pages: Pages) -> None:
    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> Response:
        status = 404 if isinstance(error, NoSuchPage) else 409
        return pages.error(request, status, f"{error.given} Expected: {error.expected}.", error.todo)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        plain = error.status_code == 404
        message = f"{request.url.path} is no page of this workspace." if plain else f"{error.detail}."
        return pages.error(request, error.status_code, message)

    @app.exception_handler(RequestValidationError)
    async def bad_request(request: Request, error: RequestValidationError) -> Response:
        where = ", ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
        return pages.error(request, 400, f"The address asks for something impossible ({where}).")

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        # Starlette raises the error again behind this answer, so it is logged with its traceback; this
        # answer is made outside of all middleware and brings its headers itself.
        message, todo = "This is a fault in sparselex.", "see the server's output for what went wrong."
        answer = pages.error(request, 500, message, todo)
        answer.headers.update(HEADERS)
        return answer


def _number(text: str) -> int:
    """A latent's number as the address writes it: one feature has one address."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and str(int(text)) == text):
        raise NoSuchPage(f"{text[:40]!r} is no latent.", "a number", "choose one from the list of features.")
    return int(text)


def serve(workspace: Workspace, *, host: str = "127.0.0.1", port: int = 8321) -> None:
    """Serve a workspace until interrupted; prints the address once it answers. Port 0 takes any free one.

    Raises `UserError` if the address cannot be used.
    """
    app, listener = create_app(workspace), _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    print(f"\nsparselex is at http://{shown}:{listener.getsockname()[1]}  (stop with Ctrl-C)", flush=True)
    # Without this, every few dozen pages wait 12 ms while the garbage collector walks over all imported modules.
    gc.freeze()
    uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False)).run(sockets=[listener])


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
