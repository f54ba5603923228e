"""The walk: kills, work that is done, failures that are counted, and figures."""

import numpy as np
import pytest

from sparselex.base.artifacts import open_artifact, read_manifest
from sparselex.base.errors import UserError
from sparselex.base.figures import FIGURES, Failure, Figures
from sparselex.explain import explain as module
from sparselex.explain.config import ExplainConfig
from sparselex.explain.explain import explain
from sparselex.explain.explainers.rule import RuleExplainer
from sparselex.explain.figures import score_figures, share_figure
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.explain.registry import EXPLAINERS, SCORERS
from sparselex.explain.scorers.exact import ExactScorer
from sparselex.explain.store import ExplanationStore
from tests.support.planted import PlantedIndex


@pytest.fixture(scope="module")
def index():
    return PlantedIndex()


@pytest.fixture
def walk(index, tmp_path, monkeypatch):
    """Explains the planted index into `tmp_path`, latent by latent."""
    monkeypatch.setattr(module, "_BATCH", 1)

    def run(name="w", **options):
        folder = tmp_path / name
        return explain(index, ExplainConfig(**options), folder / "w.sqlite", folder / "x", inputs={"index": index.id})

    (tmp_path / "w").mkdir()
    return run


def rows(tmp_path, name="w"):
    store = ExplanationStore(tmp_path / name / "w.sqlite")
    said = [store.of_latent("planted", latent) for latent in range(5)]
    return said, store.scores("planted"), [store.judgements("planted", latent) for latent in range(5)]


def test_latents_are_explained_scored_and_found(walk, tmp_path):
    found, store = walk(), ExplanationStore(tmp_path / "w" / "w.sqlite")
    assert (found.n_explained, found.n_abstained, found.n_failed, found.n_unscored) == (3, 1, 0, 0)
    assert str(found).startswith("3 latents explained (median f1 1.000 on test documents, null 0.")
    assert found.n_dead == 1 and str(found).endswith(", 0 failed, 1 never active")
    assert set(store.entries("planted")) == {0, 1, 2, 3}, "a latent that is never active has nothing to explain"
    assert store.definitions()["exact"] == ExactScorer.definitions


def test_latents_seldom_active_are_abstained_from(walk, index, tmp_path):
    few = int(index.table["train_n_active"][2])
    walk(min_active=few + 1)
    (said,) = rows(tmp_path)[0][2]
    assert said.status == "abstained" and said.text == f"Active on {few} training tokens; {few + 1} are needed."


def test_what_another_version_found_is_found_anew(walk, tmp_path, monkeypatch):
    made, plain = [], RuleExplainer.explain
    monkeypatch.setattr(RuleExplainer, "explain", lambda self, latent: made.append(latent) or plain(self, latent))
    walk()
    assert made == [0, 1, 2, 3] and read_manifest(tmp_path / "w" / "x").inputs["explainer"] == "rule 2"
    walk()
    assert len(made) == 4, "by the same version nothing is"
    monkeypatch.setattr(RuleExplainer, "version", "3")
    walk()
    assert made == [0, 1, 2, 3] * 2 and read_manifest(tmp_path / "w" / "x").inputs["explainer"] == "rule 3"


@pytest.mark.parametrize("victim", [RuleExplainer, ExactScorer])
def test_rows_survive_a_kill_and_are_not_made_twice(walk, tmp_path, monkeypatch, victim):
    (tmp_path / "whole").mkdir()
    whole = walk("whole")
    verb = "explain" if victim is RuleExplainer else "score"
    plain, made = getattr(victim, verb), []

    def dying(self, what):
        made.append(what if verb == "explain" else what.latent)
        if len(made) == 3:
            raise KeyboardInterrupt
        return plain(self, what)

    monkeypatch.setattr(victim, verb, dying)
    with pytest.raises(KeyboardInterrupt):
        walk()
    assert not (tmp_path / "w" / "x").exists()
    assert walk() == whole and rows(tmp_path) == rows(tmp_path, "whole")
    assert made == ([0, 1, 2, 2, 3] if verb == "explain" else [0, 1, 2, 2])
    manifests = [open_artifact(tmp_path / name / "x", "explanations") for name in ("w", "whole")]
    assert manifests[0] == manifests[1]


