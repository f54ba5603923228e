"""`sparselex explain --llm` against a real server on this machine."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from sparselex.base.workspace import Workspace
from sparselex.server.app import create_app
from tests.support.chat import Said, chat_server, error
from tests.support.command import done, sparselex
from tests.support.judge import ScriptedModel, Varied, over_http

KEY = "sk-secret-0123456789"
FEW = ("--latents", 6, "--active", 8, "--silent", 6, "--hard", 4, "--check", 0, "--null-share", 1)


@pytest.fixture
def copy(small_workspace, tmp_path):
    """A workspace of one indexed and explained run, to be changed."""
    folder = tmp_path / "w"
    shutil.copytree(small_workspace.path, folder)
    return folder


@pytest.fixture
def server():
    with chat_server(over_http(ScriptedModel())) as running:
        yield running


def ask(copy, server, *more):
    return sparselex("explain", copy, "--llm", server.url, "--llm-model", "scripted", *FEW, *more)


def test_features_are_explained_judged_and_shown(copy, server):
    before = done("explain", copy).out
    ended = ask(copy, server)
    assert ended.code == 0 and ended.out.startswith("6 latents explained by scripted (median detection balanced ")
    figures = json.loads((copy / "runs" / "main" / "explanations-llm" / "figures.json").read_text())["figures"]
    by_name = {figure["name"]: figure for figure in figures}
    assert by_name["explain/llm/explained_share"]["value"] == 1
    for name in ("detection/balanced_accuracy", "fuzzing/balanced_accuracy", "detection/lookup", "tokens"):
        assert by_name[f"explain/llm/{name}"]["value"] is not None, name
    assert by_name["explain/llm/detection/balanced_accuracy"]["null"] is not None
    report = json.loads((copy / "report.json").read_text())
    assert "explain/llm/fuzzing/auroc" in json.dumps(report)
    assert done("explain", copy).out == before, "rules are what they were, and what is shown of them"
    with TestClient(create_app(Workspace(copy)), base_url="http://127.0.0.1") as browser:
        ((latent,),) = rows(copy, "SELECT MIN(latent) FROM explanation WHERE explainer = 'llm'")
        page = browser.get(f"/runs/main/features/{latent}")
        assert page.status_code == 200
        for words in ("Explanation by llm", "Judged by detection: scripted, detection.v1", "by another latent’s"):
            assert words in page.text, words
        (said,) = [
            one for one in browser.get(f"/runs/main/features/{latent}.json").json()["explanations"] if one["asked"]
        ]
        assert [how["judge"] for how in said["asked"]] == ["", "detection", "fuzzing"]
        assert {one["scorer"] for one in said["scorers"]} == {"detection", "fuzzing"}
        assert browser.get("/runs/main").status_code == 200 and browser.get("/").status_code == 200


def test_rules_are_judged_and_two_models_stand_side_by_side(copy, server):
    ended = ask(copy, server, "--writer", "rule")
    assert ended.code == 0 and " explanations by rule before scripted (median detection " in ended.out, ended.err
    n = len(server.asked)
    assert ask(copy, server, "--writer", "rule").code == 0 and len(server.asked) == n, "it is done"
    said = ask(copy, server, "--as", "second", "--dry-run", "--json").json
    assert ask(copy, server, "--as", "second").out.startswith("6 latents explained by scripted as second (median ")
    assert said["total"]["requests"] == pytest.approx(len(server.asked) - n, rel=0.2)
    report = (copy / "report.json").read_text()
    assert "explain/rule/detection/auroc" in report and "explain/second/detection/auroc" in report
    with TestClient(create_app(Workspace(copy)), base_url="http://127.0.0.1") as browser:
        query = "SELECT latent FROM explanation JOIN scoring ON id = explanation WHERE explainer = 'rule' "
        ((latent,),) = rows(copy, query + "AND scorer = 'detection' ORDER BY latent LIMIT 1")
        page = browser.get(f"/runs/main/features/{latent}").text
        assert "Explanation by second" in page and "The null is the same measure of what the same search finds" in page
        assert page.count("Judged by detection: scripted") == 2 and "scored by exact, detection, fuzzing" in page
    refused = ask(copy, server, "--writer", "ruel")
    assert refused.code == 2 and "Unknown writer 'ruel'" in refused.err and "rule, second" in refused.err


def rows(copy, query):
    with sqlite3.connect(copy / "sparselex.sqlite") as db:
        return db.execute(query).fetchall()


def test_a_second_run_asks_nothing_and_more_latents_only_what_is_new(copy, server):
    ask(copy, server)
    n = len(server.asked)
    assert ask(copy, server).code == 0 and len(server.asked) == n
    assert done("explain-llm", copy).code == 0 and len(server.asked) == n, "as the run kept it"
    more = ask(copy, server, "--latents", 8)
    assert more.code == 0 and n < len(server.asked) < 2 * n


def test_everything_paid_for_is_replayed_without_a_server(copy, server, tmp_path):
    first = ask(copy, server)
    shutil.rmtree(copy / "runs" / "main" / "explanations-llm")
    with sqlite3.connect(copy / "sparselex.sqlite") as db:
        db.execute("PRAGMA foreign_keys = ON")  # with the scores of these
        db.execute("DELETE FROM explanation WHERE explainer = 'llm'")
    n = len(server.asked)
    again = ask(copy, server, "--replay")
    assert again.out == first.out and len(server.asked) == n


def test_another_model_that_was_never_asked_takes_nothing_away_in_a_replay(copy, server):
    ask(copy, server)
    there = lambda: (
        rows(copy, "SELECT * FROM explanation"),
        rows(copy, "SELECT * FROM score"),
        contents(copy / "runs"),
    )
    before = there()
    ended = sparselex("explain", copy, "--llm", server.url, "--llm-model", "other", *FEW, "--replay")
    assert ended.code == 2 and "Nothing was explained by other: 6 latents failed" in ended.err
    assert there() == before


def test_a_budget_ends_with_a_valid_part_and_the_same_command_goes_on(copy, server):
    part = ask(copy, server, "--budget-requests", 12, "--llm-concurrency", 2)
    assert part.code == 0 and "left" in part.out and "budget" in part.out
    assert len(server.asked) <= 16
    whole = ask(copy, server)
    assert whole.code == 0 and "left" not in whole.out


def test_a_server_that_fails_costs_no_answer_and_the_next_run_goes_on(copy):
    model, calls = over_http(ScriptedModel()), [0]

    def unsteady(body):
        calls[0] += 1
        if calls[0] > 8 and calls[0] % 3 == 0:
            return [error(500, "no"), error(429, "slowly", retry_after="0"), Said(how="dropped")][calls[0] // 3 % 3]
        return model(body)

    with chat_server(unsteady) as server:
        ended = ask(copy, server)
        assert ended.code == 0 and "6 latents explained" in ended.out and "failed" not in ended.out


def test_a_killed_run_pays_for_nothing_twice(copy):
    slow = over_http(ScriptedModel())
    with chat_server(lambda body: Said(slow(body).body, after_s=0.03)) as server:
        command = ["explain", copy, "--llm", server.url, "--llm-model", "scripted", *FEW, "--llm-concurrency", 2]
        program = "import sys; from sparselex.cli.main import main; main(sys.argv[1:])"
        child = subprocess.Popen([sys.executable, "-c", program, *map(str, command)], stdout=subprocess.DEVNULL)
        while len(server.asked) < 20 and child.poll() is None:
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        killed = list(map(str, server.asked))
        assert done(*command).out.startswith("6 latents explained")
    after = list(map(str, server.asked[len(killed) :]))
    assert len(set(killed) & set(after)) <= 2 * 2, "what was open or being written, and the probe"


def test_the_key_is_sent_and_never_written_or_shown(copy, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    with chat_server(lambda body: error(400, f"your key is {KEY}")) as server:
        ended = ask(copy, server, "--llm-key-env", "THE_KEY")
        assert any(KEY in head.get("Authorization", "") for head in server.headers)
    assert KEY not in ended.out + ended.err
    for path in [path for path in Path(copy).rglob("*") if path.is_file()]:
        assert KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--llm", "http://127.0.0.1:9/v1"), "No --llm-model was given"),
        (("--llm", "file:///etc/passwd", "--llm-model", "x"), "does not begin with http"),
        (("--llm", "http://me:pw@host/v1", "--llm-model", "x"), "holds a user name or a password"),
        (("--llm", "http://127.0.0.1:9/v1", "--llm-model", "x", "--scorers", "exact"), "--scorers was given beside"),
        (("--judges", "detection"), "--judges was given without --llm"),
        (("--llm", "http://127.0.0.1:9/v1", "--llm-model", "x", "--judges", "detectoin"), "detection"),
        (("--llm", "http://127.0.0.1:9/v1", "--llm-model", "x", "--window", "3"), "--window"),
        (("--llm", "http://127.0.0.1:9/v1", "--llm-model", "x", "--llm-key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY"),
        (("--llm", "http://127.0.0.1:9/v1", "--llm-model", "x", "--budget-usd", "1"), "price"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(copy, options, said):
    before = contents(copy)
    ended = sparselex("explain", copy, *options)
    assert ended.code == 2 and said in ended.err, ended.err
    assert contents(copy) == before


def contents(folder):
    """Every file but those that SQLite makes for whoever reads."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm")))
    return {path: path.read_bytes() for path in files}


