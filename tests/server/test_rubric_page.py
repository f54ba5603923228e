"""The rubric in the browser: blind in everything that is sent, counted once, and shown when there is enough."""

import json
import re
import shutil
from html import unescape

import pytest
from fastapi.testclient import TestClient

from sparselex.base.workspace import Workspace
from sparselex.cli.main import main
from sparselex.evaluate.gathered import gather
from sparselex.explain.rubric.store import RubricStore
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.rubric import ENOUGH
from sparselex.server.rubric_subjects import asking_of, subjects_of

HERE = {"origin": "http://127.0.0.1", "accept": "application/json"}
SENT = ("id", "begun", "shown")
SCORES = {"confidence": 2, "activation": 4, "logits": 2, "separation": 1, "specificity": 3}
PAGE = "/runs/main/rubric"


@pytest.fixture(scope="module")
def with_neurons(small_workspace, tmp_path_factory) -> Workspace:
    """A copy of the small workspace, which has a twin, with its neurons."""
    path = tmp_path_factory.mktemp("rubric") / "w"
    shutil.copytree(small_workspace.path, path)
    workspace = Workspace(path)
    Run.open(workspace, "main").do("controls", kinds=("neurons",))
    return workspace


@pytest.fixture
def workspace(with_neurons):
    yield with_neurons
    with RubricStore(with_neurons.database).database.writing() as db:
        db.execute("DELETE FROM rubric")


@pytest.fixture
def pages(workspace) -> TestClient:
    return TestClient(create_app(workspace), base_url="http://127.0.0.1")


def sent(pages, **more):
    asked = pages.get(f"{PAGE}.json").json()
    return {name: asked[name] for name in SENT} | SCORES | {"interpretation": "words"} | more


def answers(workspace):
    return RubricStore(workspace.database).all(workspace.artifacts("main")["index"].id)


def test_nothing_that_is_sent_tells_what_is_shown(workspace, pages):
    opened = OpenWorkspace(workspace)
    assert [one.kind for one in subjects_of(opened, "main")] == ["features", "neurons", "twins"]
    ids = {one.features.id for one in subjects_of(opened, "main")}
    kinds, whole = set(), {"title", "run", *SENT, "windows", "raised", "scales", "rater", "n_answered", "missing"}
    frames = set()
    for _ in range(24):
        html = pages.get(PAGE).text
        id = re.search(r'name="id" value="(\w+)"', html)[1]
        asked = asking_of(opened, "main").of(id)
        kinds.add(asked.kind)
        assert not any(one in html for one in ids) and not re.search(r"main-neurons|data-|/features/\d", _main(html))
        # Without the text, the tokens, and what is drawn, pages of all kinds are the same to the letter.
        frame = re.sub(r'<ol class="(rated|raised)">.*?</ol>|value="[0-9a-f]+"', "", html, flags=re.S)
        frames.add(frame)
        record = pages.get(f"{PAGE}.json").json()
        assert record.keys() == whole and not record["missing"]
        left = json.dumps({name: record[name] for name in (*SENT, "title", "rater", "n_answered")})
        assert not re.search(r"feature|neuron|twin|latent|interval|position", left)
        assert {name for window in record["windows"] for part in window for name in part} == {"text", "marked"}
        assert {name for one in record["raised"] for name in one} == {"token", "share"}
    assert kinds == {"features", "neurons", "twins"} and len(frames) == 1


def _main(html: str) -> str:
    return html[html.index("<main") : html.index("</main>")]


def test_an_answer_is_kept_with_what_was_asked(workspace, pages):
    one = sent(pages, rater=" Ada ")
    asked = asking_of(OpenWorkspace(workspace), "main").of(one["id"])
    assert pages.post(PAGE, json=one, headers=HERE).json() == {"counted": True, "n_answered": 1}
    (row,) = answers(workspace)
    assert (row.kind, row.of, row.latent, row.interval) == (asked.kind, asked.of, asked.latent, asked.interval)
    assert (row.total, row.rater, row.interpretation) == (12, "Ada", "words") and 0 <= row.seconds < 60
    assert json.loads(row.positions) == asked.positions


