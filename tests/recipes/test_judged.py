"""What judges said leaves in delphi's layout: its fields, our windows, and figures that its answers and ours have in
common; read again, nothing is another."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sparselex.base.workspace import Workspace
from sparselex.explain.asking.ask import ask
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.imported import ImportedStore
from sparselex.explain.records import Score, Scored
from sparselex.explain.store import ExplanationStore, Scoring
from sparselex.features.index import FeatureIndex
from sparselex.recipes.explanations.taking import import_explanations
from sparselex.recipes.explanations.writing import export_explanations
from sparselex.text.corpus import TokenCorpus
from tests.support.command import sparselex
from tests.support.judge import ScriptedModel

FIELDS = ["str_tokens", "activations", "distance", "activating", "prediction", "probability", "correct"]
"""Of an entry of its classifiers, in their order."""

SMALL = AskConfig(window=16, active=20, silent=12, hard=8, per_request=4, null_share=0, check=0, latents=6)


class Silent(ScriptedModel):
    """Leaves every seventh passage out."""

    def votes(self, request):
        found = json.loads(super().votes(request))
        return json.dumps({number: vote for number, vote in found.items() if len(request.messages[1].content) % 7})


def index_of(workspace: Workspace) -> FeatureIndex:
    return FeatureIndex(workspace.run("main") / "index", TokenCorpus(workspace.corpus_of("main")))


def asked(workspace: Workspace, model: ScriptedModel, config: AskConfig = SMALL) -> FeatureIndex:
    index = index_of(workspace)
    ask(
        index,
        config,
        model,
        workspace.database,
        workspace.run("main") / "explanations-llm",
        inputs={"index": index.id},
    )
    return index


@pytest.fixture(scope="module")
def workspace(small_workspace, tmp_path_factory) -> Workspace:
    where = tmp_path_factory.mktemp("judged") / "w"
    shutil.copytree(small_workspace.path, where)
    found = Workspace(where)
    asked(found, Silent(0.2, 0.3, probabilities=True))
    return found


@pytest.fixture(scope="module")
def out(workspace, tmp_path_factory) -> Path:
    to = tmp_path_factory.mktemp("judged") / "results"
    export_explanations(workspace, "main", to, layout="delphi", explainers=["llm"])
    return to


def entries(out: Path, scorer: str) -> dict[int, list[dict]]:
    paths = sorted((out / "scores" / scorer).glob("*.txt"))
    return {int(path.stem.split("latent")[-1]): json.loads(path.read_text("utf-8")) for path in paths}


def by_its_loader(rows: list[dict], threshold: float = 0.5) -> dict[str, float]:
    """Class-balanced accuracy as delphi's results are summed up: of what was answered, positives by `activating`."""
    told = [row for row in rows if row["prediction"] is not None]
    share = lambda kind: np.mean(
        [(row["prediction"] >= threshold) == kind for row in told if row["activating"] == kind]
    )
    return {"accuracy": (share(True) + share(False)) / 2, "failed": len(rows) - len(told)}


def test_entries_have_its_fields_and_our_windows(workspace, out):
    index, seen = index_of(workspace), AskedStore(workspace.database)
    for scorer, judge, hard in (("detection", "detection", {"token", "neighbour"}), ("fuzz", "fuzzing", {"wrong"})):
        for name, kinds in ((scorer, {"active", "silent"}), (f"{scorer}-hard", {"active"} | hard)):
            found = entries(out, name)
            assert found, name
            for latent, rows in found.items():
                shown = [one for one in seen.seen(index.id, latent) if (one.explainer, one.judge) == ("llm", judge)]
                shown = [one for one in shown if one.kind in kinds]
                assert len(rows) == len(shown)
                activations = index.column(latent)
                for row, one in zip(rows, shown, strict=True):
                    assert list(row) == FIELDS and row["activating"] == (one.kind == "active")
                    text = "".join(row["str_tokens"])
                    assert "�" in text or text == one.text.replace("<<", "").replace(">>", "")
                    place = np.flatnonzero(activations[0] == one.position)
                    there = float(abs(activations[1][place[0]])) if len(place) else 0.0
                    assert there in row["activations"] and len(row["activations"]) == len(row["str_tokens"]) <= 16
                    assert any(row["activations"]) == (one.kind in ("active", "wrong"))
                    assert row["distance"] in (range(10) if row["activating"] else (-1,))
                    vote = row["prediction"]
                    assert row["correct"] == (None if vote is None else vote == row["activating"])
                    assert vote is None or vote == (row["probability"] > 0.5)
                peaks = [(row["distance"], -max(row["activations"])) for row in rows if row["activating"]]
                ordered = sorted(peaks)
                assert [peak for _, peak in ordered] == sorted(peak for _, peak in peaks), (
                    "larger ones in earlier tenths"
                )


