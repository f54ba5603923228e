"""Servers that mean ill: what drips, bursts, is nested, or holds what cannot be shown ends as a counted failure."""

import gzip
import json
import socket
import threading
import time
import tracemalloc
from contextlib import contextmanager, suppress

import pytest

from sparselex.base.errors import UserError
from sparselex.base.figures import Failure
from sparselex.llm.cache import AnswerCache
from sparselex.llm.config import LLMConfig
from sparselex.llm.connection import Connection, Host, Lost
from sparselex.llm.http import HTTPClient
from sparselex.llm.records import Answer, Capabilities, Message, Request
from sparselex.llm.wire import Trouble, read_answer, read_error
from tests.support.chat import Said, chat_server, completion, error, last


@pytest.fixture
def client_of(tmp_path):
    """Makes a client that knows what the server can do and hardly waits."""

    def make(server, **more):
        config = LLMConfig(**{"url": server.url, "model": "m", "retry_wait_s": 0.01, "retries": 0, **more})
        AnswerCache(tmp_path / "w.sqlite").keep_capabilities(config.url, config.model, Capabilities())
        return HTTPClient(config, tmp_path / "w.sqlite")

    return make


def asked(client, text):
    """What comes of a question."""
    return client.submit(Request(messages=(Message("user", text),), max_tokens=50, purpose="test")).result(20)


@pytest.mark.parametrize("depth", range(900, 1000, 3))
def test_an_error_as_deep_as_can_just_be_read_is_trouble(depth):
    deep = b"[" * depth + b"]" * depth
    for body in (b'{"error": ' + deep + b"}", b'{"error": {"code": 429, "m": ' + deep + b"}}"):
        assert read_error(429, body).status == 429
        assert isinstance(read_answer(body), Trouble)


def test_an_error_cannot_write_to_the_terminal_or_over_the_line(client_of):
    said = "gone\x1b[2J\x00\r\nnow \u202eback \ud800"
    with chat_server(lambda _: error(400, said)) as server, client_of(server) as client:
        assert asked(client, "a").reason.endswith("gone\ufffd[2J\ufffd now \ufffdback \ufffd")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPS = {
    "lines of the head": (HEAD, b"X: y\r\n"),
    "heads before the head": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a body": (HEAD + b"Content-Length: 9999\r\n\r\n", b" "),
    "a chunk's head": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "lines after the body": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: y\r\n"),
    "what cannot be unpacked yet": (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 9999\r\n\r\n", b"\x1f"),
}


@pytest.mark.parametrize(("first", "then"), DRIPS.values(), ids=DRIPS)
def test_a_server_that_drips_holds_nobody_longer_than_an_answer_may_take(first, then):
    with dripping(first, then) as url:
        connection, begun = Connection(Host(LLMConfig(url=url, model="m", timeout_s=0.3))), time.monotonic()
        for _ in range(2):
            with pytest.raises(Lost, match=r"no whole answer within 0\.3 s"):
                connection.send("POST", "/chat/completions", b"{}")
        assert time.monotonic() - begun < 3
        connection.close()


@contextmanager
def dripping(first, then):
    """A server that sends a little every twentieth of a second, and never the end."""
    listening, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip(one):
        with suppress(OSError), one:
            one.recv(65536)
            one.sendall(first)
            while not ended.wait(0.05):
                one.sendall(then)

    def accept():
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        ended.set()
        listening.close()


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_packed_is_unpacked_once_and_no_further_than_is_read(client_of, tmp_path, monkeypatch, times):
    monkeypatch.setattr("sparselex.llm.connection.LARGEST_BYTES", 2**20)

    def answer(body):
        if last(body) == "first":
            return Said(completion("hello"))
        size = 2**26 if last(body) == "bomb" else 2**10
        data = b'{"choices": [{"message": {"content": "' + b"x" * size + b'"}}]}'
        for _ in range(times):
            data = gzip.compress(data)
        return Said(data, headers={"Content-Encoding": ", ".join(["gzip"] * times)})

    with chat_server(answer) as server, client_of(server) as client:
        asked(client, "first")
        tracemalloc.start()
        small, large = asked(client, "small"), asked(client, "bomb")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert isinstance(small, Answer) == (times == 1) and isinstance(large, Failure)
    assert ("larger than 1 MiB" if times == 1 else "is no JSON") in large.reason
    # The server lives in this process, and has the bomb once as it is and once in the making.
    assert most < 2 * 2**26 + 2**24


def test_a_packing_that_is_not_known_is_said_to_be_one(client_of):
    packed = lambda _: Said(completion("x"), headers={"Content-Encoding": "br"})
    with chat_server(packed) as server, client_of(server) as client, pytest.raises(UserError, match="packed, though"):
        asked(client, "a")


KEY = "sk-very/secret+0123456789"


def test_the_key_is_not_kept_either_where_json_writes_it_otherwise(client_of, tmp_path, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    ways = [KEY.replace("/", "\\/"), KEY.replace("+", "\\u002b")]
    answer = lambda body: Said(json.dumps(completion("@")).replace("@", ways[int(last(body))]).encode())
    with chat_server(answer) as server, client_of(server, key_env="THE_KEY") as client:
        assert [asked(client, way).text for way in "01"] == ["[key]", "[key]"]
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
