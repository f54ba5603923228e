"""What a sceptic reads: the card of a dictionary, the panel on a feature's page, and the verdict."""

import json
import re
import shutil
from html import unescape

import pytest

from sparselex.base.files import write_json
from sparselex.base.formats import number
from sparselex.base.staging import stage
from sparselex.evaluate.model_features.records import FILE, KIND, ModelFeatures
from sparselex.evaluate.model_features.words import against_null, answers, summary
from sparselex.evaluate.report import report
from sparselex.evaluate.supervised.records import SUMMARY, SUMMARY_FILE, TaskResult
from sparselex.evaluate.verdict import verdict_of
from sparselex.recipes.pushing import push
from tests.server.conftest import OF_TASK


@pytest.fixture(scope="module")
def found(workspace) -> ModelFeatures:
    return ModelFeatures.from_file(workspace.run("main") / KIND / FILE)


def shown(client, address) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", client.get(address).text)))


def test_the_card_has_every_figure_question_and_curve(client, found):
    page = client.get("/runs/main/model-features")
    text = shown(client, "/runs/main/model-features")
    for figure in found.figures:
        assert figure.failure or number(figure.value, 3) in text
    for one in answers(found):
        assert one.question in text and one.answer in text
    assert summary(found) in text
    assert page.text.count('<g class="series') >= len(found.curves) == 3
    record = client.get("/runs/main/model-features.json").json()
    assert record["found"]["latents"] == [] and len(record["most"]) == 12
    assert record["most"][0]["relevance"] == max(one.relevance for one in found.latents)


def test_a_feature_says_how_far_it_is_the_models(client, found):
    one = next(latent for latent in found.latents if latent.measured)
    view = client.get(f"/runs/main/features/{one.latent}.json").json()["of_model"]
    assert view["latent"]["relevance"] == one.relevance
    assert {row["name"]: row["value"] for row in view["rows"]}["relevance"] == one.relevance
    assert view["above"] == pytest.approx(
        sum(other.relevance < one.relevance for other in found.latents) / len(found.latents)
    )
    text = shown(client, f"/runs/main/features/{one.latent}")
    assert "Of the model?" in text and number(one.relevance, 3) in text
    assert client.get("/runs/twin/features/3.json").json()["of_model"] is None
    assert "sparselex evaluate model-features" in shown(client, "/runs/twin/features/3")


def test_a_run_without_a_card_says_how_to_make_one(client):
    answer = client.get("/runs/twin/model-features")
    assert answer.status_code == 404 and "sparselex evaluate model-features" in answer.text


def test_the_verdict_counts_what_the_report_compares(client, workspace, found):
    whole = report(workspace, "main")
    verdict = verdict_of(workspace, whole, found)
    assert {one.name for one in verdict.controls} == {one.control for one in whole.comparisons}
    for one in verdict.controls:
        of = [compared for compared in whole.comparisons if compared.control == one.name]
        assert len(one.beat) == sum(compared.verdict == "better" for compared in of)
        assert len(one.lost) == sum(compared.verdict == "worse" for compared in of)
        assert len(one.beat) + len(one.lost) + len(one.undecided) == len(of)
    lost = [figure.name for figure in whole.figures if against_null(figure) == "worse"]
    assert verdict.nulls.lost == lost
    asked = {command.split(" --run")[0] for command in verdict.unanswered.values()}
    assert f"sparselex effects {workspace.typed}" in asked and len(asked) == len(verdict.unanswered)
    assert not any("model-features" in command for command in asked)
    text = shown(client, "/runs/main/verdict")
    assert verdict.summary in text and all(command in text for command in verdict.unanswered.values())


@pytest.fixture
def in_a_task(workspace):
    """The workspace with a task to which the run's dictionary was put, in the place of one that was trained for it."""
    result = TaskResult.read(workspace.path / "tasks" / "copier" / "summary")
    tested = next(one for one in result.tested if one.yardstick and any(row.name == "topk" for row in one.rows))
    mine = next(row for row in tested.rows if row.name == "topk" and row.edits)
    dictionary = workspace.artifacts("main")["dictionary"].id
    put = mine.model_copy(update={"name": "run main", "run": "main", "dictionary": dictionary})
    stale = put.model_copy(update={"dictionary": "another"})
    rows = [put if row is mine else row for row in tested.rows] + [stale]
    folder = workspace.path / "tasks" / "put" / "summary"
    with stage(folder, SUMMARY, OF_TASK, {}) as staging:
        whole = result.model_copy(update={"tested": [tested.model_copy(update={"rows": rows})]})
        write_json(staging.folder / SUMMARY_FILE, whole.to_json())
        staging.finish()
    yield tested, mine
    shutil.rmtree(folder.parent)