def test_its_figures_and_ours_are_the_same(workspace, out):
    """Of the same answers the same comes, by its own sums and by ours, to the last digits."""
    store, index, n = ExplanationStore(workspace.database), index_of(workspace), 0
    for scorer, judge in (("detection", "detection"), ("fuzz", "fuzzing")):
        found, hard = entries(out, scorer), entries(out, f"{scorer}-hard")
        for latent, scores in store.scores_by_latent(index.id, "llm", judge).items():
            ours, theirs = {one.metric: one.value for one in scores}, by_its_loader(found[latent])
            assert theirs["accuracy"] == pytest.approx(ours["balanced_accuracy"], abs=1e-12)
            every = found[latent] + [row for row in hard.get(latent, []) if not row["activating"]]
            assert np.mean([row["prediction"] is None for row in every]) == pytest.approx(ours["unanswered"], abs=1e-12)
            n += 1
    assert n >= 6 and any(row["prediction"] is None for rows in found.values() for row in rows)


def test_what_is_written_is_read_again_with_its_figures(workspace, out, tmp_path):
    other = shutil.copytree(workspace.path, tmp_path / "w")
    import_explanations(Workspace(other), "main", out, name="back")
    index, store = index_of(workspace), ExplanationStore(workspace.database)
    said = {one.latent: one.text for one in store.all(index.id, "llm") if one.status == "explained"}
    back = ExplanationStore(Workspace(other).database).all(index.id, "back")
    assert {one.latent: one.text for one in back} == said
    rows = {one.latent: one for one in ImportedStore(Workspace(other).database).of_index(index.id)}
    for latent, scores in store.scores_by_latent(index.id, "llm", "detection").items():
        theirs = {one.metric: one for one in rows[latent].scores if one.scorer == "detection"}
        ours = {one.metric: one for one in scores}
        assert theirs["balanced_accuracy"].value == pytest.approx(ours["balanced_accuracy"].value, abs=1e-12)
        assert theirs["balanced_accuracy"].n == ours["balanced_accuracy"].n
        assert {one.scorer for one in rows[latent].scores} == {"detection", "detection-hard", "fuzz", "fuzz-hard"}
    again = tmp_path / "again"
    export_explanations(Workspace(other), "main", again, layout="delphi", explainers=["llm"])
    files = [path.relative_to(out) for path in out.rglob("*.txt")]
    assert files and all((out / name).read_bytes() == (again / name).read_bytes() for name in files)
    assert not any(str(workspace.path) in (out / name).read_text("utf-8") for name in files)


def test_votes_are_no_probabilities(small_workspace, tmp_path):
    workspace = Workspace(shutil.copytree(small_workspace.path, tmp_path / "w"))
    asked(workspace, ScriptedModel())
    export_explanations(workspace, "main", tmp_path / "out", layout="delphi", explainers=["llm"])
    rows = [row for found in entries(tmp_path / "out", "detection").values() for row in found]
    assert {row["probability"] for row in rows} == {None} and {row["prediction"] for row in rows} <= {True, False}


def test_windows_of_another_size_are_found_too(small_workspace, tmp_path):
    """Of several explainers each has windows of its own; the run tells the size of the last ones alone."""
    workspace = Workspace(shutil.copytree(small_workspace.path, tmp_path / "w"))
    model = ScriptedModel()
    asked(workspace, model, SMALL.model_copy(update={"window": 11, "stored_as": "first", "latents": 3}))
    asked(workspace, model, SMALL.model_copy(update={"latents": 3}))
    summary = export_explanations(workspace, "main", tmp_path / "out", layout="delphi", explainers=["first"])
    rows = [row for found in entries(tmp_path / "out", "fuzz").values() for row in found]
    assert max(len(row["str_tokens"]) for row in rows) == 11 and summary.not_written == {}


