"""What a sceptic reads: the card of a dictionary, the panel on a feature's page, and the verdict."""

import json
import re
import shutil
from html import unescape
from typing import get_args

import pytest

from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.files import write_json
from sparselex.base.formats import number
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.answers import NOT_MEASURED, STABLE
from sparselex.evaluate.apart import is_apart
from sparselex.evaluate.config import control_words
from sparselex.evaluate.model_features.config import ModelFeaturesConfig, Part
from sparselex.evaluate.model_features.records import FILE, KIND, SHUFFLED, Compared, ModelFeatures
from sparselex.evaluate.model_features.words import against_null, answers, summary
from sparselex.evaluate.report import report
from sparselex.evaluate.supervised.records import SUMMARY, SUMMARY_FILE, TaskResult
from sparselex.evaluate.twins import differing
from sparselex.evaluate.verdict import verdict_of
from sparselex.lm.load import load_model
from sparselex.recipes.pushing import push
from sparselex.tasks.making import make_task
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
    own = [figure for figure in whole.figures if not is_apart(figure.name)]
    lost = [figure.name for figure in own if against_null(figure) == "worse"]
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
    (command,) = (one for one in unanswered.values() if "evaluate task" in one)
    assert command.endswith(f"--task brackets --model {workspace.card('main').model} --runs main")


def test_what_the_verdict_suggests_can_be_done_with_the_model(workspace):
    """The embedded models have no tokens for names."""
    tokenizer = load_model(workspace.card("main").model).tokenizer
    assert make_task("brackets", tokenizer).name == "brackets"
    with pytest.raises(UserError):
        make_task("ioi", tokenizer)


def test_another_dictionary_that_the_card_names_is_named_where_stability_was_not_measured(workspace, found):
    again = Figure(name=f"{KIND}/found_again", value=0.2, ci_low=0.1, ci_high=0.3, null=0.01, n=9, definition="")
    card = found.model_copy(update={"compared": [Compared(run="other", words="another recipe", figures=[again])]})
    of = lambda card: next(
        one.answer for one in verdict_of(workspace, report(workspace, "main"), card).answers if one.question == STABLE
    )
    assert of(found) == of(None) == NOT_MEASURED
    assert of(card) == (
        "Not measured by a sweep of seeds. In run other (another recipe) 20.0 % (10.0 % to 30.0 %) of its latents are "
        "found again, 1.00 % by chance."
    )


def test_what_another_run_was_trained_with_is_told(small_workspace, tmp_path):
    copy = Workspace(shutil.copytree(small_workspace.path, tmp_path / "w"))
    assert differing(copy, "main", "twin") == ""
    card, settings = copy.card("twin"), copy.settings("twin")
    settings["stages"]["train"] |= {"seed": 7}
    copy.keep(card, settings)
    assert differing(copy, "main", "twin") == "seed 7 in place of 0"
    assert differing(copy, "main", "nobody") == ""


def test_long_lists_are_folded_with_their_count_in_sight(client, workspace, found):
    verdict = verdict_of(workspace, report(workspace, "main"), found)
    page = client.get("/runs/main/verdict").text
    lists = [names for one in (*verdict.controls, verdict.nulls) for names in (one.lost, one.beat, one.undecided)]
    assert page.count("<details") >= sum(bool(names) for names in lists) > 0
    longest = max(lists, key=len)
    assert f": {len(longest)}</summary>" in page
    assert all(one.words != "a control dictionary" for one in verdict.controls) and "direction" in control_words(
        SHUFFLED
    )


def test_a_run_leads_to_its_card(client):
    assert 'href="/runs/main/model-features"' in client.get("/runs/main").text
    assert 'href="/runs/twin/model-features"' not in client.get("/runs/twin").text
    record = client.get("/runs/main/model-features.json").json()
    text = shown(client, "/runs/main/model-features")
    assert f"Less relevant than {number(record['below'], 3)}" in text or not record["least"]


def test_the_help_names_every_part_of_the_card():
    words = ModelFeaturesConfig.model_fields["parts"].description or ""
    assert all(f"`{part}`" in words for part in get_args(Part))


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


def test_the_verdict_names_the_pair_and_the_decomposition(client):
    page, record = client.get("/runs/main/verdict").text, client.get("/runs/main/verdict.json").json()
    assert 'href="/pairs/main-jacobian"' in page and 'href="/decompositions/main-mlp-0"' in page
    assert record["pairs"][0]["words"].startswith("one of its type") and "live components" in page
    assert client.get("/runs/twin/verdict.json").json()["decompositions"] == []


def test_a_runs_page_has_their_figures_with_controls_of_their_own(client):
    record, page = client.get("/runs/main.json").json(), client.get("/runs/main").text
    (part,) = record["apart"]
    assert part["name"] == "decompositions/main-mlp-0" and part["controls"] == ["twin"] and len(part["figures"]) > 10
    assert '<a href="/decompositions/main-mlp-0">decompositions/main-mlp-0</a>' in page
    assert not any(group["name"].startswith("decompositions") for group in record["groups"])
