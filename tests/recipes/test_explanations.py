"""Explanations of other projects in a run's store: read whole or not at all, under a name of their own, with where they
came from; and ours in their layouts."""

import gzip
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.explain.imported import ImportedStore
from sparselex.explain.records import Score, Scored
from sparselex.explain.store import ExplanationStore, Scoring
from sparselex.features.index import FeatureIndex
from sparselex.recipes.explanations.opened import explainers_of
from sparselex.recipes.explanations.taking import import_explanations
from sparselex.recipes.explanations.writing import LAYOUTS, export_explanations
from sparselex.server.app import create_app
from sparselex.text.corpus import TokenCorpus
from tests.support.command import sparselex

MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def workspace(small_workspace, tmp_path) -> Workspace:
    shutil.copytree(small_workspace.path, tmp_path / "w")
    return Workspace(tmp_path / "w")


def index_of(workspace: Workspace) -> FeatureIndex:
    return FeatureIndex(workspace.run("main") / "index", TokenCorpus(workspace.corpus_of("main")))


def said_by(workspace: Workspace, explainer: str) -> dict[int, str]:
    found = ExplanationStore(workspace.database).all(index_of(workspace).id, explainer)
    assert {(one.status, one.predictor) for one in found} <= {("explained", None)}
    return {one.latent: one.text for one in found}


def origins(workspace: Workspace) -> dict[tuple[str, int], object]:
    return {
        (row.explainer, row.latent): row for row in ImportedStore(workspace.database).of_index(index_of(workspace).id)
    }


def dump(workspace: Workspace) -> list[str]:
    with closing(sqlite3.connect(workspace.database)) as db:
        return list(db.iterdump())


def left_out(summary) -> dict[str, int]:
    return {row.what: row.n for row in summary.left_out}


