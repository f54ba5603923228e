"""Explanations that are there already are judged like those that are written, and all of them stand side by side."""

import pytest

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.explain.asking.ask import ask, chosen
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.labels import labels_of
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.explain.store import ExplanationStore, Scoring
from sparselex.server.notes import schema
from sparselex.server.notes.operations import SetLabel
from sparselex.server.notes.records import Feature
from sparselex.server.notes.store import NoteStore
from tests.support.judge import ScriptedModel
from tests.support.planted import with_neighbours

SMALL = AskConfig(window=8, active=20, silent=12, hard=6, per_request=4, null_share=1.0, check=0)
RIGHT = "".join(sorted(chr(95 + token) for token in (5, 9)))


@pytest.fixture(scope="module")
def index():
    return with_neighbours()


@pytest.fixture
def walk(index, tmp_path):
    def run(model, **more):
        labels, config = more.pop("labels", None), SMALL.model_copy(update=more)
        folder = tmp_path / "x"
        return ask(index, config, model, tmp_path / "w.sqlite", folder, inputs={"index": index.id}, labels=labels)

    return run


@pytest.fixture
def store(tmp_path):
    return ExplanationStore(tmp_path / "w.sqlite")


def said(latent, text, status="explained", explainer="rule"):
    return Explanation(latent=latent, explainer=explainer, status=status, text=text, title=text[:10])


def with_rules(store, texts):
    """Explanations by rule of latents 0 to 2, scored exactly, and an abstention of latent 3."""
    store.add(
        "planted", "as rules are", [*(said(n, text) for n, text in enumerate(texts)), said(3, "none", "abstained")]
    )
    scores = [Score(explainer="rule", scorer="exact", metric="f1", value=0.9, ci_low=None, ci_high=None, n=9, null=0.1)]
    scoring = Scoring("exact", "f1", 0, "as rules are")
    store.add_scored("planted", "rule", scoring, {latent: Scored(scores, []) for latent in range(len(texts))})


def figures(found):
    return {one.name: one for one in found.figures}


def test_rules_are_judged_on_the_same_windows_and_nothing_is_written(walk, store, index):
    with_rules(store, [f"any of {RIGHT}", "any of f", "any of j"])
    before, model = store.all("planted", "rule"), ScriptedModel()
    found = walk(model, writer="rule")
    assert store.all("planted", "rule") == before and not [one for one in model.asked if one.purpose == "explain"]
    assert (found.n_explained, found.n_abstained, found.n_failed, found.n_left) == (3, 1, 0, 0)
    by_name = figures(found)
    assert by_name["explain/rule/covered_share"].value == 0.75 and by_name["explain/rule/covered_share"].n == 4
    scores = {one.metric: one for one in store.scores("planted", latent=0) if one.scorer == "detection"}
    assert scores["balanced_accuracy"].value == 1 and scores["balanced_accuracy"].null is not None
    assert by_name["explain/rule/fuzzing/balanced_accuracy"].n == 3
    assert str(found).startswith("3 explanations by rule before scripted (median detection balanced accuracy ")
    written = ScriptedModel()
    walk(written)
    windows = lambda one: {q.messages[1].content.split("\n", 1)[1] for q in one.asked if q.purpose != "explain"}
    assert windows(model) & windows(written), "the windows are those by which explanations of the model are judged"


def test_the_first_score_in_lists_stays_what_it_was(walk, store):
    with_rules(store, [RIGHT, "f", "j"])
    walk(ScriptedModel(), writer="rule")
    assert [one.scorer for one in store.entries("planted")[0][0].headlines] == ["exact", "detection", "fuzzing"]
    assert next(iter(store.foremost("planted"))).key == "rule/exact/f1"


def test_a_text_that_changed_is_judged_again_and_no_other(walk, store):
    with_rules(store, [f"any of {RIGHT}", "any of f", "any of j"])
    model = ScriptedModel()
    first, n = walk(model, writer="rule", null_share=0.0), len(model.asked)
    assert walk(model, writer="rule", null_share=0.0) == first and len(model.asked) == n
    store.add("planted", "as rules are", [said(1, "any of b")])
    walk(model, writer="rule", null_share=0.0)
    again = {request.messages[1].content.split("\n")[0] for request in model.asked[n:]}
    assert again == {'Description: "any of b"'}
    walk(model, writer="rule", null_share=0.0, examples=7)
    assert {request.messages[1].content.split("\n")[0] for request in model.asked[n:]} == again, "nothing is written"


