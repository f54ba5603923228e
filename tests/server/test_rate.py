"""Explanations rated by people: blind in everything that is sent, counted once, and shown as any scorer's."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from sparselex.base.workspace import Workspace
from sparselex.cli.main import main
from sparselex.evaluate.gathered import gather
from sparselex.explain.ratings.question import Asking
from sparselex.explain.ratings.store import RatingStore
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.server.app import create_app
from sparselex.server.opened import OpenWorkspace

HERE = {"origin": "http://127.0.0.1", "accept": "application/json"}
SENT = ("id", "begun", "shown")


@pytest.fixture
def workspace(small_workspace, tmp_path) -> Workspace:
    shutil.copytree(small_workspace.path, tmp_path / "w")
    workspace = Workspace(tmp_path / "w")
    store, index = ExplanationStore(workspace.database), workspace.artifacts("main")["index"].id
    said = [
        Explanation(latent=n, explainer="zyxwriter", status="explained", title="t", text=f"words number {n * 7919}")
        for n in range(30)
    ]
    store.add(index, "c", said)
    return workspace


@pytest.fixture
def pages(workspace) -> TestClient:
    return TestClient(create_app(workspace), base_url="http://127.0.0.1")


def command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0


def asking(workspace):
    return Asking(OpenWorkspace(workspace).index("main").index, ExplanationStore(workspace.database))


def answer(pages, choice, **more):
    asked = pages.get("/rate/main.json").json()
    return {name: asked[name] for name in SENT} | {"choice": choice} | more


def test_nothing_that_is_sent_tells_whose_texts_these_are(workspace, pages):
    questions = asking(workspace)
    for _ in range(12):
        record = pages.get("/rate/main.json").json()
        asked = questions.of(record["id"])
        assert (record["a"], record["b"]) == asked.texts and record["shown"] == asked.shown
        left = json.dumps({name: value for name, value in record.items() if name not in ("a", "b", "windows", "run")})
        assert not re.search(r"zyxwriter|rule|latent|score|position|feature", left)
        assert record.keys() == {"title", "run", *SENT, "windows", "a", "b", "rater", "n_rated"}
        assert {name for window in record["windows"] for part in window for name in part} == {"text", "marked"}
        assert not set(map(str, asked.positions)) & set(re.findall(r"\d+", left))
    html = pages.get("/rate/main").text
    main_part = html[html.index("<main") : html.index("</main>")]
    assert "zyxwriter" not in html and not re.search(r"/features/\d|/at/\d|data-value", main_part)
    ids = [pages.get("/rate/main.json").json()["id"] for _ in range(5)]
    assert len(set(ids)) == 5, "drawn, not counted"


def test_an_answer_is_a_row_and_a_score_beside_all_others(workspace, pages):
    sent = answer(pages, "A", rater=" Ada ")
    asked = asking(workspace).of(sent["id"])
    assert pages.post("/rate/main", json=sent, headers=HERE).json() == {"counted": True, "n_rated": 1}
    (row,) = RatingStore(workspace.database).all(workspace.artifacts("main")["index"].id)
    assert (row.latent, row.choice, row.rater, row.a_explainer) == (asked.latent, "A", "Ada", asked.a.explainer)
    assert json.loads(row.positions) == asked.positions and 0 <= row.seconds < 60
    found = ExplanationStore(workspace.database).scores(row.index, latent=asked.latent)
    assert {one.metric for one in found if one.scorer == "people"} & {"win_rate", "beats_explainers"}
    assert "people" in pages.get(f"/runs/main/features/{asked.latent}").text
    assert "people" in pages.get(f"/runs/main/features/{asked.latent}.json").text


def test_what_is_sent_twice_counts_once(workspace, pages):
    sent = answer(pages, "both")
    said = [pages.post("/rate/main", json=sent | {"choice": one}, headers=HERE).json() for one in ("both", "A")]
    assert [one["counted"] for one in said] == [True, False] and said[1]["n_rated"] == 1
    (row,) = RatingStore(workspace.database).all(workspace.artifacts("main")["index"].id)
    assert row.choice == "both"


def test_many_at_once_lose_nothing(workspace, pages):
    """Each of a hundred answers counts, and the scores are those of all of them."""
    sent = [answer(pages, "AB"[n % 2]) for n in range(50)]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda one: pages.post("/rate/main", json=one, headers=HERE).json(), sent + sent))
    assert sum(one["counted"] for one in done) == 50
    index, store = workspace.artifacts("main")["index"].id, ExplanationStore(workspace.database)
    ratings = RatingStore(workspace.database).all(index)
    before = [store.scores(index, latent=one.latent) for one in ratings]
    RatingStore(workspace.database).score(index)
    assert len(ratings) == 50 and before == [store.scores(index, latent=one.latent) for one in ratings]


def test_a_form_leads_to_the_next_question_and_keeps_the_name(pages):
    sent = answer(pages, "neither", rater="Ada B")
    done = pages.post("/rate/main", data=sent, headers=HERE, follow_redirects=False)
    assert done.status_code == 303 and done.headers["location"] == "/rate/main?rater=Ada+B"
    assert 'value="Ada B"' in pages.get(done.headers["location"]).text


def test_what_is_refused(workspace, pages):
    sent = answer(pages, "A")
    post = lambda values, headers=HERE, **more: pages.post("/rate/main", json=values, headers=headers, **more)
    assert post(sent, HERE | {"origin": "http://elsewhere.example"}).status_code == 403
    assert pages.post("/rate/main", data=sent).status_code == 403, "a form of nobody knows where"
    for wrong in ({"choice": "C"}, {"id": "x"}, {"begun": -1}, {"rater": "n" * 99}, {"more": 1}):
        assert post(sent | wrong).status_code == 400
    assert post(sent | {"shown": "0" * 16}).status_code == 409
    assert pages.post("/rate/nobody", json=sent, headers=HERE).status_code == 404
    reader = TestClient(create_app(workspace, read_only=True), base_url="http://127.0.0.1")
    assert reader.post("/rate/main", json=sent, headers=HERE).status_code == 403
    assert "<button name" not in reader.get("/rate/main").text
    asked = asking(workspace).of(sent["id"])
    index = workspace.artifacts("main")["index"].id
    for one in (asked.a, asked.b):
        ExplanationStore(workspace.database).add(
            index, "d", [one.model_copy(update={"text": "new", "predictor": None})]
        )
    assert post(sent).status_code == 409, "other words were shown"
    assert RatingStore(workspace.database).count(index) == 0


def test_a_workspace_without_explanations_says_so(workspace):
    with ExplanationStore(workspace.database).database.writing() as db:
        db.execute("DELETE FROM explanation")
    page = TestClient(create_app(workspace), base_url="http://127.0.0.1").get("/rate/main")
    assert page.status_code == 200 and "nothing to rate" in page.text


def test_ratings_travel_and_stand_in_the_report(workspace, pages, tmp_path, capsys):
    path = str(workspace.path)
    for n in range(6):
        pages.post("/rate/main", json=answer(pages, "AB"[n % 2]), headers=HERE)
    command("ratings", path, "--export", str(tmp_path / "r.csv"))
    with RatingStore(workspace.database).database.writing() as db:
        db.execute("DELETE FROM rating")
    command("ratings", path, "--import", str(tmp_path / "r.csv"))
    command("ratings", path, "--import", str(tmp_path / "r.csv"), "--json")
    said = capsys.readouterr().out
    assert "6 ratings written" in said and "6 new ratings" in said and "0 new ratings" in said
    names = {one.name for one in gather(workspace, "main").figures}
    assert any(re.fullmatch(r"explain/\w+/people/(win_rate|beats_explainers)_of_all", name) for name in names)