def test_what_is_done_is_recognised_without_explaining(walk, tmp_path, monkeypatch):
    first = walk()
    for victim, verb in ((RuleExplainer, "__init__"), (ExactScorer, "score")):
        monkeypatch.setattr(victim, verb, lambda *_: pytest.fail("done already"))
    assert walk() == first
    for path in (tmp_path / "w" / "x").iterdir():
        path.unlink()
    assert walk() == first, "figures are made again from the rows alone"
    monkeypatch.undo()
    (tmp_path / "w" / "w.sqlite").unlink()
    assert walk() == first and ExplanationStore(tmp_path / "w" / "w.sqlite").entries("planted")


def test_a_changed_configuration_explains_anew(walk, tmp_path):
    walk()
    before = rows(tmp_path)
    walk(seed=1)
    after = rows(tmp_path)
    assert [e.text for said in before[0] for e in said if e.status == "explained"] == [
        e.text for said in after[0] for e in said if e.status == "explained"
    ]
    assert [s.value for s in before[1]] == [s.value for s in after[1]] and before[1] != after[1], "another null"
    assert before[2] != after[2]


class Moody:
    """Explains latent 0, cannot be asked about the others."""

    explained = "a mood"

    def __init__(self, evidence, config):
        self.evidence = evidence

    def explain(self, latent):
        if latent:
            return Failure(subject=f"latent {latent}", reason="no mood for it")
        return Explanation(latent=latent, explainer="moody", status="explained", text="gloom", title="gloom")


class Length:
    """A score that any text has."""

    definitions = {"letters": "letters of the text", "words": "words of the text"}
    headline = "words"

    def __init__(self, evidence, config):
        pass

    def score(self, explanation):
        values = {"letters": len(explanation.text), "words": len(explanation.text.split())}
        return Scored([self._score(explanation, metric, value) for metric, value in values.items()], [])

    def _score(self, explanation, metric, value):
        by = {"explainer": explanation.explainer, "scorer": "length"}
        return Score(**by, metric=metric, value=value, ci_low=None, ci_high=None, n=1, null=None)


@pytest.fixture
def guests(monkeypatch):
    monkeypatch.setitem(EXPLAINERS._table, "moody", Moody)
    monkeypatch.setitem(SCORERS._table, "length", Length)


def test_two_explainers_in_one_store_and_failures_that_are_counted(walk, tmp_path, guests):
    walk()
    found = walk(explainer="moody", scorers=("exact", "length"))
    assert (found.n_explained, found.n_failed, found.n_unscored) == (1, 3, 1)
    assert str(found) == "1 latents explained, 0 abstained, 3 failed, 1 scorings failed, 1 never active"
    store = ExplanationStore(tmp_path / "w" / "w.sqlite")
    assert [e.explainer for e in store.of_latent("planted", 0)] == ["rule", "moody"]
    assert store.of_latent("planted", 1)[1].text == "no mood for it"
    figures = {figure.name: figure for figure in found.figures}
    share = figures["explain/moody/explained_share"]
    assert share.value == 0.25 and "with a mood; the others are abstentions, or failures (3)" in share.definition
    assert figures["explain/moody/f1"].failure and figures["explain/moody/length/letters"].value == 5


def test_another_scorer_scores_what_is_explained_already(walk, tmp_path, guests, monkeypatch):
    walk()
    before = rows(tmp_path)[1]
    for victim, verb in ((RuleExplainer, "__init__"), (ExactScorer, "score")):
        monkeypatch.setattr(victim, verb, lambda *_: pytest.fail("done already"))
    found = walk(scorers=("length", "exact"))
    scores = rows(tmp_path)[1]
    assert [s for s in scores if s.scorer == "exact"] == before and len(scores) == len(before) + 2 * found.n_explained
    assert [figure.name for figure in found.figures[:4]] == [
        "explain/rule/explained_share",
        "explain/rule/words",
        "explain/rule/letters",
        "explain/rule/exact/f1",
    ]
    entries = ExplanationStore(tmp_path / "w" / "w.sqlite").entries("planted")
    assert [headline.metric for headline in entries[0][0].headlines] == ["words", "f1"]