def test_edits_of_a_task_stand_beside_those_of_labels_and_controls(client, workspace, in_a_task):
    tested, mine = in_a_task
    shown_there = client.get("/runs/main/model-features.json").json()["edits"]
    assert shown_there and {one["task"] for one in shown_there} == {"put"}
    for one in shown_there:
        none = tested.unedited[one["attribute"]].value
        of = lambda row, name=one["attribute"]: {
            (edit.way, edit.k): edit.agreement for edit in row.edits if edit.attribute == name
        }
        labels = max(figure.value for row in tested.rows if row.name == tested.yardstick for figure in of(row).values())
        greedy = {k: figure for (way, k), figure in of(mine).items() if way == "greedy"}
        assert [reached["k"] for reached in one["run"]] == sorted(greedy) == [1, 2, 4]
        for reached in one["run"]:
            scaled = lambda value, low=none, high=labels: (value - low) / (high - low)
            assert reached["share"] == pytest.approx(scaled(greedy[reached["k"]].value))
            assert reached["ci_low"] == pytest.approx(scaled(greedy[reached["k"]].ci_low))
        assert {"neurons", "pca", "random"} <= one["others"].keys() and tested.yardstick not in one["others"]
        for name, points in one["others"].items():
            means = [
                sum(figure.value for (way, _), figure in of(row).items() if way == "greedy") / 3
                for row in tested.rows
                if row.name == name and row is not mine and any(way == "greedy" for way, _ in of(row))
            ]
            found = sum(point["agreement"]["value"] for point in points) / 3
            assert found == pytest.approx(max(means)), "at the sparsity at which it does best"
    text = shown(client, "/runs/main/model-features")
    assert "Share of the way from no edit" in text and number(shown_there[0]["run"][0]["share"], 2) in text
    verdict = client.get("/runs/main/verdict.json").json()["found"]
    assert len(verdict["edits"]) == len(shown_there)
    said = shown(client, "/runs/main/verdict")
    assert all(one["question"] in said and one["answer"] in said for one in verdict["edits"])
    assert not any("evaluate task" in command for command in verdict["unanswered"].values())
    assert verdict["edits"][0]["question"] in push(workspace, "main", "somebody/something", dry_run=True).card


def test_a_dictionary_that_was_put_to_no_task_says_how(client, workspace):
    assert client.get("/runs/main/model-features.json").json()["edits"] == []
    unanswered = client.get("/runs/main/verdict.json").json()["found"]["unanswered"]
    assert any(f"--model {workspace.card('main').model} --runs main" in command for command in unanswered.values())


def test_the_card_that_is_pushed_has_the_verdict(workspace, found):
    sent = push(workspace, "main", "somebody/something", dry_run=True)
    verdict = verdict_of(workspace, report(workspace, "main"), found)
    assert verdict.summary in sent.card and "## Verdict" in sent.card
    assert all(one.question in sent.card for one in verdict.model)
    assert str(workspace.path) not in sent.card


def test_the_verdict_is_of_what_is_there_and_not_of_what_was_once_written(client, workspace, found):
    """A report that was written before the dictionary became another one."""
    written = workspace.report.read_bytes()
    now = client.get("/runs/main/verdict.json").json()["found"]
    old = json.loads(written)
    assert old["run"] == "main" and old["figures"]
    workspace.report.write_text(json.dumps(old | {"figures": [], "answers": []}))
    try:
        assert client.get("/runs/main/verdict.json").json()["found"] == now and now["answers"]
    finally:
        workspace.report.write_bytes(written)


def test_a_run_without_figures_has_no_verdict_yet(client):
    answer = client.get("/runs/nobody/verdict")
    assert answer.status_code == 404
