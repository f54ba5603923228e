"""How much of a server's work the client gets done: `python -m benchmarks.llm [--quick] [--json PATH]`.

A server in a process of its own answers every question after 50 ms, 32 at a time; more than these wait with it, as with
vLLM and llama.cpp, or are refused with 429, as with hosted servers. Conversations of two questions, each about ten
windows of text, are held over it; answers are written to a database as always. Needs two idle cores: the server takes
part of one.
"""

import asyncio
import contextlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.ratios import options, seconds, show
from sparselex.base.figures import Figure
from sparselex.llm.cache import AnswerCache
from sparselex.llm.config import LLMConfig
from sparselex.llm.http import HTTPClient
from sparselex.llm.records import Capabilities, Message, Request, Talk
from sparselex.llm.talks import hold
from sparselex.llm.wire import Wording, payload

LATENCY_S, ROOM, N_WINDOWS = 0.05, 32, 10
"""Of an answer, of the server, and of a question."""

_N_WARM = 300
"""Conversations before anything is measured: the client begins with one open question and finds the limit."""

_JUDGED = json.dumps({str(n): n % 2 for n in range(N_WINDOWS)})
_CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": _JUDGED}}
_BODY = json.dumps({"choices": [_CHOICE], "usage": {"prompt_tokens": 700, "completion_tokens": 60}}).encode()


def _sent(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


_GOOD, _FULL = _sent(b"200 OK", _BODY), _sent(b"429 Too Many Requests", b"{}")


class _Protocol(asyncio.Protocol):
    """As little of HTTP as there can be, so that the server takes nothing from the client's cores."""

    n_open, waiting, refuses = 0, list["_Protocol"](), False

    def connection_made(self, transport: Any) -> None:
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) >= length:
            self.data = body[length:]
            self._asked()

    def _asked(self) -> None:
        if _Protocol.n_open < ROOM:
            self._begin()
        elif self.refuses:
            self.transport.write(_FULL)
        else:
            self.waiting.append(self)

    def _begin(self) -> None:
        _Protocol.n_open += 1
        asyncio.get_running_loop().call_later(LATENCY_S, self._end)

    def _end(self) -> None:
        _Protocol.n_open -= 1
        self.transport.write(_GOOD)
        if self.waiting:
            self.waiting.pop(0)._begin()


def _serve(to_parent: Connection, refuses: bool) -> None:
    async def run() -> None:
        _Protocol.refuses = refuses
        server = await asyncio.get_running_loop().create_server(_Protocol, "127.0.0.1", 0, backlog=256)
        to_parent.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


@contextlib.contextmanager
def served(*, refuses: bool) -> Iterator[str]:
    """The address of a server that runs while the block does."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, refuses), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def _talk(number: int) -> Talk[int]:
    """Two questions, one after the other, about ten windows of thirty words."""
    for place in range(2):
        windows = "\n".join(f"{n}: {number} {place} " + "some words of text " * 8 for n in range(N_WINDOWS))
        (answer,) = yield [Request(messages=(Message("user", windows),), max_tokens=200, purpose="detection")]
    return len(json.loads(answer.text))  # type: ignore[union-attr] # a failure has none: the figure would be void


def run(url: str, concurrency: int, n_talks: int) -> tuple[float, float]:
    """Answers a second, and milliseconds of our processor time for a question, once the client knows the server."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "sparselex.sqlite"
        AnswerCache(database).keep_capabilities(url, "m", Capabilities())
        with HTTPClient(LLMConfig(url=url, model="m", concurrency=concurrency, retries=50), database) as client:
            _hold(client, range(-_N_WARM, 0))
            began, cpu_began = time.perf_counter(), time.process_time()
            _hold(client, range(n_talks))
            took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return 2 * n_talks / took_s, 1e3 * cpu_s / (2 * n_talks)


def _hold(client: HTTPClient, numbers: range) -> None:
    held = hold(client, ((n, _talk(n)) for n in numbers), most_open=8 * ROOM)
    assert sum(1 for _ in held) == len(numbers)


def bare(url: str, n_open: int, n_questions: int) -> float:
    """Answers a second that the server gives on this machine now, to who sends the same bytes over and over and looks
    at no answer."""
    (request,) = next(_talk(0))
    body = payload("m", request, Wording())
    sent = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    left = iter(range(n_questions))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        for _ in left:
            writer.write(sent)
            await reader.readexactly(len(_GOOD))
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(ask() for _ in range(n_open)))

    return n_questions / seconds(lambda: asyncio.run(all_of_them()))


SETTINGS = {
    "waits": (False, 2 * ROOM, "the server lets more than its limit wait, twice as many may be open"),
    "exact": (False, ROOM, "just as many may be open as the server takes"),
    "refuses": (True, 2 * ROOM, "the server refuses more than its limit, which is not known to the client"),
}


def measure(n_talks: int, n_rounds: int) -> list[Figure]:
    """All figures of every setting, the settings in turn, each beside the bare exchange of the same bytes."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SETTINGS}
    with served(refuses=False) as waiting, served(refuses=True) as refusing:
        for _ in range(n_rounds):
            for name, (refuses, concurrency, _) in SETTINGS.items():
                allowed = bare(waiting, ROOM if refuses else concurrency, 2 * n_talks)
                rate, cpu_ms = run(refusing if refuses else waiting, concurrency, n_talks)
                found[name].append((rate * LATENCY_S / ROOM, rate / allowed, cpu_ms / N_WINDOWS))
    return [figure for name, rounds in found.items() for figure in _figures(name, rounds)]


def _figures(name: str, rounds: list[tuple[float, float, float]]) -> list[Figure]:
    words = {
        "share_of_stated": ("", f"answers a second, of those that {ROOM} at {LATENCY_S * 1e3:g} ms make"),
        "share_of_bare": ("", "answers a second, of those that a bare exchange of the same bytes gets, as many open"),
        "cpu_per_window": ("ms", f"processor time of the client for a window, {N_WINDOWS} a question"),
    }
    figures = []
    for (path, (unit, words_of)), each in zip(words.items(), zip(*rounds, strict=True), strict=True):
        values, definition = sorted(each), f"{words_of}, where {SETTINGS[name][2]}; once the client is warm"
        ends = {"value": values[len(values) // 2], "ci_low": values[0], "ci_high": values[-1], "n": len(values)}
        figures.append(Figure(name=f"llm/{name}/{path}", unit=unit, definition=definition, **ends))
    return figures


def main() -> None:
    """Entry point."""
    given = options((__doc__ or "").splitlines()[0])
    figures = measure(n_talks=1000, n_rounds=1 if given.quick else 5)
    show("questions to a language model", figures, given.json)


if __name__ == "__main__":
    main()
