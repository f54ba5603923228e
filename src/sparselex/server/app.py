"""The browser's server: routes, errors, and nothing that needs PyTorch."""

import gc
import inspect
import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.answering import PAGES, Answering, Asked
from sparselex.server.live import Live
from sparselex.server.live_ask import Asker, Turn
from sparselex.server.live_ask_door import add_ask_door
from sparselex.server.live_ask_records import NOTHING_ASKED, AskState, LanguageModel
from sparselex.server.live_door import Door
from sparselex.server.navigation import Navigation
from sparselex.server.notes.door import add_door
from sparselex.server.page import TEMPLATES, Impossible, NoSuchPage, NotMadeYet, Page
from sparselex.server.ratings_door import add_ratings_door
from sparselex.server.rendering import HEADERS, Place, Rendering, SafeHeaders
from sparselex.server.rubric_door import add_rubric_door
from sparselex.server.sharing import SEVERAL, Prefix, checked_base, named, workspaces_page
from sparselex.server.strangers import Impatient, KnownHosts, Token, is_loopback

STATIC = Path(__file__).parent / "static"
"""Where static files lie."""

MOST_HELPERS = 3

WAITING = 128
"""Connections that may wait to be answered."""

_GRACE: dict[str, Any] = {"timeout_graceful_shutdown": 2}
"""Who waits for the live model when the server is stopped would else be waited for."""

SWITCH_S = 5e-4
"""Seconds after which a thread that runs lets another have the interpreter."""


def create_app(
    workspace: Workspace,
    *more: Workspace,
    host: str = "127.0.0.1",
    names: Sequence[str] = (),
    n_helpers: int = 0,
    token: str | None = None,
    read_only: bool = False,
    base_path: str = "",
    live: bool = False,
    asks: LanguageModel | None = None,
) -> FastAPI:
    """The application over one workspace or several, for requests to `host`, `names` or this machine, with so many
    processes beside this one for when many ask at once. With a `token`, for those who know it. It changes no artifact;
    `read_only`, nothing at all. `base_path` stands in front of all addresses.
    With `live` a process of its own holds the models of runs and answers what readers ask of them. Where it `asks` a
    language model, readers may have that explain features, one at a time, in a process of its own.

    Raises `UserError` if a page of another package cannot be loaded, or for another such path than there can be.
    """
    found = named([workspace, *more])
    turn = Turn()
    asker = lambda one: Asker(one, asks, turn) if asks and not read_only else None
    base = checked_base(base_path, [page for _, page in PAGES.items()])
    if more:
        each = max(1, n_helpers // len(found)) if n_helpers else 0
        apps = {name: _one(one, each, not read_only, f"{base}/", live, asker(one)) for name, one in found.items()}
        app = _several(apps)
    else:
        app = _one(workspace, n_helpers, not read_only, "", live, asker(workspace))
    if token is not None:
        app.add_middleware(Token, token=token)
    app.add_middleware(Prefix, base=base)
    app.add_middleware(KnownHosts, host=host, names=names)
    app.add_middleware(SafeHeaders)
    return app


def _bare(may_write: bool, home: str) -> FastAPI:
    app = FastAPI(title="sparselex", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.may_write, app.state.home = may_write, home
    return app


def _one(workspace: Workspace, n_helpers: int, may_write: bool, home: str, live: bool, asker: Asker | None) -> FastAPI:
    """The pages of one workspace."""
    app, answering = _bare(may_write, home), Answering(workspace, n_helpers)
    app.state.opened = answering.pages.opened
    door = Door(workspace, Live(workspace) if live else None)
    app.state.live, app.state.asker = door.live, asker
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    # Fixed words before parameters: `random` is no latent.
    for page in sorted(answering.pages.all, key=lambda page: len(page.parameters)):
        _add_page(app, page, answering, door, asker)
    add_door(app, answering.pages.opened.notes, answering.pages.rendering)
    add_ratings_door(app, answering.pages.opened, answering.pages.rendering)
    add_rubric_door(app, answering.pages.opened, answering.pages.rendering)
    add_ask_door(app, asker, answering.pages.opened, answering.pages.rendering)
    _add_errors(app, answering.pages.rendering)
    return app


def _several(apps: dict[str, FastAPI]) -> FastAPI:
    """The pages of several workspaces, each under its name, and one that lists them."""
    app, opened = _bare(False, ""), {name: one.state.opened for name, one in apps.items()}
    rendering = Rendering(Navigation([], next(iter(opened.values()))))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for name, one in apps.items():
        app.mount(f"{SEVERAL}{name}", one)

    def show(request: Request) -> Response:
        return rendering.show(workspaces_page(opened), TEMPLATES / "workspaces.html", Place.of(request))

    for path in ("/", "/index.json"):
        app.add_api_route(path, show, response_model=None)
    _add_errors(app, rendering)
    return app


def _add_page(app: FastAPI, page: Page, answering: Answering, door: Door, asker: Asker | None) -> None:
    # What the builder takes besides the workspace, FastAPI reads out of the signature, and checks.
    taken = list(inspect.signature(page.build, eval_str=True).parameters.values())[1:]
    of_asking = [parameter.name for parameter in taken if parameter.annotation is AskState]

    def show(request: Request, **given: Any) -> Response:
        state = {name: asker.state(given["run"], given["latent"]) if asker else NOTHING_ASKED for name in of_asking}
        return answering.answer(Asked(page.path, given | state, Place.of(request)))

    asks = page.asks or (lambda **given: None)

    async def ask(request: Request, **given: Any) -> Response:
        # Waiting for the model takes no thread: those are for who reads.
        answer = await door.answer(request, asks, given)
        asked = Asked(page.path, {**given, "answer": answer}, Place.of(request))
        return door.mark(request, answer, await run_in_threadpool(answering.answer, asked))

    ours = [*of_asking, *(["answer"] if page.asks else [])]
    request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    keywords = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in taken if one.name not in ours]
    shown: Callable[..., Any] = ask if page.asks else show
    shown.__signature__ = inspect.Signature([request, *keywords])  # type: ignore[attr-defined]
    for path in (page.json_path, page.path):
        app.add_api_route(path, shown, response_model=None)


def _add_errors(app: FastAPI, rendering: Rendering) -> None:
    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> Response:
        status = 404 if isinstance(error, NoSuchPage) else 400 if isinstance(error, Impossible) else 409
        title = "Not made yet" if isinstance(error, NotMadeYet) else ""
        message = error.given if title else f"{error.given} Expected: {error.expected}."
        return rendering.error(Place.of(request), status, message, error.todo, title)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        plain = error.status_code == 404
        message = f"{request.url.path} is no page of this workspace." if plain else f"{error.detail}."
        return rendering.error(Place.of(request), error.status_code, message)

    @app.exception_handler(RequestValidationError)
    async def bad_request(request: Request, error: RequestValidationError) -> Response:
        where = ", ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
        return rendering.error(Place.of(request), 400, f"The address asks for something impossible ({where}).")

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        # Starlette raises the error again behind this answer, so it is logged with its traceback; this
        # answer is made outside of all middleware and brings its headers itself.
        message, todo = "This is a fault in sparselex.", "see the server's output for what went wrong."
        answer = rendering.error(Place.of(request), 500, message, todo)
        answer.headers.update(HEADERS)
        return answer


def serve(
    workspace: Workspace,
    *more: Workspace,
    host: str = "127.0.0.1",
    port: int = 8321,
    to_all: bool = False,
    names: Sequence[str] = (),
    read_only: bool = False,
    base_path: str = "",
    live: bool = False,
    asks: LanguageModel | None = None,
) -> None:
    """Serve a workspace, or several, until interrupted; prints the address once it answers. Port 0 takes any free one.
    With `live` readers may ask the models of runs; where it `asks` a language model, have that explain features.

    At an address that other machines reach, or by a further one of `names`, only those are answered who open it with
    the token that is printed with it, drawn anew at each start; or `to_all` who reach it. `read_only` refuses to write
    notes; `base_path` stands in front of all addresses, as behind a proxy.

    Raises `UserError` if the address cannot be used.
    """
    token = None if to_all or (is_loopback(host) and not names) else secrets.token_urlsafe(24)
    kind: dict[str, Any] = {"names": names, "read_only": read_only, "base_path": base_path, "live": live, "asks": asks}
    app = create_app(workspace, *more, host=host, n_helpers=n_helpers(), token=token, **kind)
    listener = bound(host, port)
    # Listening before the address is printed: whoever follows it at once waits instead of being refused.
    listen(listener)
    base = base_path.rstrip("/")
    say_address(host, listener, f"{base}/?token={token}" if token else f"{base}/" if base else "")
    quick_server_of(app).run(sockets=[listener])


def say_address(host: str, listener: socket.socket, behind: str = "") -> None:
    """Print where a server is to be found."""
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}{behind}"
    print(f"\nsparselex is at {address}  (stop with Ctrl-C)", flush=True)


