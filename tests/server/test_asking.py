"""An explanation that a reader asks for on a feature's page: from the form to the scores, over real local HTTP."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from sparselex.base.workspace import Workspace
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.server.app import create_app, server_of
from sparselex.server.live_ask import Asker, Busy, Turn
from sparselex.server.live_ask_records import Job, LanguageModel
from sparselex.server.opened import OpenWorkspace
from tests.support.chat import ChatServer, Said, chat_server, completion
from tests.support.judge import ScriptedModel, over_http

KEY = "sk-of-nobody-4711"
FORM = {"do": "count", "writer": "llm", "judge-detection": "on"}
OWN = {"sec-fetch-site": "same-origin", "accept": "text/html"}


@pytest.fixture
def copied(small_workspace, tmp_path) -> Workspace:
    """A workspace of the test's own, whose judge is not tried: its text is of too few words."""
    shutil.copytree(small_workspace.path, tmp_path / "w")
    workspace = Workspace(tmp_path / "w")
    config = workspace.settings("main")
    options = {"check": 0, "window": 16, "examples": 8, "active": 8, "silent": 6, "hard": 4}
    stages = config["stages"] | {"explain-llm": options}
    workspace.keep(workspace.card("main"), config | {"stages": stages})
    return workspace


@pytest.fixture
def latent(copied) -> int:
    return int(index_of(copied).table["train_n_active"].argmax())


@pytest.fixture
def model():
    """A language model behind a server of this machine."""
    with chat_server(over_http(ScriptedModel())) as server:
        yield server


@pytest.fixture
def serve(copied, monkeypatch):
    """Pages of the workspace, with a language model behind an address."""
    monkeypatch.setenv("KEY_OF_NOBODY", KEY)
    apps = []

    def start(url: str = "", **more) -> TestClient:
        asks = LanguageModel(url, "scripted", "KEY_OF_NOBODY") if url else None
        app = create_app(copied, asks=asks, **more)
        apps.append(app)
        return TestClient(app, base_url="http://127.0.0.1")

    yield start
    for app in apps:
        if app.state.asker:
            app.state.asker.close()


def index_of(workspace) -> FeatureIndex:
    return OpenWorkspace(workspace).index("main").index


def post(client, latent, headers=OWN, **fields):
    return client.post(f"/runs/main/features/{latent}/ask", data=fields, headers=headers, follow_redirects=False)


def state_of(client, latent) -> dict:
    return client.get(f"/runs/main/features/{latent}/ask.json").json()["ask"]["state"]


def done(client, latent) -> dict:
    """The state when nothing goes on any more."""
    until = time.monotonic() + 120
    while (found := state_of(client, latent))["state"] in ("counting", "asking"):
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_from_the_form_to_the_scores(serve, model, latent, copied):
    client = serve(model.url)
    page = client.get(f"/runs/main/features/{latent}").text
    assert "What would it cost?" in page and 'value="rule"' in page and "scripted" in page
    answer = post(client, latent, **FORM)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/main/features/{latent}#ask")
    counted = done(client, latent)
    assert counted["state"] == "counted" and not model.asked, counted
    assert counted["cost"]["n_requests"] == 3 and counted["cost"]["n_tokens"] > 100
    assert "about 3 questions" in client.get(f"/runs/main/features/{latent}").text
    assert post(client, latent, **FORM | {"do": "ask"}).status_code == 303
    told = done(client, latent)
    assert (told["state"], told["explainer"], told["message"]) == ("done", "llm", ""), told
    chats = [body for body in model.asked if "any of the characters" in json.dumps(body) or "find out" in str(body)]
    assert len(chats) == 3
    record = client.get(f"/runs/main/features/{latent}.json").json()
    (one,) = [one for one in record["explanations"] if one["explainer"] == "llm"]
    assert one["status"] == "explained" and [scorer["scorer"] for scorer in one["scorers"]] == ["detection"]
    assert one["scorers"][0]["judgements"] and one["text"].startswith("any of the characters")
    index_id = index_of(copied).id
    assert [about.latents for about in AskedStore(copied.database).about(index_id)] == [()]
    assert not (copied.run("main") / "explanations-llm").exists()


@pytest.mark.slow
def test_a_second_time_costs_nothing_and_rules_are_judged_as_they_stand(serve, model, latent):
    client = serve(model.url)
    post(client, latent, **FORM | {"do": "ask"})
    assert done(client, latent)["state"] == "done"
    n = len(model.asked)
    post(client, latent, **FORM | {"do": "ask"})
    assert done(client, latent)["state"] == "done" and len(model.asked) == n
    post(client, latent, **FORM)
    assert done(client, latent)["cost"]["n_requests"] == 0
    post(client, latent, do="ask", writer="rule", **{"judge-fuzzing": "on"})
    assert done(client, latent)["explainer"] == "rule"
    record = client.get(f"/runs/main/features/{latent}.json").json()
    (rule,) = [one for one in record["explanations"] if one["explainer"] == "rule"]
    assert [scorer["scorer"] for scorer in rule["scorers"]] == ["exact", "fuzzing"]


@pytest.mark.slow
def test_failures_are_told_and_the_key_is_nowhere(serve, latent, copied, capfd):
    refuses = lambda body: Said({"error": {"message": f"no such key: {KEY}"}}, 401)
    with chat_server(refuses) as server:
        client = serve(server.url)
        post(client, latent, **FORM | {"do": "ask"})
        told = done(client, latent)
        assert told["state"] == "failed" and told["message"] and told["todo"]
        page = client.get(f"/runs/main/features/{latent}").text
        assert "Not done." in page and server.headers[0]["Authorization"] == f"Bearer {KEY}"
    out = capfd.readouterr()
    kept = b"".join(path.read_bytes() for path in copied.path.rglob("*") if path.is_file())
    assert KEY not in page + json.dumps(told) + out.out + out.err and KEY.encode() not in kept


