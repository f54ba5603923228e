"""The live model: whose turn it is, who may ask, and what happens when it or the server dies."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from sparselex.server.app import create_app
from sparselex.server.live_records import SteerQuestion, TextQuestion
from sparselex.server.live_turns import MOST, MOST_OF_ADDRESS, MOST_OF_READER, FairTurns, Full, Reader

LONG = "/runs/main/steer.json?prompt=def%20f(&n=100&temperature=1"


def taken(turns):
    return [turns.take() for _ in range(len(turns))]


def test_readers_take_turns_and_each_is_served_in_order():
    turns = FairTurns()
    for number in range(4):
        turns.put(Reader("a", "greedy"), f"greedy {number}")
    turns.put(Reader("a", "other"), "other 0")
    turns.put(Reader("b", ""), "elsewhere 0")
    turns.put(Reader("b", ""), "elsewhere 1")
    assert taken(turns) == [
        *("greedy 0", "elsewhere 0", "other 0", "elsewhere 1"),
        *("greedy 1", "greedy 2", "greedy 3"),
    ]


def test_only_so_many_may_wait_and_who_leaves_makes_room():
    turns, mine = FairTurns(), Reader("a", "0")
    for number in range(MOST_OF_READER):
        turns.put(mine, number)
    with pytest.raises(Full, match="of your questions"):
        turns.put(mine, 99)
    assert turns.remove(1) and not turns.remove(1)
    turns.put(mine, 99)
    with pytest.raises(Full, match="Too many"):  # cookies that are thrown away help an address only so far
        for number in range(MOST):
            turns.put(Reader("a", str(number + 1)), number)
    assert len(turns) == MOST_OF_ADDRESS
    assert turns.take() == 0
    with pytest.raises(Full, match="Too many"):
        for number in range(2 * MOST):
            turns.put(Reader(str(number), ""), number)
    assert len(turns) == MOST


@pytest.mark.slow
def test_a_reader_who_asks_for_a_hundred_steerings_stops_nobody(live):
    """Another reads meanwhile and is answered in turn; those beyond a few are refused in words."""
    order = []

    def put(name, question):
        live.live.put(Reader("a", name), question).answer.add_done_callback(lambda _: order.append(name))

    for seed in range(MOST_OF_READER):
        put("greedy", steering(seed))
    put("other", TextQuestion(run="main", text="in between"))
    cookies, limits = {"sparselex-reader": "greedy"}, httpx.Limits(max_connections=None)
    client = httpx.Client(base_url=live.address, cookies=cookies, timeout=120, limits=limits)
    with client, ThreadPoolExecutor(100) as threads:
        asked = [threads.submit(client.get, f"{LONG}&latent=5&seed={one}") for one in range(100)]
        assert httpx.get(f"{live.address}/runs/main/features/3", timeout=60).status_code == 200
        tried = httpx.get(f"{live.address}/runs/main/text.json?t=return%20value", timeout=60)
        answers = [one.result() for one in asked]
    assert tried.status_code == 200 and tried.json()["tokens"]
    assert order.index("other") <= 2, "behind the one that was computed, and one more"
    refused = [one for one in answers if one.status_code == 429]
    assert len(refused) >= 50 and {one.status_code for one in answers} == {200, 429}
    assert "of your questions wait" in refused[0].json()["live"]["message"] and refused[0].headers["retry-after"]


def steering(seed, **more):
    """A question that takes a while."""
    given = {"prompt": "def f(", "latents": (5,), "strengths": (2.0,), "kl": None, "n_new": 100, "temperature": 1.0}
    return SteerQuestion(run="main", seed=seed, **given | more)


@pytest.mark.slow
def test_who_leaves_is_not_computed_for(live):
    """A question that nobody waits for any more is dropped on the way, or never begun."""
    first, second = (live.live.put(Reader("a", "leaves"), steering(seed)) for seed in (101, 102))
    live.live.leave(second)
    live.live.leave(first)
    later = live.live.put(Reader("a", "stays"), TextQuestion(run="main", text="stays"))
    assert later.answer.result(60).state == "answered"
    assert first.answer.result(60).state in ("late", "left") and second.answer.result(60).state == "left"


@pytest.mark.slow
def test_a_process_that_dies_is_said_and_started_again(live):
    asked = live.live.put(Reader("a", ""), steering(103, kl=0.3))
    os.kill(live.live.pid, signal.SIGKILL)
    said = asked.answer.result(60)
    assert said.state == "ended" and "signal 9" in said.message and "ask again" in said.todo
    first = httpx.get(f"{live.address}/runs/main/text.json?t=again", timeout=60)
    assert first.status_code in (200, 503)
    if first.status_code == 503:  # it takes some seconds, which the page says
        assert first.json()["live"]["state"] == "loading" and "loaded" in first.json()["live"]["message"]
        page = httpx.get(f"{live.address}/runs/main/text?t=again", timeout=60)
        assert 'data-state="loading"' in page.text or page.status_code == 200
    assert live.get("/runs/main/text.json?t=again").json()["live"]["state"] == "answered"


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_the_process_ends_with_the_server(workspace, by):
    """Also while somebody waits for it."""
    command = [sys.executable, "-m", "sparselex", "serve", str(workspace.path), "--live", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = next(line for line in server.stdout if "http://" in line)
            address = line.split(" at ")[1].split()[0]
            assert httpx.get(f"{address}/runs/main/text.json?t=x", timeout=60).json()["live"]["state"] == "loading"
            children = [int(one) for one in children_of(server.pid)]
            assert children
            server.send_signal(by)
            server.wait(20)
            wait_until(lambda: not any(map(runs, children)))
        finally:
            server.kill()


def children_of(pid: int) -> list[str]:
    if not Path("/proc/self/task").exists():
        pytest.skip("this system has no /proc")
    found: list[str] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended since it was listed
            found += (task / "children").read_text().split()
    return found


def runs(pid: int) -> bool:
    """Whether a process is there, and not only its number, which nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(holds) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "status"),
    [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200), (None, 200)],
)
def test_another_site_has_nothing_computed(live, sent, status):
    answer = live.get("/runs/main/text.json?t=mine", headers={"sec-fetch-site": sent} if sent else {})
    assert answer.status_code == status
    assert bool(answer.json()["tokens"]) == (status == 200) and answer.json()["text"] == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/runs/main/text?t=" + "a" * 4001, 400, "at most 4000"),
        ("/runs/main/text?t=" + "a%20" * 2000, 400, "reads"),
        ("/runs/main/text?t=x&n=101", 400, "less than or equal"),
        ("/runs/main/text?t=x&k=0", 400, "greater than or equal"),
        ("/runs/main/text?t=x&by=nonsense", 400, "by"),
        ("/runs/main/text?t=x&rows=1,two", 409, "was named as a latent"),
        ("/runs/main/text?t=x&rows=99999999", 409, "was named as a latent"),
        ("/runs/main/steer?latent=17&prompt=x&n=101", 400, "less than or equal"),
        ("/runs/main/steer?latent=17&prompt=x&temperature=nan", 400, "temperature"),
        ("/runs/main/steer?latent=17&prompt=x&strength=1e9", 400, "at most 1000"),
        ("/runs/main/steer?latent=17&prompt=x&strength=nan", 400, "at most 1000"),
        ("/runs/main/steer?prompt=x" + "&latent=1" * 9, 400, "at most 8"),
        ("/runs/main/steer?latent=one&prompt=x", 400, "named as a latent"),
        ("/runs/main/steer?latent=99999&prompt=x", 400, "a latent from 0"),
        ("/runs/main/steer?latent=1&latent=1&prompt=x", 400, "named twice"),
        ("/runs/main/features/99999/try?t=x", 404, "There is no latent"),
        ("/runs/main/features/1/without?position=99999999999", 404, "has no position"),
        ("/runs/main/features/1/without?position=-5", 400, "position"),
        ("/runs/main/features/1/without?prompt=x&to=nothing", 400, "to"),
        ("/runs/nobody/text?t=x", 404, "There is no run"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(live, path, status, said):
    answer = live.get(path)
    assert answer.status_code == status and said in answer.text


def test_without_a_live_model_pages_say_which_command_helps(client, workspace):
    for path in ("/runs/main/text", "/runs/main/steer", "/runs/main/features/3/try", "/runs/main/features/3/without"):
        page = client.get(path)
        assert page.status_code == 200 and "--live</code>" in page.text and "<fieldset disabled>" in page.text
        assert client.get(path + "?t=x&prompt=x&latent=3").status_code == 503
    assert "without?position" not in client.get("/runs/main/features/3/at/70").text


def test_reading_opens_no_model(workspace):
    app = create_app(workspace, live=True)
    client = TestClient(app, base_url="http://127.0.0.1")
    for path in ("/", "/runs/main/features/3", "/runs/main/text", "/runs/main/steer?latent=3"):
        assert client.get(path).status_code == 200
    assert app.state.live.pid is None