def lines(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def written(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def neuronpedia(latent: int, text: str, **more: object) -> dict:
    return {"modelId": "m", "layer": "3-a", "index": str(latent), "description": text, **more}


def judged(truth: bool, vote: object) -> dict:
    return {"str_tokens": ["a"], "activations": [0.0], "distance": 1, "activating": truth, "prediction": vote}


def results(folder: Path, hookpoint: str = "layers.0.mlp") -> Path:
    """What delphi leaves: three explanations, of which one is none, and judgements of one."""
    for latent, text in ((3, f"words {MARKUP}"), (4, "Explanation could not be parsed."), (5, "ends of lines")):
        written(folder / "explanations" / f"{hookpoint}_latent{latent}.txt", json.dumps(text))
    answers = [
        *[judged(True, True)] * 3,
        judged(True, False),
        judged(False, False),
        judged(False, True),
        judged(True, -1),
    ]
    written(folder / "scores" / "detection" / f"{hookpoint}_latent3.txt", answers)
    written(folder / "scores" / "simulation" / f"{hookpoint}_latent3.txt", [{"distance": "all", "correlation": 0.5}])
    return folder


def neuron(latent: int, *explanations: str, layer: int = 0, score: float | None = 0.25) -> dict:
    sequence = {"true_activations": [0.0, 1.0, 2.0]}
    scored = {"scored_sequence_simulations": [sequence, sequence], "ev_correlation_score": score}
    said = [{"explanation": text, "scored_simulation": scored} for text in explanations]
    return {"neuron_id": {"layer_index": layer, "neuron_index": latent}, "scored_explanations": said}


def test_neuronpedia_in_its_three_forms(workspace, tmp_path):
    of = {"typeName": "method", "explanationModelName": "a-llm", "authorId": None}
    bulk = tmp_path / "np" / "m" / "3-a"
    lines(bulk / "explanations" / "batch-0.jsonl.gz", neuronpedia(3, f"words {MARKUP}", scoreV1=0.5, **of))
    lines(bulk / "explanations" / "batch-1.jsonl.gz", neuronpedia(4, "more", notes="a note", **of))
    api = written(
        tmp_path / "list.json", [neuronpedia(3, "by a list", **of), neuronpedia(4, "mine", authorId="somebody")]
    )
    score = {"value": 0.75, "explanationScoreTypeName": "eleuther_recall", "explanationScoreModelName": "judge"}
    said = {"description": "of a feature", "scores": [score], **of}
    feature = lines(tmp_path / "features.jsonl", {"index": "5", "layer": "3-a", "explanations": [said]})

    summary = import_explanations(workspace, "main", tmp_path / "np")
    assert (summary.n_new, left_out(summary)) == (2, {"notes": 1}) and summary.explainers == {"neuronpedia": 2}
    assert said_by(workspace, "neuronpedia") == {3: f"words {MARKUP}", 4: "more"}
    row = origins(workspace)["neuronpedia", 3]
    assert (row.method, row.source, row.format, len(row.sha256)) == ("method a-llm", "np", "neuronpedia", 64)
    assert [(one.scorer, one.metric, one.value, one.n) for one in row.scores] == [("neuronpedia", "scoreV1", 0.5, 0)]

    summary = import_explanations(workspace, "main", api, name="api")
    assert summary.explainers == {"api/method a-llm": 1, "api/somebody": 1}, "two who explain, two explainers"
    import_explanations(workspace, "main", feature, name="one")
    assert origins(workspace)["one", 5].scores[0].scorer == "eleuther_recall judge"


def test_delphi_results_with_what_their_answers_say(workspace, tmp_path):
    summary = import_explanations(workspace, "main", results(tmp_path / "results"))
    assert said_by(workspace, "delphi") == {3: f"words {MARKUP}", 5: "ends of lines"}
    assert left_out(summary) == {"answers that delphi could not read": 1, "scores of a kind that is not read": 1}
    scores = {one.metric: (one.value, one.n) for one in origins(workspace)["delphi", 3].scores}
    # 3 of 4 positives and 1 of 2 negatives were told right; of 7 one was not answered.
    assert scores == {"unanswered": (pytest.approx(1 / 7), 7), "accuracy": (4 / 6, 6), "balanced_accuracy": (0.625, 6)}
    assert origins(workspace)["delphi", 5].scores == ()


def simulated(distance: int, score: object, n: int) -> dict:
    """A group of its simulation, in its fields: all sequences at distance 0, else those of a tenth."""
    sequence = {
        "distance": distance - 1,
        "simulation": {
            "tokens": ["a"] * n,
            "expected_activations": [0.5] * n,
            "activation_scale": "simulated_normalized_activations",
            "distribution_values": [],
            "distribution_probabilities": [],
            "uncalibrated_simulation": None,
        },
        "true_activations": [1] * n,
        "ev_correlation_score": "nan",
        "rsquared_score": 0,
        "absolute_dev_explained_score": 0,
    }
    constant = {"rsquared_score": 0, "absolute_dev_explained_score": 0}
    return {
        "distance": distance,
        "scored_sequence_simulations": [sequence, sequence],
        "ev_correlation_score": score,
        **constant,
    }


def test_delphi_scores_that_are_no_answers(workspace, tmp_path):
    """Simulations and interventions under their scorer's names; measures that are 0 in every file are none."""
    home = results(tmp_path / "results")
    name = "layers.0.mlp_latent3.txt"
    written(home / "scores" / "simulation" / name, [simulated(1, 0.9, 4), simulated(0, 0.25, 6)])
    written(home / "scores" / "simulator" / name, [simulated(1, 0.75, 4), simulated(2, "nan", 4)])
    steered = {"str_tokens": ["a"], "final_score": -0.5, "avg_kl_divergence": 1.25, "activating": None}
    written(home / "scores" / "surprisal_intervention" / name, [steered] * 3)
    written(home / "scores" / "embedding" / name, [{"text": "a", "distance": 1, "similarity": 0.5}])
    summary = import_explanations(workspace, "main", home)
    found = {(one.scorer, one.metric): (one.value, one.n) for one in origins(workspace)["delphi", 3].scores}
    assert {key: value for key, value in found.items() if key[0] != "detection"} == {
        ("simulation", "ev_correlation_score"): (0.25, 12),
        ("simulator", "ev_correlation_score at distance 1"): (0.75, 8),
        ("surprisal_intervention", "final_score"): (-0.5, 3),
        ("surprisal_intervention", "avg_kl_divergence"): (1.25, 3),
    }
    assert left_out(summary)["scores of a kind that is not read"] == 1
    page = TestClient(create_app(workspace), base_url="http://127.0.0.1").get("/runs/main/features/3").text
    assert "Not measured here and without a null" in page and "simulation ev correlation score 0.25" in page
    before = dump(workspace)
    written(home / "explanations" / name, '"another"')
    for bad in (
        simulated(0, "much", 2),
        simulated(0, float("inf"), 2),
        simulated(0, 0.5, 2) | {"distance": None},
        simulated(0, 0.5, 2) | {"scored_sequence_simulations": {}},
        steered | {"final_score": "much"},
    ):
        written(home / "scores" / "simulation" / name, [bad])
        with pytest.raises(UserError):
            import_explanations(workspace, "main", home)
        assert dump(workspace) == before


def test_of_several_hookpoints_one_is_named(workspace, tmp_path):
    results(tmp_path / "results")
    results(tmp_path / "results", "layers.1.mlp")
    for hookpoint, words in (("", "layers.0.mlp, layers.1.mlp"), ("layers.7", "none at layers.7")):
        with pytest.raises(UserError, match=words):
            import_explanations(workspace, "main", tmp_path / "results", hookpoint=hookpoint)
    assert import_explanations(workspace, "main", tmp_path / "results", hookpoint="layers.1.mlp").n_new == 2


def test_openai_neurons(workspace, tmp_path):
    home = tmp_path / "explanations" / "0"
    lines(home / "3.jsonl", neuron(3, "first", "second"))
    (home / "4.jsonl").write_text(json.dumps(neuron(4, "silent", score=float("nan"))))
    summary = import_explanations(workspace, "main", tmp_path / "explanations")
    assert said_by(workspace, "openai") == {3: "first", 4: "silent"}
    assert left_out(summary) == {"further explanations of a latent": 1}
    (score,) = origins(workspace)["openai", 3].scores
    assert (score.metric, score.value, score.n) == ("ev_correlation_score", 0.25, 6)
    assert origins(workspace)["openai", 4].scores == (), "no correlation where nothing is active"
    lines(tmp_path / "explanations" / "1" / "3.jsonl", neuron(3, "of another layer", layer=1))
    with pytest.raises(UserError, match="of the layers 0, 1"):
        import_explanations(workspace, "main", tmp_path / "explanations")


def test_a_table_of_ones_own(workspace, tmp_path):
    csv = written(
        tmp_path / "a.csv", '\ufefflatent,text,title\n3,"commas, mostly",commas\n\n4, ,\n3,again,\n999999,far,\n'
    )
    summary = import_explanations(workspace, "main", csv, name="anna")
    assert (summary.n_new, said_by(workspace, "anna")) == (1, {3: "commas, mostly"})
    assert left_out(summary) == {
        "empty explanations": 1,
        "further explanations of a latent": 1,
        "explanations of latents that are not there": 1,
    }
    assert "commas" in [one.title for one in ExplanationStore(workspace.database).of_latent(index_of(workspace).id, 3)]
    half = lines(tmp_path / "b.jsonl", {"latent": 4, "text": "half \ud800 of\x00 one", "mood": "good"})
    assert left_out(import_explanations(workspace, "main", half)) == {"fields 'mood'": 1}
    assert said_by(workspace, "plain") == {4: "half \\ud800 of\\x00 one"}


def test_the_same_again_changes_nothing_and_keeps_what_judges_said(workspace, tmp_path):
    table = lines(tmp_path / "a.jsonl", {"latent": 3, "text": "three"}, {"latent": 4, "text": "four"})
    import_explanations(workspace, "main", table, name="anna")
    store, index_id = ExplanationStore(workspace.database), index_of(workspace).id
    score = Score(explainer="anna", scorer="j", metric="f1", value=0.5, ci_low=None, ci_high=None, n=9, null=0.25)
    scored = {latent: Scored([score], []) for latent in (3, 4)}
    store.add_scored(index_id, "anna", Scoring("j", "f1", 0, "config"), scored)
    before = dump(workspace)
    summary = import_explanations(workspace, "main", table, name="anna")
    assert (summary.n_new, summary.n_changed, summary.n_same) == (0, 0, 2) and dump(workspace) == before
    lines(table, {"latent": 3, "text": "three"}, {"latent": 4, "text": "another"}, {"latent": 5, "text": "five"})
    summary = import_explanations(workspace, "main", table, name="anna")
    assert (summary.n_new, summary.n_changed, summary.n_same) == (1, 1, 1)
    assert set(store.scores_by_latent(index_id, "anna", "j")) == {3}, "a score of other words went with them"
    (row,) = [one for one in explainers_of(workspace, "main") if one.explainer == "anna"]
    assert (row.n_explained, len(row.sources)) == (3, 1)


def test_an_import_that_was_killed_between_goes_on(workspace, tmp_path, monkeypatch):
    table = lines(tmp_path / "a.jsonl", {"latent": 3, "text": "three"})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ExplanationStore, "add", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        import_explanations(workspace, "main", table, name="anna")
    assert import_explanations(workspace, "main", table, name="anna").n_new == 1
    assert said_by(workspace, "anna") == {3: "three"}


def test_names_of_ours_are_refused(workspace, tmp_path):
    table = lines(tmp_path / "a.jsonl", {"latent": 3, "text": "three"})
    before = dump(workspace)
    for name, words in (("rule", "made here"), ("llm", "made here"), ("../x", "cannot be"), ("x" * 65, "cannot be")):
        with pytest.raises(UserError, match=words):
            import_explanations(workspace, "main", table, name=name)
    assert dump(workspace) == before
    with pytest.raises(UserError, match="nobody"):
        import_explanations(workspace, "nobody", table)


HOSTILE = {
    "a number of forty bits": ("a.jsonl", '{"latent": 1099511627776, "text": "x"}', "the number of a latent"),
    "a number with a sign": ("a.jsonl", '{"latent": -1, "text": "x"}', "the number of a latent"),
    "a number that is none": ("a.jsonl", '{"latent": NaN, "text": "x"}', "the number of a latent"),
    "yes": ("a.jsonl", '{"latent": true, "text": "x"}', "the number of a latent"),
    "text that is none": ("a.jsonl", '{"latent": 1, "text": ["x"]}', "text"),
    "half a line": ("a.jsonl", '{"latent": 1, "text": "x"}\n{"latent": 2, "te', "cannot be read"),
    "deep": ("a.jsonl", '{"latent": 1, "text": "x"}\n' + "[" * 5000, "cannot be read"),
    "no JSON": ("a.json", "hello", "cannot be read"),
    "a list of numbers": ("a.json", "[1, 2]", "an object"),
    "other fields": ("a.json", '{"a": 1}', "holds no explanations"),
    "nothing": ("a.jsonl", "", "holds no explanations"),
    "an open quote": ("a.csv", 'latent,text\n1,"x\n2,y\n', "cannot be read"),
    "too many cells": ("a.csv", "latent,text\n1,x,y\n", "3 cells"),
    "no columns": ("a.csv", "1,x\n", "first line"),
    "columns twice": ("a.csv", "latent,text,text\n1,x,y\n", "first line"),
    "a long cell": ("a.csv", f"latent,text\n1,{'x' * 200_000}\n", "cannot be read"),
    "a long text": ("a.jsonl", json.dumps({"latent": 1, "text": "x" * 70_000}), "more than 65,536 characters"),
    "nobody's latents": ("a.jsonl", '{"latent": 500000, "text": "x"}', "no explanation of a latent of run 'main'"),
    "a score that is none": ("a.json", json.dumps(neuronpedia(1, "x", scoreV1=float("inf"))), "a finite number"),
    "an object in place of a text": ("h_latent1.txt", "{}", "a JSON text"),
    "no JSON in delphi's": ("h_latent1.txt", "hello", "cannot be read"),
    "a latent of delphi's": ("h_latent1099511627776.txt", '"x"', "numbers of latents"),
    "a name that says nothing": ("notes.txt", '"x"', "says no latent"),
    "a simulation that is none": ("a.json", json.dumps(neuron(1, "x", score="much")), "a number"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_damaged_is_named_and_leaves_nothing(what, workspace, tmp_path):
    name, text, words = HOSTILE[what]
    before = dump(workspace)
    with pytest.raises(UserError) as caught:
        import_explanations(workspace, "main", written(tmp_path / name, text))
    assert words in str(caught.value) and dump(workspace) == before


def test_bytes_that_are_no_text(workspace, tmp_path):
    before = dump(workspace)
    for name, data in (
        ("a.csv", b"latent,text\n1,\xff\xfe\n"),
        ("a.jsonl", b'{"latent": 1, "text": "\xff"}'),
        ("a.jsonl.gz", gzip.compress(b'{"latent": 1, "text": "x"}\n' * 1000)[:40]),
        ("b.jsonl.gz", b"no gzip"),
        ("h_latent1.txt", b'"\xff"'),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="cannot be read"):
            import_explanations(workspace, "main", tmp_path / name)
    bad = results(tmp_path / "results") / "scores" / "detection" / "layers.0.mlp_latent3.txt"
    for text in ("{}", "[1]", "[", "[[[["):
        bad.write_text(text)
        with pytest.raises(UserError):
            import_explanations(workspace, "main", tmp_path / "results")
    for path in (tmp_path / "nothing", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UserError):
            import_explanations(workspace, "main", path)
    assert dump(workspace) == before


def test_lines_that_unpack_to_no_end(workspace, tmp_path, monkeypatch):
    """A small file whose lines are many is given up before they fill the memory, and so is one with an endless line."""
    before = dump(workspace)
    monkeypatch.setattr("sparselex.convert.explanations.rows.MOST_UNPACKED", 1 << 20)
    monkeypatch.setattr("sparselex.convert.explanations.rows.LONGEST_LINE", 1 << 18)
    for data, words in (
        (b'{"latent": 1, "text": "x"}\n' + b"\n" * (1 << 21), "its lines are longer than 1,048,576 bytes"),
        (b'{"latent": 1, "text": "x"}\n' + b" " * (1 << 21), "line 2 is longer than 262,144 bytes"),
    ):
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data))
        with pytest.raises(UserError, match=words):
            import_explanations(workspace, "main", tmp_path / "a.jsonl.gz")
    assert dump(workspace) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_read_again(layout, workspace, tmp_path):
    summary = export_explanations(workspace, "main", tmp_path / "out", layout=layout, explainers=["rule"])
    rules = ExplanationStore(workspace.database).all(index_of(workspace).id, "rule")
    explained = {one.latent: one.text for one in rules if one.status == "explained"}
    assert summary.n == (len(rules) if layout == "jsonl" else len(explained))
    assert summary.n + summary.n_left_out == len(rules)
    back = import_explanations(workspace, "main", tmp_path / "out", name="back")
    assert said_by(workspace, "back") == {latent: text.strip() for latent, text in explained.items()}
    assert back.n_new == len(explained)
    again = export_explanations(workspace, "main", tmp_path / "again", layout=layout, explainers=["rule"])
    files = [path.relative_to(again.folder) for path in again.folder.rglob("*") if path.is_file()]
    assert files and all((tmp_path / "out" / one).read_bytes() == (again.folder / one).read_bytes() for one in files)
    assert not any(
        str(workspace.path) in path.read_text("latin-1") for path in again.folder.rglob("*.*") if path.is_file()
    )


def test_scores_of_ours_leave_with_what_stands_beside_them(workspace, tmp_path):
    export_explanations(workspace, "main", tmp_path / "out", layout="jsonl", explainers=["rule"])
    rows = [json.loads(line) for line in (tmp_path / "out" / "explanations.jsonl").read_text("utf-8").splitlines()]
    store, index_id = ExplanationStore(workspace.database), index_of(workspace).id
    ours = store.scores_by_latent(index_id, "rule", "exact")
    assert {row["latent"]: len(row["scores"]) for row in rows if row["scores"]} == {n: len(s) for n, s in ours.items()}
    row = next(row for row in rows if row["scores"])
    for told, score in zip(row["scores"], ours[row["latent"]], strict=True):
        assert {name: told[name] for name in ("metric", "value", "ci_low", "ci_high", "n", "null")} == {
            name: getattr(score, name) for name in ("metric", "value", "ci_low", "ci_high", "n", "null")
        }
        assert told["definition"]


def test_what_cannot_be_written_leaves_nothing(workspace, tmp_path):
    import_explanations(workspace, "main", lines(tmp_path / "a.jsonl", {"latent": 3, "text": "x"}), name="anna")
    to = tmp_path / "out"
    for options, words in (
        ({"layout": "delphi"}, "one explainer"),
        ({"layout": "jsonl", "explainers": ["bert"]}, "said by 'bert'"),
        ({"layout": "delphi", "explainers": ["anna"], "hookpoint": "../up"}, "hookpoint"),
    ):
        with pytest.raises(UserError, match=words):
            export_explanations(workspace, "main", to, **options)
    to.mkdir()
    with pytest.raises(UserError, match="exists"):
        export_explanations(workspace, "main", to, layout="jsonl")
    assert not list(to.iterdir())


def test_pages_show_them_as_theirs_alone(workspace, tmp_path):
    """Words, origin and their scores on the page; no column, no list and no figure has such a score."""
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    before = client.get("/runs/main/features.json").json()
    import_explanations(workspace, "main", results(tmp_path / "results"))
    page = client.get("/runs/main/features/3.json").json()
    (found,) = [one for one in page["explanations"] if one["explainer"] == "delphi"]
    assert found["scorers"] == [] and found["imported"][0]["source"] == "results"
    html = client.get("/runs/main/features/3").text
    assert "Not measured here and without a null" in html and "detection balanced accuracy 0.625" in html
    assert (
        "words &lt;script&gt;" in html
        and "<script>alert" not in html
        and str(tmp_path) not in html.replace(workspace.typed, "")
    )
    after = client.get("/runs/main/features.json").json()
    assert after["score"] == before["score"] and after["score"]["explainer"] == "rule"
    scores = lambda listed: [row.get("score") for row in listed["rows"]]
    assert scores(after) == scores(before)
    assert client.get("/runs/main/features?q=words").status_code == 200


def test_the_command_line(workspace, tmp_path):
    table = written(tmp_path / "a.csv", "latent,text\n3,three\n")
    where = str(workspace.path)
    done = sparselex("explanations", where, "--import", str(table), "--as", "anna")
    assert done.code == 0 and "1 new" in done.out, done.err
    listed = sparselex("explanations", where, "--json")
    assert {row["explainer"] for row in listed.json} == {"anna", "rule"}
    done = sparselex("explanations", where, "--export", str(tmp_path / "out"), "--explainer", "anna", "--json")
    assert done.json["n"] == 1
    for options, words in (
        (["--as", "x"], "changes nothing"),
        (["--import", str(table), "--export", str(tmp_path / "b")], "one of them"),
        (["--import", str(table), "--format", "jsonl"], "delphi, neuronpedia, openai, plain"),
        (["--import", str(table), "--explainer", "rule"], "--explainer changes nothing"),
        (["--import", str(table), "--hookpoint", "layers.0"], "changes nothing"),
    ):
        failed = sparselex("explanations", where, *options)
        assert failed.code == 2 and words in failed.err, options
