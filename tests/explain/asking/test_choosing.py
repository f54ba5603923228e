"""Of several explanations the one is kept that does best on validation documents; test documents are not touched."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.base.figures import Failure
from sparselex.explain.asking.ask import ask
from sparselex.explain.asking.choosing import Chooser
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.registry import WRITERS
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.evidence import Evidence
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.llm.records import Capabilities
from sparselex.llm.talks import hold
from tests.support.judge import Drawing, passages
from tests.support.planted import with_neighbours

SMALL = AskConfig(window=8, active=20, silent=12, hard=6, per_request=4, null_share=1.0, check=0, best_windows=8)
RIGHT = "".join(sorted(chr(95 + token) for token in (5, 9)))
ONE = RIGHT[0]
WRONG = chr(95 + 20)


@pytest.fixture(scope="module")
def index():
    return with_neighbours()


@pytest.fixture
def walk(index, tmp_path):
    def run(model, **more):
        config = SMALL.model_copy(update={"best_of": len(model.draws), **more})
        return ask(index, config, model, tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id})

    return run


def kept(tmp_path, latent=0):
    return next(one.text for one in ExplanationStore(tmp_path / "w.sqlite").of_latent("planted", latent))


def test_the_best_is_kept_and_all_are_recorded(walk, tmp_path):
    model = Drawing((WRONG, ONE, Drawing.RIGHT, ""))
    found = walk(model)
    assert (found.n_explained, found.n_failed) == (4, 0) and kept(tmp_path) == f"any of the characters {RIGHT}"
    drawn = AskedStore(tmp_path / "w.sqlite").candidates("planted", 0)
    assert [one.place for one in drawn] == [0, 1, 2, 3] and [one.kept for one in drawn] == [False, False, True, False]
    values = [one.value for one in drawn]
    assert values[0] < values[1] < values[2] == 1 and values[3] is None
    assert [one.failed for one in drawn] == [False, False, False, True] and "I cannot help" in drawn[3].text
    assert {(one.judge, one.metric, one.explainer) for one in drawn} == {("detection", "balanced_accuracy", "llm")}
    assert drawn[0].n == 8 + 8
    written = AskedStore(tmp_path / "w.sqlite").of_latent("planted", 0)[0]
    assert written.variant.endswith("best of 4 by detection on validation documents") and written.n_unanswered == 1
    asked = [one for one in model.asked if one.purpose == "explain" and one.n > 1]
    assert [(one.n, one.temperature > 0) for one in asked] == [(4, True)] * 4, "the question is read once for all draws"


def test_of_equals_the_first_is_kept_and_equals_are_not_judged(walk, tmp_path):
    model = Drawing((f"b{WRONG}", f"{WRONG}b"))
    walk(model)
    assert kept(tmp_path) == f"any of the characters b{WRONG}"
    same = Drawing((ONE, ONE, ONE))
    walk(same)
    drawn = AskedStore(tmp_path / "w.sqlite").candidates("planted", 0)
    assert [one.kept for one in drawn] == [True, False, False] and not any(one.value for one in drawn)


def test_where_all_fail_the_reason_is_that_of_the_first(walk, tmp_path):
    found = walk(Drawing(("", "")))
    assert (found.n_explained, found.n_failed) == (0, 4) and "I cannot help" in kept(tmp_path)


def test_a_judge_at_chance_chooses_nothing(walk, tmp_path, monkeypatch):
    monkeypatch.setattr("sparselex.explain.asking.known_words.Words._is_word", lambda self, token: True)
    model = Drawing((WRONG, Drawing.RIGHT), miss=0.5, alarm=0.5)
    found = walk(model, check=20)
    assert found.unfit and not [one for one in model.asked if one.n > 1]
    assert not AskedStore(tmp_path / "w.sqlite").candidates("planted", 0)


def test_what_is_chosen_is_scored_on_test_documents_as_any_other(walk, tmp_path, index):
    walk(Drawing((WRONG, Drawing.RIGHT)))
    chosen = ExplanationStore(tmp_path / "w.sqlite").scores("planted", latent=0)
    (tmp_path / "w.sqlite").unlink()
    walk(Drawing((Drawing.RIGHT, WRONG)), best_of=1)
    alone = ExplanationStore(tmp_path / "w.sqlite").scores("planted", latent=0)
    pick = lambda scores: {(one.scorer, one.metric): one.value for one in scores}
    assert pick(chosen) == pick(alone)


def rows_of(index, *splits):
    rows = [row for split in splits for row in index.corpus.row_ranges[split]]
    return ["".join(index.corpus.vocabulary.text(int(t)) for t in index.tokens[row, 1:]) for row in rows]


@settings(max_examples=25, deadline=None)
@given(
    writer=st.sampled_from(("llm", "contrastive", "tokens", "output", "both")),
    judge=st.sampled_from(("detection", "fuzzing")),
    latent=st.integers(0, 3),
    windows=st.integers(2, 40),
    size=st.integers(8, 15),
    seed=st.integers(0, 100),
)
def test_no_test_document_is_touched_in_choosing(writer, judge, latent, windows, size, seed):
    index, poisoned = with_neighbours(), with_neighbours(poison_test=True)
    config = AskConfig(
        writer=writer, judges=(judge,), best_of=3, best_windows=windows, window=size, seed=seed, strengths=False
    )
    found, asked = [], []
    for one in (index, poisoned):
        model = Drawing((WRONG, ONE, Drawing.RIGHT))
        chooser = Chooser(one, config, WRITERS.get(writer)(Evidence(one, seed), config), None)
        ((_, chosen),) = hold(model, [(latent, chooser.talk(latent, model.capabilities()))], most_open=4)
        found.append(chosen)
        asked.append([request.to_json() for request in model.asked])
    assert found[0] == found[1] and asked[0] == asked[1], "whatever the test documents hold"
    there = rows_of(index, "validation")
    for request in model.asked:
        if request.purpose == judge:
            plain = [text.replace("<<", "").replace(">>", "") for text in passages(request)]
            assert all(any(text in row for row in there) for text in plain)


def test_a_failure_of_the_server_is_that_of_every_draw(index):
    class Gone(Drawing):
        def submit(self, request):
            done = super().submit(request)
            done._result = Failure(subject="explain", reason="gone")
            return done

    model, config = Gone((ONE, WRONG)), SMALL.model_copy(update={"best_of": 2})
    chooser = Chooser(index, config, WRITERS.get("llm")(Evidence(index, 0), config), None)
    ((_, chosen),) = hold(model, [(0, chooser.talk(0, Capabilities(n=True)))], most_open=4)
    assert chosen.told.found.reason == "gone" and chosen.told.n_unanswered == 2
    assert not any(isinstance(one, Explanation) for one in (chosen.told.found,))
