"""Rules of a run held against logit weights and activations of every size, beside its controls."""

import json
import shutil

import pytest

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.workspace import Workspace
from sparselex.cli.main import main
from sparselex.recipes.explained_controls import explained_controls, runs_of
from sparselex.recipes.run import Run
from sparselex.server.opened import OpenWorkspace
from sparselex.server.rule_tests import interval_answers, logit_answers

ASKED = {"n_latents": 40, "n_each": 10, "first": 2, "least_count": 2, "n_kinds": 8}
SAMPLED = {"n_latents": 40, "least_active": 5, "least_sampled": 1}


@pytest.fixture(scope="module")
def run(small_workspace, tmp_path_factory):
    """A run of its own: artifacts are written into it."""
    path = tmp_path_factory.mktemp("rules") / "workspace"
    shutil.copytree(small_workspace.path, path)
    return Run.open(Workspace(path), "main")


def test_the_twin_stands_beside_logit_weights(run):
    found = run.do("analyse logits", **ASKED)
    assert [one.run for one in found.populations] == ["main", "twin"] and not found.missing
    assert "weights" in found.populations[1].words
    figures = {one.name: one for one in Figures.read(run.folder / "logits").figures}
    median = figures["logits/accuracy_median"]
    assert 0 < median.value <= 1 and median.null is not None and median.controls.keys() == {"twin"}
    assert {one.latent for one in found.latents} <= set(range(run.index.d_sae))
    vocabulary = len(run.corpus.vocabulary)
    for one in found.latents:
        assert 0 <= one.accuracy <= 1 and one.n_places > 0
        assert not set(one.hits) & set(one.missed) and all(0 <= token < vocabulary for token in one.hits)
    assert run.do("analyse logits", **ASKED) == found, "the same seed, the same tokens"
    other = run.do("analyse logits", **ASKED, seed=1, replace=True)
    assert [one.accuracy for one in other.latents] != [one.accuracy for one in found.latents]


def test_examples_of_every_size_are_of_test_documents(run):
    found = run.do("analyse intervals", **SAMPLED)
    assert [one.run for one in found.populations] == ["main", "twin"]
    for one in found.latents:
        _, values = run.index.split_column(one.latent, "test")
        assert one.n_active == len(values) and one.largest == pytest.approx(float(abs(values).max()))
        assert sum(one.n_sampled) <= 20 * 11 and -1 <= one.spearman <= 1
    score = next(one for one in found.figures if one.name == "intervals/spearman_median")
    assert score.value > score.null, "a rule predicts its own latent better than another's"


def test_from_the_command_line(run, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["analyse", "intervals", str(run.workspace.path), "--least-active", "5", "--least-sampled", "1", "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["populations"][0]["run"] == "main"


def test_controls_are_found_or_named(run):
    found = explained_controls(run)
    assert runs_of(found) == ["twin"] and {one.rpartition("/")[2] for one in found} == {
        "dictionary",
        "index",
        "explanations",
    }
    assert explained_controls(run, ("twin",)) == found
    assert explained_controls(Run.open(run.workspace, "twin")) == {}, "the twin has no control"
    for name in ("main", "nobody"):
        with pytest.raises(UserError):
            explained_controls(run, (name,))


def test_a_run_without_controls_says_so(run):
    found = Run.open(run.workspace, "twin").do("analyse intervals", **SAMPLED)
    assert [one.run for one in found.populations] == ["twin"]
    assert all(not figure.controls for figure in found.figures)


def test_what_was_said_of_other_rules_is_shown_no_more(run):
    run.do("analyse logits", **ASKED, replace=True)
    run.do("analyse intervals", **SAMPLED, replace=True)
    opened = OpenWorkspace(run.workspace)
    assert logit_answers(opened, "main") is not None and interval_answers(opened, "main") is not None
    run.do("explain", min_active=40, replace=True)
    assert logit_answers(opened, "main") is None and interval_answers(opened, "main") is None
    assert not run.is_done(run.stage("analyse intervals"))