@pytest.mark.slow
def test_one_at_a_time_and_it_can_be_stopped(serve, latent):
    with chat_server(lambda body: Said(completion("late"), how="never")) as server:
        client = serve(server.url)
        post(client, latent, **FORM | {"do": "ask"})
        other = latent + 1 if latent == 0 else latent - 1
        page = client.get(f"/runs/main/features/{latent}").text
        assert "Look again" in page and "is being asked" in page
        assert f"asks about feature {latent} of run main" in client.get(f"/runs/main/features/{other}").text
        refused = post(client, other, **FORM)
        assert refused.status_code == 409 and "one feature at a time" in refused.text
        assert post(client, latent, do="stop").status_code == 303
        told = done(client, latent)
        assert told["state"] == "failed" and "stopped" in told["message"]
        until = time.monotonic() + 10
        while client.get(f"/runs/main/features/{other}/ask.json").json()["ask"]["state"]["busy_with"]:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("more", "headers", "fields", "status"),
    [
        ({"read_only": True}, OWN, {}, 403),
        ({}, {"sec-fetch-site": "cross-site"}, {}, 403),
        ({}, {"origin": "http://elsewhere.example"}, {}, 403),
        ({}, {}, {}, 403),  # a form without an origin
        ({}, OWN, {"writer": "nobody"}, 400),
        ({}, OWN, {"judge-detection": ""}, 400),
        ({}, OWN, {"do": "everything"}, 400),
    ],
)
def test_what_is_refused_asks_nobody(serve, model, latent, more, headers, fields, status):
    client = serve(model.url, **more)
    assert post(client, latent, headers=headers, **FORM | fields).status_code == status
    assert not model.asked and state_of(client, latent)["state"] == "none"


def test_a_server_without_a_language_model_says_how_to_have_one(serve, latent):
    client = serve()
    assert post(client, latent, **FORM).status_code == 409
    page = client.get(f"/runs/main/features/{latent}").text
    assert "--llm URL --llm-model NAME" in page and "What would it cost?" not in page
    assert post(serve("http://127.0.0.1:9/v1"), 10**6, **FORM).status_code == 404
    assert (
        "for reading only" in serve("http://127.0.0.1:9/v1", read_only=True).get(f"/runs/main/features/{latent}").text
    )


def test_workspaces_of_one_server_share_a_turn(copied):
    turn = Turn()
    first, second = (Asker(copied, LanguageModel("u", "m"), turn) for _ in range(2))
    turn.take("feature 3 of run main")
    with pytest.raises(Busy, match="feature 3 of run main"):
        second.start(Job("main", 1, "llm", ("detection",), True))
    assert first.state("main", 1).busy_with == "feature 3 of run main"


@pytest.mark.slow
def test_a_server_that_is_killed_takes_its_process_with_it_and_leaves_nothing_half_written(latent, copied):
    model = ScriptedModel()
    judged = threading.Event()

    def answer(body) -> Said:
        if "You judge" in json.dumps(body):
            judged.set()
            return Said(completion("late"), how="never")
        return over_http(model)(body)

    with chat_server(answer) as server:
        command = [sys.executable, "-m", "sparselex", "serve", str(copied.path), "--port", "0", "--llm", server.url]
        command += ["--llm-model", "scripted"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "http://" in line)
            url = line.split(" at ")[1].split()[0]
            where = f"{url}/runs/main/features/{latent}/ask"
            assert httpx.post(where, data=FORM | {"do": "ask"}, headers=OWN, timeout=30).status_code == 303
            assert judged.wait(60)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.send_signal(signal.SIGKILL)
        until = time.monotonic() + 20
        while any(_runs(child) for child in children):
            assert time.monotonic() < until
            time.sleep(0.1)
        store, index = ExplanationStore(copied.database), index_of(copied)
        assert not store.scores(index.id, latent=latent, explainer="llm")
    with chat_server(over_http(model)) as again:
        _finish(copied, again, latent)


def _runs(child: str) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _finish(workspace: Workspace, server: ChatServer, latent: int) -> None:
    """Asked again, what was cut off is done."""
    client = TestClient(create_app(workspace, asks=LanguageModel(server.url, "scripted")), base_url="http://127.0.0.1")
    post(client, latent, **FORM | {"do": "ask"})
    assert done(client, latent)["state"] == "done"


@pytest.mark.slow
def test_in_a_browser_with_and_without_scripts(browser, model, latent, copied):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = server_of(create_app(copied, asks=LanguageModel(model.url, "scripted")))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/runs/main/features/{latent}"
    try:
        tab = browser.new_page(java_script_enabled=False)
        tab.goto(address)
        tab.get_by_label("fuzzing").uncheck()
        tab.get_by_role("button", name="What would it cost?").click()
        for _ in range(100):
            if "about 3 questions" in tab.locator("#ask").inner_text():
                break
            tab.wait_for_timeout(300)
            tab.goto(address)
        assert "about 3 questions" in tab.locator("#ask").inner_text()
        tab.close()
        tab = browser.new_page()
        tab.goto(address)
        tab.get_by_role("button", name="Ask", exact=True).click()
        tab.get_by_text("Asked and judged").wait_for(timeout=60_000)
        assert tab.locator("section[aria-label='Explanation by llm']").is_visible()
        tab.close()
    finally:
        server.should_exit = True
        thread.join()
