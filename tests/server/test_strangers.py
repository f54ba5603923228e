"""Who is answered: requests for this server by its own names, from clients that say what they want."""

import http.client
import socket
import time

import pytest
from starlette.testclient import TestClient

from sparselex.server import strangers
from sparselex.server.app import create_app
from sparselex.server.strangers import host_of, is_loopback


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("127.0.0.1:8321", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("[::1]:8321", "::1"),
        ("evil.example.:80", "evil.example"),
        ("", ""),
    ],
)
def test_the_host_of_a_header(given, host):
    assert host_of(given) == host


@pytest.mark.parametrize("path", ["/", "/index.json", "/runs/main/features/1", "/static", "/static/style.css"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "10.0.0.1", "[::2]"])
def test_another_name_is_not_answered(workspace, path, host):
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1", follow_redirects=False)
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 421 and "location" not in answer.headers and "main" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("told", ["", "0.0.0.0"])
def test_no_name_is_none_of_its_own(workspace, told):
    client = TestClient(create_app(workspace, host=told), base_url="http://127.0.0.1")
    assert client.get("/", headers={"host": ""}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8321", "[::1]:9", "LOCALHOST"])
def test_its_own_names_are(workspace, host):
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    assert client.get("/", headers={"host": host}).status_code == 200


def test_told_to_listen_to_others_it_goes_by_what_it_was_told(workspace):
    named = TestClient(create_app(workspace, host="lab.example"), base_url="http://lab.example")
    assert named.get("/").status_code == 200
    assert named.get("/", headers={"host": "evil.example"}).status_code == 421
    everywhere = TestClient(create_app(workspace, host="0.0.0.0"), base_url="http://10.1.2.3:8321")
    assert everywhere.get("/").status_code == 200
    assert everywhere.get("/", headers={"host": "evil.example"}).status_code == 421


def test_unfinished_headers_are_hung_up_on(address, monkeypatch):
    monkeypatch.setattr(strangers, "HEADERS_S", 0.3)
    host, port = address.removeprefix("http://").split(":")
    for sent in (b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "):
        with socket.create_connection((host, int(port)), timeout=5) as slow:
            slow.sendall(sent)
            began = time.monotonic()
            slow.recv(4096)  # an error, perhaps, and then the end
            assert slow.recv(4096) == b"" and time.monotonic() - began < 4


def test_a_client_that_asks_again_and_again_is_not(address, monkeypatch):
    monkeypatch.setattr(strangers, "HEADERS_S", 0.3)
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    for _ in range(4):
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        time.sleep(0.15)
    connection.close()


@pytest.fixture
def guarded(workspace):
    return TestClient(create_app(workspace, token="a-token"), base_url="http://127.0.0.1", follow_redirects=False)


def test_without_the_token_nothing_is_told(guarded):
    for path in ("/", "/index.json", "/static/app.js", "/runs/main/features/1.json", "/no/such/page"):
        for more in ({}, {"token": ""}, {"token": "a-toke"}, {"token": "ä"}):
            answer = guarded.get(path, params=more)
            assert answer.status_code == 401 and "set-cookie" not in answer.headers
            assert "?token=" in answer.text and "a-token" not in answer.text
    guarded.cookies.set("sparselex-token-80", "another")
    assert guarded.get("/").status_code == 401


def test_the_token_is_told_once_and_then_a_cookie_is_enough(guarded):
    told = guarded.get("/runs/main/features", params={"token": "a-token", "q": "x & y", "sort": "max"})
    assert told.status_code == 303 and told.headers["location"] == "/runs/main/features?q=x+%26+y&sort=max"
    cookie = told.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert guarded.get(told.headers["location"]).status_code == 200
    assert guarded.get("/static/app.js").status_code == 200


def test_a_redirect_stays_on_this_host(guarded):
    answer = guarded.get("http://127.0.0.1//evil.example/?token=a-token")
    assert answer.headers["location"].startswith("/evil.example")
    assert guarded.get("/", params={"token": "a-token"}, headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.0.0.5", True), ("0.0.0.0", False), ("::", False)],
)
def test_which_addresses_are_of_this_machine_alone(host, alone):
    assert is_loopback(host) is alone
