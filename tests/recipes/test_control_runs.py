"""Controls of a run as runs of their own: at its place, text and number of active latents, scored as it was."""

import json
import re
import shutil

import numpy as np
import pytest
from starlette.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.files import remove
from sparselex.base.workspace import Workspace
from sparselex.evaluate.against import AgainstControls
from sparselex.evaluate.graded import Graded, Grader, against, l0_of
from sparselex.evaluate.report import report
from sparselex.evaluate.twins import words_of
from sparselex.explain.config import ExplainConfig
from sparselex.explain.explain import explain
from sparselex.explain.explainers.rule import RuleExplainer
from sparselex.explain.scorers.exact import ExactScorer
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.config import control_of
from sparselex.recipes.control_runs import CONTROL_RUNS
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from tests.support.command import done, sparselex
from tests.support.contents import contents
from tests.support.planted import SPLIT_ROWS, PlantedIndex
from tests.support.planted import part as part_of


@pytest.fixture(scope="module")
def workspace(small_workspace, tmp_path_factory) -> Workspace:
    """A run, its random twin, and the controls of the run."""
    path = tmp_path_factory.mktemp("controls") / "w"
    shutil.copytree(small_workspace.path, path)
    workspace = Workspace(path)
    Run.open(workspace).do("controls", kinds=("neurons", "random", "pca", "frozen", "twin"))
    return workspace


@pytest.fixture(scope="module")
def found(workspace) -> AgainstControls:
    return AgainstControls.read(workspace.run("main") / "controls")


@pytest.fixture
def copy(small_workspace, tmp_path) -> Workspace:
    shutil.copytree(small_workspace.path, tmp_path / "w")
    return Workspace(tmp_path / "w")


def test_each_control_is_a_run_that_says_of_what(workspace, found):
    assert list(found.controls) == ["neurons", "random", "pca", "frozen", "twin"]
    names = [control.run for control in found.controls.values()]
    assert names == ["main-neurons", "main-random", "main-pca", "main-frozen", "twin"], "the twin that was there"
    main = workspace.card("main")
    for name in names:
        card = workspace.card(name)
        assert (card.twin_of, card.corpus, card.sites) == ("main", main.corpus, main.sites)
        indexes = [workspace.artifacts(run)["index"] for run in ("main", name)]
        assert indexes[0].config == indexes[1].config and indexes[0].notes["n_tokens"] == indexes[1].notes["n_tokens"]
        explained = [workspace.artifacts(run)["explanations"].config for run in ("main", name)]
        assert explained[0] == explained[1]
    assert Run.open(workspace, "main-frozen").manifest("dictionary").config["frozen"] == "decoder"


@pytest.mark.slow
def test_controls_that_learn_less_or_of_other_weights_are_what_they_say(copy):
    found = Run.open(copy).do("controls", kinds=("soft_frozen", "gaussian_kept"))
    assert (
        list(found.controls) == ["soft_frozen", "gaussian_kept"] == list(dict.fromkeys(r.control for r in found.rows))
    )
    soft, kept = (Run.open(copy, f"main-{kind}") for kind in found.controls)
    assert soft.manifest("dictionary").config["frozen"] == "soft_decoder" and soft.config.model.twin == "none"
    assert kept.manifest("dictionary").config["frozen"] == "nothing" and kept.config.model.twin == "gaussian_kept"
    assert words_of(copy, copy.card("main-soft_frozen")) == "the same model, a decoder kept near where it was drawn"
    assert words_of(copy, copy.card("main-gaussian_kept")).endswith("the embedding as it was learned")


def test_every_trained_control_differs_from_the_run_in_what_it_says_alone(small_workspace):
    config = Run.open(small_workspace).config
    made = {name: kind.recipe(config, "main") for name, kind in CONTROL_RUNS.items() if kind.recipe}
    frozen = {name: one.stages["train"].get("frozen", "nothing") for name, one in made.items()}
    assert {name: part for name, part in frozen.items() if part != "nothing"} == {
        "frozen": "decoder",
        "soft_frozen": "soft_decoder",
        "frozen_encoder": "encoder",
    }
    twins = {name: one.model.twin for name, one in made.items() if one.model.twin != "none"}
    assert twins == {
        "twin": "reinitialised",
        **{name: name for name in ("permuted", "gaussian", "gaussian_kept", "redrawn")},
    }
    for name, one in made.items():
        same = one.with_twin("none", 0).with_stage("train", one.stages["train"] | {"frozen": "nothing"})
        plain = control_of(config.with_twin("none", 0), "main")
        assert same == plain.with_stage("train", plain.stages["train"] | {"frozen": "nothing"}), name


def test_as_many_latents_are_active_as_of_the_run(workspace, found):
    l0 = l0_of(Run.open(workspace).index)
    dense = np.mean([Run.open(workspace).index.active_by_position[Run.open(workspace).index.counted].mean()])
    assert found.run.l0 == l0 == pytest.approx(dense)
    for name in ("neurons", "random", "pca"):
        control = found.controls[name]
        assert control.l0 <= round(l0) and control.l0 == pytest.approx(round(l0), abs=0.5), name
    assert [found.controls[name].n_latents for name in ("neurons", "random", "pca")] == [512, 256, 1024]