def test_labels_are_one_more_explainer(walk, store, tmp_path):
    model = ScriptedModel()
    found = walk(model, writer="label", labels={0: f"any of {RIGHT}", 3: "noise z", 4: "never active"})
    assert (found.n_explained, {one.latent for one in store.all("planted", "label")}) == (2, {0, 3, 4})
    assert store.scores("planted", latent=0, explainer="label")[0].value == 1
    n = len(model.asked)
    found = walk(model, writer="label", labels={0: f"any of {RIGHT}"}, null_share=0.0)
    assert found.n_explained == 1 and [one.latent for one in store.all("planted", "label")] == [0]
    with pytest.raises(UserError, match="Nobody has written a label"):
        walk(model, writer="label")
    assert len(model.asked) >= n


def test_labels_are_read_where_the_browser_keeps_them(tmp_path):
    assert len(schema.MIGRATIONS) == 1, "`labels_of` reads the table of the first version"
    assert labels_of(tmp_path / "w.sqlite", "main", "d") == {}
    notes = NoteStore(tmp_path / "w.sqlite")
    for latent, dictionary in ((4, "d"), (2, "d"), (2, "other")):
        feature = Feature(run="main", dictionary=dictionary, latent=latent)
        notes.write(SetLabel(do="label", **feature.to_json(), text=f"words {latent}", version=0))
    assert labels_of(tmp_path / "w.sqlite", "main", "d") == {2: "words 2", 4: "words 4"}


def test_two_models_stand_side_by_side_with_their_own_names(walk, store, tmp_path):
    with_rules(store, [f"any of {RIGHT}", "any of f", "any of j"])
    small, large = ScriptedModel(best=1), ScriptedModel()
    small.model, large.model = "small", "large"
    walk(small, stored_as="small.1")
    walk(large, writer="rule")
    found = walk(large, stored_as="large")
    assert str(found).startswith("4 latents explained by large as large (median detection ")
    names = figures(found)
    for who in ("small.1", "rule", "large"):
        assert names[f"explain/{who}/detection/balanced_accuracy"].value is not None, who
    assert {one.name for one in Figures.read(tmp_path / "x").figures} == names.keys()
    assert names["explain/small.1/explained_share"].value == 1
    rows = AskedStore(tmp_path / "w.sqlite").of_latent("planted", 0)
    models = {(row.explainer, row.model) for row in rows}
    assert models == {("small.1", "small"), ("rule", "large"), ("large", "large")}
    alone = walk(small, stored_as="small.1")
    assert figures(alone) == names, "whoever was asked last, the figures are the same"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"writer": "ruel"}, r"Unknown writer 'ruel'.*one of the writers llm, .*\(rule\)"),
        ({"writer": "rule", "stored_as": "mine"}, "leave out --as"),
        ({"stored_as": "rule"}, "where those of somebody else are or come"),
        ({"stored_as": "label"}, "where those of somebody else are or come"),
        ({"stored_as": "imported"}, "where those of somebody else are or come"),
    ],
)
def test_names_that_cannot_be_are_told(walk, store, given, words):
    with_rules(store, ["a"])
    if given.get("stored_as") == "imported":
        store.add("planted", "neuronpedia", [said(0, "x", explainer="imported")])
    model = ScriptedModel()
    with pytest.raises(UserError, match="(?s)" + words):
        walk(model, **given)
    assert not model.asked


def test_latents_of_few_explanations_are_found_among_all(index):
    every = chosen(index, SMALL)
    assert chosen(index, SMALL.model_copy(update={"latents": 1}), {every[-1]}) == every[-1:]
    assert chosen(index, SMALL, set(every)) == every


class Replacing(ScriptedModel):
    """While it judges somebody else explains the same latents."""

    def __init__(self, path):
        super().__init__()
        self.store = ExplanationStore(path)

    def answer(self, request):
        if request.purpose == "detection":
            there = self.store.all("planted", "llm")
            self.store.add("planted", "other", [one.model_copy(update={"text": "else"}) for one in there])
        return super().answer(request)


def test_what_is_replaced_while_it_is_judged_keeps_no_judgement(tmp_path):
    index, path = with_neighbours(), tmp_path / "w.sqlite"
    found = ask(index, SMALL, Replacing(path), path, tmp_path / "x", inputs={"index": index.id})
    assert found.n_left == 4 and not list(ExplanationStore(path).scores("planted"))
    assert {one.text for one in ExplanationStore(path).all("planted", "llm")} == {"else"}


def test_the_same_answers_by_another_model_are_said_to_be_that_ones(tmp_path):
    index, said = with_neighbours(), list[str]()
    for name in ("one", "two"):
        model = ScriptedModel()
        model.model = name
        said.append(str(ask(index, SMALL, model, tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id})))
    assert [f"explained by {name} " in one for name, one in zip(("one", "two"), said, strict=True)] == [True, True]
