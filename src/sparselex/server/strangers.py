"""Who is answered: addresses that this server goes by, and clients that say what they want."""

import asyncio
import ipaddress
import secrets
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
HEADERS_S = 10.0
"""How long a client may take to say what it wants."""


class KnownHosts:
    """Refuses requests that are for another host: a page of a stranger that lets its own name point to this machine
    would else read the workspace through its reader's browser."""

    def __init__(self, app: ASGIApp, host: str, names: Sequence[str] = ()):
        """To listen at `host`; `names` are what the server goes by besides, as behind a proxy."""
        self.app = app
        self.names = LOOPBACK | {host.lower()} | {host_of(name) for name in names}
        self.is_open = is_every_address(host)
        if self.is_open:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self.names.discard("")  # nobody's name, and what a request without one says

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self.knows(dict(scope["headers"]).get(b"host", b"").decode("latin-1")):
            words = "This server does not go by that name: open it at the address that it printed, or say --name.\n"
            await PlainTextResponse(words, status_code=421)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def knows(self, given: str) -> bool:
        """Whether the server goes by what stands in a request's `Host`, whatever its port. Where it listens at every
        address it goes by any address too: what it must not go by is a name that is not its own."""
        name = host_of(given)
        return name in self.names or (self.is_open and _is_address(name))


class Token:
    """Lets in who was told a token: once as `?token=` behind an address, from then on by a cookie of that browser.

    A browser sends the cookie with requests of this site's own pages alone. The address is then another, without the
    token, so that it is neither copied with a link nor kept in a history.
    """

    def __init__(self, app: ASGIApp, token: str):
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        base = scope.get("root_path", "")
        # Cookies are shared by all ports of a host, and a path's by those beneath it.
        cookie = f"{COOKIE}-{_port_of(request)}{base.replace('/', '-')}"
        if _is(request.cookies.get(cookie, ""), self.token):
            await self.app(scope, receive, send)
            return
        if not _is(request.query_params.get("token", ""), self.token):
            words = "This server wants its token: open the address that it printed, which ends in ?token=…\n"
            await PlainTextResponse(words, status_code=401)(scope, receive, send)
            return
        # A path of two slashes would be another host's address.
        query = urlencode([pair for pair in request.query_params.multi_items() if pair[0] != "token"])
        address = quote("/" + scope["path"].lstrip("/")) + (f"?{query}" if query else "")
        answer = RedirectResponse(address, status_code=303)
        answer.set_cookie(cookie, self.token, path=f"{base}/", httponly=True, samesite="strict")
        await answer(scope, receive, send)


COOKIE = "sparselex-token"
"""Beginning of the cookie's name; the port follows."""


def _is(given: str, token: str) -> bool:
    """Whether two texts are equal, in a time that does not tell how far they are."""
    return secrets.compare_digest(given.encode(), token.encode())


def _port_of(request: Request) -> int:
    return request.url.port or 80


def is_own_page(request: Request) -> bool | None:
    """Whether a request comes from a page of this server, by what browsers say and no page can change; None where
    nothing is said, as by a program that is no browser."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return None
    scheme, _, name = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    host = request.headers.get("host", "").lower()
    return bool(host) and name.lower().removesuffix(default) == host.removesuffix(default)


def is_loopback(host: str) -> bool:
    """Whether a host to listen at is reached from this machine alone."""
    return host.lower() in LOOPBACK or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def host_of(given: str) -> str:
    """The host without its port, and without the brackets of an IPv6 address."""
    given = given.strip().lower()
    if given.startswith("["):
        return given[1:].partition("]")[0]
    return given.partition(":")[0].rstrip(".")


def is_every_address(host: str) -> bool:
    """Whether a host to listen at stands for all addresses of the machine."""
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Impatient(H11Protocol):
    """Hangs up on clients that do not finish their headers; each holds a connection that others could have."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first request is waited for."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """What has come begins a request, or is its end."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before or (self.cycle is not None and not self.cycle.response_complete):
            self._stop_waiting()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEADERS_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