def test_a_question_answered_twice_counts_once(workspace, pages):
    one = sent(pages)
    said = [pages.post(PAGE, json=one | {"confidence": points}, headers=HERE).json() for points in (2, 0)]
    assert [one["counted"] for one in said] == [True, False] and said[1]["n_answered"] == 1
    assert answers(workspace)[0].confidence == 2


def test_separation_does_not_count_where_all_fits_and_is_asked_for_where_not(workspace, pages):
    one = sent(pages, logits=3, separation=1)
    assert pages.post(PAGE, json=one, headers=HERE).json()["counted"]
    assert answers(workspace)[0].separation is None and answers(workspace)[0].total == 12
    for wrong in ({"separation": None}, {"separation": ""}, {"separation": 2}):
        assert pages.post(PAGE, json=sent(pages) | wrong, headers=HERE).status_code == 400


def test_a_form_leads_to_the_next_question_and_keeps_the_name(workspace, pages):
    form = {name: str(value) for name, value in sent(pages, rater="Ada B").items()}
    done = pages.post(PAGE, data=form, headers=HERE, follow_redirects=False)
    assert done.status_code == 303 and done.headers["location"] == f"{PAGE}?rater=Ada+B"
    assert 'value="Ada B"' in pages.get(done.headers["location"]).text
    perfect = {name: str(value) for name, value in sent(pages, logits=3).items() if name != "separation"}
    assert pages.post(PAGE, data=perfect, headers=HERE, follow_redirects=False).status_code == 303
    assert [one.separation for one in answers(workspace)] == [1, None]


def test_what_is_refused(workspace, pages):
    one = sent(pages)
    post = lambda values, headers=HERE: pages.post(PAGE, json=values, headers=headers)
    assert post(one, HERE | {"origin": "http://elsewhere.example"}).status_code == 403
    bad = ({"confidence": 4}, {"activation": -1}, {"logits": "x"}, {"specificity": None}, {"id": "x"}, {"more": 1})
    for wrong in (*bad, {"interpretation": "n" * 601}, {"rater": "n" * 61}):
        assert post(one | wrong).status_code == 400
    assert post(one | {"shown": "0" * 16}).status_code == 409
    assert pages.post("/runs/nobody/rubric", json=one, headers=HERE).status_code == 404
    reader = TestClient(create_app(workspace, read_only=True), base_url="http://127.0.0.1")
    assert reader.post(PAGE, json=one, headers=HERE).status_code == 403
    assert "<button" not in _main(reader.get(PAGE).text) and answers(workspace) == []


def test_results_wait_for_enough_answers_and_stand_in_the_report(workspace, pages, tmp_path, capsys):
    for number in range(ENOUGH):
        few = pages.get(f"{PAGE}/results.json").json()
        assert few["kinds"] == [] and few["n_answered"] == number
        pages.post(PAGE, json=sent(pages), headers=HERE)
    found = pages.get(f"{PAGE}/results.json").json()
    assert sum(one["points"]["n"] for one in found["kinds"]) == ENOUGH and found["paper"]["features"] == 12
    shown = unescape(pages.get(f"{PAGE}/results").text)
    assert all(f">{one['kind']}</summary>" in shown for one in found["kinds"])
    for arguments in (("--export", str(tmp_path / "r.csv")), ("--import", str(tmp_path / "r.csv")), ("--json",)):
        with pytest.raises(SystemExit) as ended:
            main(["ratings", str(workspace.path), "--rubric", *arguments])
        assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"{ENOUGH} answers written" in said and "0 new answers" in said and '"rubric/' in said
    assert any(one.name.startswith("rubric/") for one in gather(workspace, "main").figures)


def test_what_the_paper_compared_with_and_is_not_there_is_told_with_its_command(small_workspace):
    pages = TestClient(create_app(small_workspace), base_url="http://127.0.0.1")
    record = pages.get(f"{PAGE}.json").json()
    assert list(record["missing"]) == ["neurons"] and "--kinds neurons" in pages.get(PAGE).text
    alone = pages.get("/runs/twin/rubric.json").json()
    assert alone["missing"] == {} and alone["shown"]  # it is a control itself, and its answers are those of one
    assert [one.kind for one in subjects_of(OpenWorkspace(small_workspace), "twin")] == ["twins"]