def test_what_has_no_place_there_is_counted(workspace, tmp_path):
    to = tmp_path / "rules"
    summary = export_explanations(workspace, "main", to, layout="delphi", explainers=["rule"])
    assert set(summary.not_written) == {"judgements by exact"} and summary.n_judgements == {}
    assert "not written:" in str(summary) and not (to / "scores").exists()
    done = sparselex(
        "explanations",
        str(workspace.path),
        "--export",
        str(tmp_path / "cli"),
        "--format",
        "delphi",
        "--explainer",
        "llm",
    )
    assert done.code == 0 and "windows judged by detection" in done.out, done.err


def test_windows_that_were_not_kept_are_not_made_up(workspace, tmp_path):
    other = Workspace(shutil.copytree(workspace.path, tmp_path / "w"))
    index = index_of(other)
    with AskedStore(other.database).database.writing() as db:
        db.execute("UPDATE seen SET text = 'another text' WHERE index_id = ? AND judge = 'fuzzing'", (index.id,))
        db.execute("DELETE FROM seen WHERE judge = 'detection' AND kind = 'silent'")
    summary = export_explanations(other, "main", tmp_path / "out", layout="delphi", explainers=["llm"])
    assert not entries(tmp_path / "out", "fuzz") and summary.n_judgements["detection"]
    assert summary.not_written["judgements whose windows were not kept"] > summary.n_judgements["detection"] / 10
    assert all(row["activating"] for rows in entries(tmp_path / "out", "detection").values() for row in rows)


def test_a_simulation_s_score_leaves_as_openai_has_it(workspace, tmp_path):
    other = Workspace(shutil.copytree(workspace.path, tmp_path / "w"))
    index, store = index_of(other), ExplanationStore(other.database)
    (latent, *_) = [one.latent for one in store.all(index.id, "llm") if one.status == "explained"]
    score = Score(
        explainer="llm", scorer="simulation", metric="correlation", value=0.5, ci_low=0.25, ci_high=0.75, n=99, null=0.0
    )
    scoring = Scoring("simulation", "correlation", 2, "config")
    store.add_scored(index.id, "llm", scoring, {latent: Scored([score], [])})
    export_explanations(other, "main", tmp_path / "out", layout="openai", explainers=["llm"])
    found = {
        int(path.stem): json.loads(path.read_text())["scored_explanations"][0]["scored_simulation"]
        for path in (tmp_path / "out").rglob("*.jsonl")
    }
    assert found[latent]["ev_correlation_score"] == 0.5
    assert {one["ev_correlation_score"] for number, one in found.items() if number != latent} == {None}
    import_explanations(other, "main", tmp_path / "out", name="back")
    (row,) = [one for one in ImportedStore(other.database).of_index(index.id) if one.latent == latent]
    assert [(one.metric, one.value, one.n) for one in row.scores] == [("ev_correlation_score", 0.5, 0)]


def test_a_rule_that_was_simulated_leaves_with_its_sequences(small_workspace, tmp_path):
    """Token by token, so that the score is made again from the file alone."""
    workspace = Workspace(shutil.copytree(small_workspace.path, tmp_path / "w"))
    index = asked(
        workspace,
        ScriptedModel(),
        SMALL.model_copy(update={"writer": "rule", "judges": ("simulation",), "latents": 30}),
    )
    scored = ExplanationStore(workspace.database).scores_by_latent(index.id, "rule", "simulation")
    export_explanations(workspace, "main", tmp_path / "out", layout="openai", explainers=["rule"])
    assert len(scored) >= 4
    for latent, scores in scored.items():
        (path,) = (tmp_path / "out").rglob(f"{latent}.jsonl")
        simulation = json.loads(path.read_text())["scored_explanations"][0]["scored_simulation"]
        sequences = simulation["scored_sequence_simulations"]
        true = [value for one in sequences for value in one["true_activations"]]
        said = [value for one in sequences for value in one["simulation"]["expected_activations"]]
        ours = {one.metric: one for one in scores}["correlation"]
        assert (len(true), simulation["ev_correlation_score"]) == (ours.n, ours.value)
        assert np.corrcoef(true, said)[0, 1] == pytest.approx(ours.value, abs=1e-9)
        assert all(len(one["simulation"]["tokens"]) == len(one["true_activations"]) for one in sequences)
        assert {one["ev_correlation_score"] for one in sequences if not any(one["true_activations"])} <= {None}
    import_explanations(workspace, "main", tmp_path / "out", name="back")
    told = {one.latent: one.scores for one in ImportedStore(workspace.database).of_index(index.id)}
    assert all({one.n for one in told[latent]} == {scores[0].n} for latent, scores in scored.items())