def quick_server_of(app: FastAPI) -> uvicorn.Server:
    """What serves the application over sockets, in a process that does nothing else."""
    # Without this, every few dozen pages wait 12 ms while the garbage collector walks over all imported modules.
    gc.freeze()
    # A helper's answer would else wait 5 ms, twice, until a page that is drawn here lets go of the interpreter.
    sys.setswitchinterval(SWITCH_S)
    return server_of(app)


def server_of(app: FastAPI) -> uvicorn.Server:
    """What serves the application over sockets."""
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, http=Impatient, **_GRACE))


def n_helpers() -> int:
    """A helper for each further core that this process may use; a few serve a whole team."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(n_cores - 1, MOST_HELPERS)


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet. Raises `UserError` if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay (40 ms an answer) off only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if not host:  # which would be every address
            raise UnicodeError("no host was named")
        listener.bind((host, port))
    except (OSError, UnicodeError, TypeError) as error:  # the last two of what can be no name of a host
        listener.close()
        raise _unusable(host, port, error) from None
    return listener


def listen(listener: socket.socket) -> None:
    """Let a bound socket be connected to. Raises `UserError` if somebody else has begun to listen there since."""
    try:
        listener.listen(WAITING)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _unusable(host, port, error) from None


def _unusable(host: str, port: int, error: Exception) -> UserError:
    return UserError(
        f"Port {port} on {host!r} cannot be used: {getattr(error, 'strerror', None) or error}.",
        "a free port on an address of this machine",
        "choose another with --port, or --port 0 for any free one.",
    )
