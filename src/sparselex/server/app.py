"""The browser's server: routes, errors, and nothing that needs PyTorch."""

import random
import socket
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.exceptions import HTTPException

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server import charts, pages
from sparselex.server.contexts import ErrorPage
from sparselex.server.reading import Reading

_HERE = Path(__file__).parent
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(workspace: Workspace) -> FastAPI:
    """The application over one workspace. It reads; nothing it does changes an artifact."""
    app = FastAPI(title="sparselex", docs_url=None, redoc_url=None)
    reading = Reading(workspace)
    templates = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=select_autoescape(default=True))
    templates.globals["charts"] = charts
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")

    def show(name: str, context: Config, request: Request, status: int = 200) -> Response:
        """The context as JSON where the URL ends in .json, else as a page."""
        if request.url.path.endswith(".json"):
            return JSONResponse(context.to_json(), status_code=status)
        html = templates.get_template(f"{name}.html").render(page=context, path=request.url.path)
        return HTMLResponse(html, status_code=status)

    @app.middleware("http")
    async def headers(request: Request, call_next):
        response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> Response:
        page = ErrorPage(title="There is no such page", status=404, message=f"{error.given} Expected: {error.expected}.")
        return show("error", page, request, 404)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        message = f"{request.url.path} is no page of this workspace." if error.status_code == 404 else str(error.detail)
        page = ErrorPage(title="There is no such page", status=error.status_code, message=message)
        return show("error", page, request, error.status_code)

    @app.get("/")
    @app.get("/index.json")
    def overview(request: Request) -> Response:
        return show("overview", pages.overview(reading), request)

    @app.get("/runs/{run}/features")
    @app.get("/runs/{run}/features.json")
    def features(
        request: Request,
        run: str,
        q: Annotated[str, Query(max_length=200)] = "",
        sort: str = "f1",
        order: str = "desc",
        page: int = 1,
    ) -> Response:
        found = pages.features(reading, run, query=q, sort=sort, descending=order != "asc", page=page)
        return show("features", found, request)

    @app.get("/runs/{run}/features/random")
    def random_feature(run: str) -> Response:
        latent = random.randrange(reading.index(run).d_sae)
        return RedirectResponse(f"/runs/{run}/features/{latent}", status_code=302)

    @app.get("/runs/{run}/features/{latent}")
    def feature(request: Request, run: str, latent: str) -> Response:
        number = latent.removesuffix(".json")
        if not number.isdecimal() or len(number) > 9:
            raise UserError(f"{number!r} is no latent.", "a number", "check the address.")
        return show("feature", pages.feature(reading, run, int(number)), request)

    @app.get("/about/{run}")
    def about(request: Request, run: str) -> Response:
        return show("about", pages.about(reading, run.removesuffix(".json")), request)

    return app


def serve(workspace: Workspace, *, host: str = "127.0.0.1", port: int = 8321) -> None:
    """Serve a workspace until interrupted; prints the address first. Raises `UserError` if the port is taken."""
    app = create_app(workspace)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise UserError(
            f"Port {port} on {host} cannot be used: {error.strerror}.", "a free port",
            "choose another with --port, or --port 0 for any free one.",
        ) from None  # fmt: skip
    print(f"\nsparselex is at http://{host}:{listener.getsockname()[1]}  (stop with Ctrl-C)", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