def test_neurons_are_the_largest_values_of_each_token(workspace):
    run = Run.open(workspace, "main-neurons")
    batch = run.reader.read(np.array([3]))
    codes = run.dictionary.encode(batch.x)
    k = run.dictionary.config.k
    expected = batch.x * (batch.x >= batch.x.topk(k, dim=-1).values[:, -1:]) * (batch.x > 0)
    assert np.allclose(codes, expected, atol=1e-5)


def test_components_are_latents_either_way(workspace):
    rows = Run.open(workspace, "main-pca").dictionary.W_dec
    assert np.allclose(rows[:512], -rows[512:])


def test_every_score_is_compared_and_its_figures_are_in_the_report(workspace, found):
    assert {row.metric for row in found.rows} == set(ExactScorer.definitions)
    assert len(found.rows) == 5 * len(ExactScorer.definitions)
    scores = ExplanationStore(workspace.database)
    index = Run.open(workspace).index
    row = next(row for row in found.rows if (row.control, row.metric) == ("neurons", "f1"))
    mine = [s.value for s in scores.scores(index.id, explainer="rule") if s.metric == "f1"]
    other = Run.open(workspace, "main-neurons").index
    theirs = [s.value for s in scores.scores(other.id, explainer="rule") if s.metric == "f1"]
    pairs = np.subtract.outer(mine, theirs)
    assert row.superiority.value == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
    assert row.difference.value == pytest.approx(np.median(mine) - np.median(theirs))
    n, m = row.n_asked, row.n_asked_control
    won = (
        (pairs > 0).sum()
        + (pairs == 0).sum() / 2
        + len(mine) * (m - len(theirs))
        + (n - len(mine)) * (m - len(theirs)) / 2
    )
    assert row.superiority_of_all.value == pytest.approx(won / (n * m)), "who abstains is below who does not"
    whole = report(workspace, "main")
    named = {figure.name: figure for figure in whole.figures}
    assert named["controls/neurons/rule/superiority"] == row.superiority
    assert named["controls/twin/rule/explained_share"].value == found.explained[-1].control_share.value
    assert "main-neurons" not in whole.controls and "main-neurons" not in whole.others and "twin" in whole.controls
    told = next(one for one in whole.answers if one.question.startswith("Do the explanations"))
    assert "Against those of controls: " in told.answer and len(told.evidence) >= 5


def test_who_has_no_controls_is_told_so(small_workspace):
    whole = report(small_workspace, "main")
    told = next(one for one in whole.answers if one.question.startswith("Do the explanations"))
    assert told.answer.endswith("Against those of controls: not measured, `sparselex controls`.")
    page = shown(small_workspace, "/runs/main")
    assert "Not measured: <code>sparselex controls" in page and "neurons, random directions and twins" in page
    assert "sparselex controls" not in shown(small_workspace, "/runs/twin"), "a control has none"


def shown(workspace, path: str) -> str:
    with TestClient(create_app(Workspace(workspace.path)), base_url="http://127.0.0.1") as client:
        return re.sub(r"\s+", " ", client.get(path).text)


def test_the_page_of_the_run_shows_them(workspace, found):
    page = shown(workspace, "/runs/main")
    assert "Explanations against those of controls" in page and "<code>sparselex controls" not in page
    for name, control in found.controls.items():
        assert f'<a href="/runs/{control.run}">{name}</a>' in page
    assert "<h2>" in shown(workspace, "/runs/main-neurons")
    assert "neurons, 512 → 512" in (overview := shown(workspace, "/")) and "Explanations against those" in overview
    assert "directions with the largest values on a token are active" in shown(workspace, "/runs/main-neurons")
    assert shown(workspace, "/runs/main-neurons/features/3")
    told = json.loads(shown(workspace, "/runs/main.json"))
    assert told["against"]["rows"][0]["headline"] and told["not_against"] == ""


def test_done_is_not_done_again_and_the_table_is_printed(workspace):
    before = contents(workspace.path)
    ended = done("controls", workspace.path, "--kinds", "neurons,random,pca,frozen,twin")
    assert "chance to be" in ended.out and ended.out.count("rule exact f1") == 5 and "5 controls" in ended.out
    assert contents(workspace.path) == before
    told = json.loads(done("controls", workspace.path, "--json").out)
    assert told == AgainstControls.read(workspace.run("main") / "controls").to_json(), "as the run kept it"


def test_a_control_that_is_made_anew_makes_the_comparison_old(workspace, tmp_path):
    shutil.copytree(workspace.path, tmp_path / "w")
    there = Workspace(tmp_path / "w")
    remove(there.run("main-random"))
    assert "controls" in report(there, "main").stale
    assert "Not measured any more: of another index of run" in shown(there, "/runs/main")
    done("controls", there.path)
    assert "controls" not in report(there, "main").stale


