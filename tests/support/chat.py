"""A server of chat completions on this machine, which answers as a test wants it to and keeps what it was asked."""

import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass(frozen=True)
class Said:
    """What the server sends."""

    body: Any = None
    """JSON values, or bytes as they are."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    how: Literal["whole", "half", "dropped", "never"] = "whole"
    """`half` ends in the middle of the body, `dropped` sends nothing at all, `never` keeps the connection open."""

    after_s: float = 0.0


def completion(text: Any, *, logprobs: Any = None, finish: str = "stop", usage: Any = (7, 3)) -> dict[str, Any]:
    """The body of a good answer."""
    counts = usage and {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": finish, "message": message, "logprobs": logprobs}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": counts}


def error(status: int, message: str, **headers: str) -> Said:
    """A refusal, in OpenAI's form."""
    return Said({"error": {"message": message}}, status, {name.replace("_", "-"): v for name, v in headers.items()})


def echo(body: dict[str, Any]) -> Said:
    """Says the last message again."""
    return Said(completion(f"You said: {last(body)}"))


def last(body: dict[str, Any]) -> str:
    """What was asked last, or is only read."""
    return body["messages"][-1]["content"] if "messages" in body else body["prompt"]


def pieces(text: str) -> list[str]:
    """The tokens of a text for `scored`: words with the blank before them, and single signs."""
    return re.findall(r" ?\w+|.", text, re.DOTALL)


def logprob(piece: str, before: str) -> float:
    """Of a token behind a text, for `scored`: between -3 and 0, by these two alone."""
    return -3 * (1 + int.from_bytes(hashlib.sha256(f"{before}\0{piece}".encode()).digest()[:2], "big")) / 2**16


def scored(body: dict[str, Any], *, cut: Callable[[str], list[str]] = pieces, begins: str = "") -> Said:
    """Completions that echo their prompt, as vLLM does, each token with the log-probability that `logprob` says;
    `begins` is the text of a token that begins every text."""
    tokens = [*([begins] if begins else []), *cut(body["prompt"])]
    written = [" end"] * body["max_tokens"]
    all_of_them = [*tokens, *written]
    before = ["".join(tokens[:n]) for n in range(len(all_of_them))]
    found = [logprob(*one) for one in zip(all_of_them, before, strict=True)]
    tops = [{token: one, "else": one - 1, "other": one - 2} for token, one in zip(all_of_them, found, strict=True)]
    table = {
        "tokens": all_of_them,
        "token_logprobs": [None, *found[1:]],
        "top_logprobs": [None, *(dict(list(top.items())[: body["logprobs"]]) for top in tops[1:])],
        "text_offset": [len(one) for one in before],
    }
    choice = {"index": 0, "finish_reason": "length", "text": body["prompt"] + "".join(written), "logprobs": table}
    return Said({"choices": [choice], "usage": {"prompt_tokens": len(tokens), "completion_tokens": len(written)}})


def written_on(text: Callable[[dict[str, Any]], str], reason: str = "stop") -> Callable[[dict[str, Any]], Said]:
    """Completions that go on with a text as `text` says, and echo one as `scored` does where that is wanted."""

    def complete(body: dict[str, Any]) -> Said:
        if body.get("echo"):
            return scored(body)
        choice = {"index": 0, "finish_reason": reason, "text": text(body)}
        usage = {"prompt_tokens": len(pieces(body["prompt"])), "completion_tokens": 1}
        return Said({"choices": [choice], "usage": usage})

    return complete


def no_completions(body: dict[str, Any]) -> Said:
    """As servers answer that have chats alone."""
    return error(404, "no such page")


class ChatServer(ThreadingHTTPServer):
    """Answers `POST /v1/chat/completions` with what `answer` makes of the body, `POST /v1/completions` with what
    `complete` does, at most `room` of them at once and the rest with 429."""

    request_queue_size = 256

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Said] = echo,
        *,
        complete: Callable[[dict[str, Any]], Said] = no_completions,
        room: int | None = None,
        port: int = 0,
    ):
        super().__init__(("127.0.0.1", port), _Handler)
        self.complete = complete
        self.answer, self.room, self.models = answer, room, Said({"data": []})
        self.asked, self.headers = list[dict[str, Any]](), list[dict[str, str]]()
        self.lock, self.n_open, self.most_open = threading.Lock(), 0, 0
        self.ending = threading.Event()
        self._sockets = list[socket.socket]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        """What was asked, in the order in which it came."""
        return [last(body) for body in self.asked]

    def get_request(self) -> Any:
        """The next connection."""
        request, address = super().get_request()
        self._sockets.append(request)
        return request, address

    def die(self) -> None:
        """Go away as a process does that is killed."""
        self.shutdown()
        self.server_close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._send(self.server.models if self.path == "/v1/models" else error(404, "no such page"))

    def do_POST(self) -> None:
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            server.headers.append(dict(self.headers))
            server.n_open += 1
            server.most_open = max(server.most_open, server.n_open)
            full = server.room is not None and server.n_open > server.room
        try:
            said = error(429, "too many at once") if full else self._answer(body)
            if said.after_s:
                time.sleep(said.after_s)
        finally:
            with server.lock:
                server.n_open -= 1
        self._send(said)

    def _answer(self, body: dict[str, Any]) -> Said:
        is_chat = self.path == "/v1/chat/completions"
        return self.server.answer(body) if is_chat else self.server.complete(body)

    def _send(self, said: Said) -> None:
        if said.how == "never":
            self.server.ending.wait(60)
        if said.how in ("never", "dropped"):
            self.close_connection = True
            return
        data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        head = {"Content-Type": "application/json", "Content-Length": str(len(data)), **said.headers}
        lines = [f"HTTP/1.1 {said.status} said", *(f"{name}: {value}" for name, value in head.items())]
        self.close_connection = said.how == "half"
        self.wfile.write(
            "\r\n".join(lines).encode() + b"\r\n\r\n" + data[: len(data) // 2 if self.close_connection else None]
        )

    def log_message(self, *words: Any) -> None:
        """Nothing: tests print only what went wrong."""


@contextlib.contextmanager
def chat_server(answer: Callable[[dict[str, Any]], Said] = echo, **more: Any) -> Iterator[ChatServer]:
    """A server that runs while the block does."""
    server = ChatServer(answer, **more)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.die()
        thread.join()
