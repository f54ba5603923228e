"""One connection to a server: a question is sent, and what comes back is read, both within bounds."""

import os
import socket
import zlib
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sparselex.base.errors import UserError
from sparselex.llm.config import LLMConfig
from sparselex.llm.watch import Watch

LARGEST_BYTES = 2**25
"""Bytes of an answer that are read; with twenty alternatives a token takes about two thousand."""

_CONNECT_S = 10.0
_LEAST_SECRET = 8
"""Characters of a key that is one; local servers are given `none` and the like, which stands in any text."""

_AT_HOME = ("localhost", "127.0.0.1", "::1")


class Reply(NamedTuple):
    """What a server sent."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Lost(Exception):
    """Raised when no whole reply arrived; says why."""

    def __init__(self, reason: str, *, was_sent: bool):
        super().__init__(reason)
        self.was_sent = was_sent
        """Whether the server may have read the question."""


class Host:
    """What all connections of one client have in common. The key is read from its variable when this is made, and kept
    out of everything that is said, printed or written.

    Raises `UserError` where the key is missing or unusable, or httpx is.
    """

    def __init__(self, config: LLMConfig):
        self.url, self.timeout_s, self.watch = config.url, config.timeout_s, Watch(config.timeout_s)
        self.httpx = _httpx()
        self._key = _key(config.key_env)
        # Made once: reading the certificates takes longer than a question.
        self.ssl_context = self.httpx.create_ssl_context(verify=self.url.startswith("https:"))
        self.proxy = _proxy(self.url)

    @property
    def headers(self) -> dict[str, str]:
        """What is sent with each question."""
        given = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "sparselex"}
        return given | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

    def without_key(self, data: bytes) -> bytes:
        """What a server sent, should it repeat the key."""
        if not self._key:
            return data
        key = self._key.encode()
        data = data.replace(b"Bearer " + key, b"Bearer [key]")
        return data.replace(key, b"[key]") if len(key) >= _LEAST_SECRET else data

    def safe(self, text: str) -> str:
        """The same for text."""
        return self.without_key(text.encode("utf-8", "replace")).decode("utf-8", "replace")


class Connection:
    """A connection that is kept open between questions. One thread uses it; another may cut it."""

    def __init__(self, host: Host):
        self._host, self._socket, self._is_cut, self._is_late = host, None, False, False
        httpx = host.httpx
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        # The transport itself: it follows no redirects, keeps no cookies and takes half of a client's time.
        self._transport = httpx.HTTPTransport(verify=host.ssl_context, trust_env=False, limits=limits, proxy=host.proxy)
        self._headers = host.headers

    def send(self, method: str, path: str, body: bytes = b"") -> Reply:
        """Ask. Raises `Lost` where no whole reply arrives within the time, or a larger one than is read."""
        host, self._is_late = self._host, False
        waits = {"connect": min(_CONNECT_S, host.timeout_s), "read": host.timeout_s, "write": host.timeout_s}
        extensions = {"timeout": waits, "trace": self._trace}
        request = host.httpx.Request(
            method, f"{host.url}{path}", content=body, headers=self._headers, extensions=extensions
        )
        try:
            with host.watch.over(self._late):
                response = self._transport.handle_request(request)
                try:
                    data = _body(response)
                finally:
                    response.close()
        except host.httpx.TimeoutException as error:
            was_sent = not isinstance(error, host.httpx.ConnectTimeout)
            raise Lost(f"no answer within {host.timeout_s:g} s", was_sent=was_sent) from None
        except host.httpx.ConnectError as error:
            raise Lost(host.safe(f"nobody answers ({error})"), was_sent=False) from None
        except (host.httpx.HTTPError, host.httpx.StreamError, OSError) as error:
            if self._is_late:
                raise Lost(f"no whole answer within {host.timeout_s:g} s", was_sent=True) from None
            raise Lost(host.safe(f"the connection broke ({error})"), was_sent=True) from None
        return Reply(response.status_code, response.headers, host.without_key(data))

    def cut(self) -> None:
        """Break off what is being read or written, from another thread."""
        self._is_cut = True
        self._shut()

    def close(self) -> None:
        """Close it. The thread that uses it does that."""
        self._transport.close()

    def _late(self) -> None:
        self._is_late = True
        self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            # It may be gone already. Not the method of a TLS socket, which first says farewell and may wait for that.
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _trace(self, event: str, found: Mapping[str, Any]) -> None:
        """Keep the socket, so that another thread can cut it: a read of minutes knows no other end."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = found["return_value"].get_extra_info("socket")
            if self._is_cut or self._is_late:
                self._shut()


def _body(response: Any) -> bytes:
    chunks, size = [], 0
    # Not yet unpacked: a few kilobytes can be gigabytes.
    for chunk in response.iter_raw():
        chunks.append(chunk)
        size += len(chunk)
        _check_size(size)
    data = b"".join(chunks)
    return data if response.headers.get("content-encoding", "identity") == "identity" else _unpacked(data)


def _unpacked(data: bytes) -> bytes:
    """An answer from a server that packs it though it was asked not to: by gzip or deflate, and once."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        data = unpacker.decompress(data, LARGEST_BYTES + 1)
    except zlib.error:
        raise Lost("the answer is packed, though that was not asked for", was_sent=True) from None
    _check_size(len(data))
    return data


def _check_size(size: int) -> None:
    if size > LARGEST_BYTES:
        raise Lost(f"the answer is larger than {LARGEST_BYTES // 2**20} MiB", was_sent=True)


def _httpx() -> Any:
    if find_spec("httpx") is None:
        raise UserError(
            "The package `httpx` is not installed.",
            "the extra `llm`, by which language models are asked",
            "run `pip install sparselex[llm]`.",
        )
    import httpx

    return httpx


def _key(variable: str | None) -> str:
    """The key; empty where none is wanted."""
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if key and key.isascii() and key.isprintable() and " " not in key:
        return key
    given = "holds characters that no key has" if key else "is not set, or empty"
    raise UserError(
        f"The environment variable {variable} {given}.",
        "the key of the language model's server",
        f"set it (`export {variable}=...`), or name no variable where the server wants no key.",
    )


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address. Raises `UserError` for one of a kind that is not spoken."""
    parts = urlsplit(url)
    if parts.hostname in _AT_HOME or proxy_bypass(parts.netloc):
        return None
    proxy = getproxies().get(parts.scheme)
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        # Not shown: it may hold a password.
        raise UserError(
            f"The proxy in {parts.scheme.upper()}_PROXY is no http or https address.",
            "such an address, or none",
            f"correct it, or name {parts.hostname} in NO_PROXY.",
        )
    return proxy