def test_rules_of_another_version_are_not_held_against_those_of_controls(copy, monkeypatch):
    run = Run.open(copy, "main")
    monkeypatch.setattr(RuleExplainer, "version", "1")
    with pytest.raises(UserError, match="by another version of 'rule'"):
        run.do("controls", kinds=("neurons",))
    assert not copy.has_run("main-neurons"), "nothing is made"
    run.do("explain")
    assert run.manifest("explanations").inputs["explainer"] == "rule 1"
    assert Run.open(copy, "main").do("controls", kinds=("neurons",)).controls


def test_a_run_without_explanations_is_told_what_to_do(copy):
    remove(copy.run("main") / "explanations")
    before = contents(copy.path)
    ended = sparselex("controls", copy.path)
    assert ended.code == 2 and "has no explanations yet" in ended.err and "sparselex explain" in ended.err
    assert contents(copy.path) == before


def test_a_name_that_is_taken_is_left_alone(copy):
    done("index", copy.path, "--neurons", "--as", "main-neurons")
    before = contents(copy.path / "runs" / "main-neurons")
    for options in ((), ("--replace",)):
        ended = sparselex("controls", copy.path, "--kinds", "neurons", *options)
        assert ended.code == 2 and "it is no control of run 'main'" in ended.err
    assert contents(copy.path / "runs" / "main-neurons") == before
    (copy.run("main-pca")).mkdir()
    (copy.run("main-pca") / "letter.txt").write_text("mine")
    ended = sparselex("controls", copy.path, "--kinds", "pca")
    assert ended.code == 2 and "exists and is no run" in ended.err


def test_other_directions_need_to_be_asked_for(copy):
    done("controls", copy.path, "--kinds", "random")
    ended = sparselex("controls", copy.path, "--kinds", "random", "--seed", 1)
    assert ended.code == 2 and "seed was 0 and is 1" in ended.err and "--replace" in ended.err
    first = Run.open(copy, "main-random").dictionary.W_dec.clone()
    done("controls", copy.path, "--kinds", "random", "--seed", 1, "--replace")
    assert not np.allclose(first, Run.open(copy, "main-random").dictionary.W_dec)


def test_an_imported_dictionary_has_no_recipe(small_workspace, copy, tmp_path):
    done("export", copy.path, tmp_path / "exported")
    text = Run.open(copy).config.text.source
    other = tmp_path / "other"
    done("import", other, tmp_path / "exported", "--text", text, "--context", 64)
    done("index", other)
    done("explain", other)
    ended = done("controls", other, "--kinds", "neurons,frozen")
    assert "frozen: not measured" in ended.out and "1 controls" in ended.out
    found = AgainstControls.read(other / "runs" / "main" / "controls")
    assert list(found.controls) == ["neurons"] and "no recipe" in found.missing["frozen"]
    failed = [figure for figure in found.figures() if figure.failure]
    assert [figure.name for figure in failed] == ["controls/frozen/superiority"]


class Noise(PlantedIndex):
    """The same text, every latent active anywhere."""

    id = "noise"
    d_sae = 40

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(7)
        self.acts = np.where(rng.random((len(self.acts), self.d_sae)) < 0.05, 1.0, 0) * self.counted[:, None]
        n_active = {
            name: (self.acts[part] != 0).sum(0) for name, part in ((name, part_of(name)) for name in SPLIT_ROWS)
        }
        self.table = {f"{name}_n_active": n for name, n in n_active.items()} | {"n_active": sum(n_active.values())}


def test_planted_rules_are_above_noise_and_even_with_themselves(tmp_path):
    store, config = ExplanationStore(tmp_path / "db.sqlite"), ExplainConfig()
    graded = {}
    for index in (PlantedIndex(), Noise()):
        explain(index, config, tmp_path / "db.sqlite", tmp_path / index.id, inputs={"index": index.id})
        graded[index.id] = Graded(index.id, index, store, "rule")
    grader = Grader("rule", "exact", ExactScorer, 0, config)
    above = next(row for row in against("noise", graded["planted"], graded["noise"], [grader]) if row.headline)
    # Three of the four that are alive have a rule; noise has none, or one that says next to nothing.
    assert above.n == 3 and above.n_asked == 4 and above.n_asked_control == 40
    assert above.superiority_of_all.value >= 0.87 and (above.superiority.value or 1) == 1
    below = next(row for row in against("planted", graded["noise"], graded["planted"], [grader]) if row.headline)
    assert below.superiority_of_all.value == pytest.approx(1 - above.superiority_of_all.value)
    for row in against("itself", graded["planted"], graded["planted"], [grader]):
        assert row.superiority.value == pytest.approx(0.5) == row.superiority_of_all.value
        assert row.difference.value == 0


def test_a_run_against_itself_is_even(workspace):
    index, store = Run.open(workspace).index, ExplanationStore(workspace.database)
    mine = Graded("main", index, store, "rule")
    for row in against("itself", mine, mine, [Grader("rule", "exact", ExactScorer, 0, ExplainConfig())]):
        for figure in (row.superiority, row.superiority_of_all):
            assert figure.value == pytest.approx(0.5) and row.higher == "neither"


def test_an_unknown_kind_is_refused(copy):
    with pytest.raises(UserError, match="Unknown control_run 'neuron'"):
        Run.open(copy).do("controls", kinds=("neuron",))