def test_an_explainer_that_answers_for_another_is_refused(walk, guests, monkeypatch):
    monkeypatch.setattr(
        Moody,
        "explain",
        lambda self, latent: Explanation(latent=9, explainer="moody", status="abstained", text="", title=""),
    )
    with pytest.raises(UserError, match="asked for latent 0 and answers for latent 9"):
        walk(explainer="moody")


@pytest.mark.parametrize("names", [{"explainer": "rul"}, {"scorers": ("exat",)}])
def test_unknown_names_are_refused_with_the_nearest(names):
    with pytest.raises(UserError, match=r"Unknown (explainer 'rul'|scorer 'exat')(?s:.*)did you mean"):
        ExplainConfig(**names)


def test_figures_are_medians_of_the_rows(small_workspace, small_index):
    folder = small_workspace.run("main") / "explanations"
    figures = {figure.name: figure for figure in Figures.from_file(folder / FIGURES).figures}
    store = ExplanationStore(small_workspace.database)
    scores, said = store.scores(small_index.id), store.all(small_index.id, "rule")
    for metric in ExactScorer.definitions:
        own = [score for score in scores if score.metric == metric]
        figure = figures[f"explain/rule/{metric}"]
        assert figure.value == np.median([s.value for s in own]) and figure.n == len(own)
        assert figure.null == np.median([s.null for s in own if s.null is not None])
        assert figure.ci_low is None and "no interval, with documents that count as" in figure.definition
    share = figures["explain/rule/explained_share"]
    assert share.n == len(said) and np.isclose(share.value, np.mean([e.status == "explained" for e in said]))
    notes = open_artifact(folder, "explanations").notes
    assert notes["n_explained"] + notes["n_abstained"] == len(said) and notes["n_failed"] == 0


def test_figures_without_explanations_are_failures():
    assert share_figure("rule", "a rule", []).failure and share_figure("rule", "a rule", []).value is None
    (figure,) = score_figures("explain/rule", "f1", {"f1": "words"}, [])
    assert figure.failure == "no latent has this score"


def test_the_interval_of_a_median_covers_it():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(500):
        values = rng.normal(size=101).tolist()
        scores = [
            Score(explainer="", scorer="", metric="f1", value=v, ci_low=0, ci_high=0, n=1, null=0) for v in values
        ]
        (figure,) = score_figures("explain/rule", "f1", {"f1": "words"}, scores)
        hits += figure.ci_low <= 0 <= figure.ci_high
    assert 0.92 < hits / 500 < 0.99


class Stumbling(RuleExplainer):
    """Fails at some latents once it has an option."""

    fails: tuple[int, ...] = (0, 1)

    def __init__(self, evidence, config):
        self.options = config.options
        super().__init__(evidence, config.model_copy(update={"options": {}}))

    def explain(self, latent):
        if self.options and latent in self.fails:
            return Failure(subject=f"latent {latent}", reason="it stumbles")
        return super().explain(latent)


def test_what_fails_under_new_options_takes_no_explanation_away(walk, tmp_path, monkeypatch):
    monkeypatch.setattr(EXPLAINERS, "_table", {"rule": Stumbling})
    walk()
    before = rows(tmp_path)
    found = walk(options={"new": 1})
    assert (found.n_explained, found.n_abstained, found.n_failed) == (1, 1, 2), "they are counted"
    assert rows(tmp_path) == before, "and what was there stays, with its scores"
    by_name = {one.name: one for one in found.figures}
    assert by_name["explain/rule/explained_share"].value == 0.25 and by_name["explain/rule/f1"].n == 1
    monkeypatch.setattr(Stumbling, "fails", ())
    found = walk(options={"new": 1})
    assert (found.n_explained, found.n_failed) == (3, 0), "what failed is asked again"


def test_where_everything_fails_what_was_explained_stays_and_that_is_an_error(walk, tmp_path, monkeypatch):
    monkeypatch.setattr(EXPLAINERS, "_table", {"rule": Stumbling})
    monkeypatch.setattr(Stumbling, "fails", (0, 1, 2, 3))
    walk(min_active=10)
    before = rows(tmp_path)
    monkeypatch.setattr(Stumbling, "fails", (0, 1, 2))
    with pytest.raises(UserError, match="Nothing was explained by 'rule': 3 latents failed, the first as it stumbles"):
        walk(options={"new": 1}, min_active=10)
    assert rows(tmp_path)[0][:3] == before[0][:3]