def test_a_dry_run_says_what_is_asked_and_sends_nothing(copy, server):
    before = contents(copy)
    prices = ("--usd-per-million-prompt", 1, "--usd-per-million-answer", 2)
    ended = ask(copy, server, "--dry-run", *prices, "--json")
    assert ended.code == 0 and not server.asked, ended.err
    assert contents(copy) == before
    said = ended.json
    done("explain", copy, "--llm", server.url, "--llm-model", "scripted", *FEW)
    systems = [body.get("messages", [{"content": ""}])[0]["content"] for body in server.asked]
    probes = sum(1 for system in systems if not system.startswith("You "))
    assert said["total"]["requests"] == pytest.approx(len(server.asked) - probes, rel=0.05)
    assert said["total"]["usd"] > 0 and "detection" in str(ask(copy, server, "--dry-run").out)
    again = ask(copy, server, "--dry-run", "--json").json
    assert again["total"]["requests"] <= 0.1 * said["total"]["requests"], "what is at hand costs nothing"


@pytest.mark.parametrize(
    "more", [("--writer", "rule"), ("--best-of", 3, "--best-windows", 4), ("--writer", "both", "--judges", "fuzzing")]
)
def test_the_estimate_is_near_what_is_asked(copy, more):
    with chat_server(over_http(Varied())) as server:
        said = ask(copy, server, *more, "--dry-run", "--json").json["total"]
        found = ask(copy, server, *more, "--json").json
        asked = [body for body in server.asked if body.get("messages", [{"content": ""}])[0]["content"][:4] == "You "]
        assert said["requests"] == pytest.approx(len(asked), rel=0.2)
        assert found["n_requests"] == pytest.approx(len(asked), rel=0.2), "no more is shown than was answered"
    if "--best-of" in more:
        ((latent,),) = rows(copy, "SELECT MIN(latent) FROM candidate")
        with TestClient(create_app(Workspace(copy)), base_url="http://127.0.0.1") as browser:
            page = browser.get(f"/runs/main/features/{latent}").text
        assert "Chosen from 3 draws" in page and ", kept</span>" in page


def test_a_replay_counts_no_question_that_was_not_answered(copy, server):
    ask(copy, server, "--judges", "detection")
    shutil.rmtree(copy / "runs" / "main" / "explanations-llm")
    n = len(server.asked)
    found = ask(copy, server, "--judges", "detection,fuzzing", "--replay", "--json").json
    assert len(server.asked) == n and found["n_unscored"] == 6, "of fuzzing nothing is at hand"
    judged = rows(copy, "SELECT n_requests, n_prompt_tokens FROM asked WHERE judge = 'fuzzing'")
    assert judged == [(0, 0)] * 6


def test_nobody_there_is_one_message(copy):
    ended = sparselex("explain", copy, "--llm", "http://127.0.0.1:9/v1", "--llm-model", "x", *FEW)
    assert ended.code == 2 and "http://127.0.0.1:9/v1" in ended.err and "Traceback" not in ended.err
    assert not (copy / "runs" / "main" / "explanations-llm").exists()
