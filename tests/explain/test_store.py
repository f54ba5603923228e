"""The store: two explainers and two scorers side by side, replaced each on its own."""

import sqlite3

import pytest

from sparselex.base.database import integrity
from sparselex.base.errors import UserError
from sparselex.base.figures import Failure
from sparselex.explain import schema
from sparselex.explain.records import Entry, Explanation, Headline, Judgement, Score, Scored
from sparselex.explain.store import ExplanationStore, Scoring, check_rows


def explanation(latent, explainer="rule", text="Active on dogs", status="explained", **more):
    return Explanation(latent=latent, explainer=explainer, status=status, text=text, title=text[:9], **more)


def scored(explainer="rule", scorer="exact", **values):
    scores = [
        Score(explainer=explainer, scorer=scorer, metric=m, value=v, ci_low=0, ci_high=None, n=9, null=v / 2)
        for m, v in values.items()
    ]
    said = [
        Judgement(explainer=explainer, scorer=scorer, position=p, expected=1.5, said=s)
        for p, s in ((8, None), (3, 2.0))
    ]
    return Scored(scores, said)


EXACT, FUZZY = Scoring("exact", "f1", 0, "e"), Scoring("fuzzy", "auroc", 1, "f")


@pytest.fixture
def store(tmp_path):
    found = ExplanationStore(tmp_path / "w.sqlite")
    found.add(
        "i", "c", [explanation(1, predictor={"kind": "token"}), explanation(2, status="abstained", text="No cats")]
    )
    found.add("i", "d", [explanation(1, "llm", "Words about cats and dogs"), explanation(3, "llm", "", "failed")])
    found.add_scored("i", "rule", FUZZY, {1: scored(scorer="fuzzy", auroc=0.7)})
    found.add_scored("i", "rule", EXACT, {1: scored(precision=0.9, f1=0.5)})
    found.add_scored("i", "llm", EXACT, {1: Failure(subject="latent 1", reason="no rule")})
    return found


def test_every_explainer_keeps_its_texts(store):
    assert [(e.explainer, e.text) for e in store.of_latent("i", 1)] == [
        ("rule", "Active on dogs"),
        ("llm", "Words about cats and dogs"),
    ], "rules first, as in lists"
    assert [e.latent for e in store.all("i", "rule")] == [1, 2] and [e.latent for e in store.all("i", "llm")] == [1, 3]
    assert store.of_latent("i", 1)[0].predictor == {"kind": "token"} and store.all("other", "rule") == []


def test_scores_come_back_as_they_were_by_scorer(store):
    assert store.scores("i", latent=1) == [
        *scored(precision=0.9, f1=0.5).scores,
        *scored(scorer="fuzzy", auroc=0.7).scores,
    ]
    assert store.scores("i", explainer="llm") == []
    assert [(j.scorer, j.position, j.said) for j in store.judgements("i", 1)] == [
        ("exact", 3, 2.0),
        ("exact", 8, None),
        ("fuzzy", 3, 2.0),
        ("fuzzy", 8, None),
    ]
    assert store.failures("i") == [Failure(subject="exact of latent 1", reason="no rule")]
    assert store.failures("i", explainer="rule") == []


def test_lists_need_one_query(store, monkeypatch):
    plain, queries = store.database.rows, []
    monkeypatch.setattr(store.database, "rows", lambda *given: queries.append(given) or plain(*given))
    assert store.entries("i") == {
        1: [
            Entry(
                "rule",
                "explained",
                "Active on",
                (Headline("exact", "f1", 0.5, 0.25, 0, None, 9), Headline("fuzzy", "auroc", 0.7, 0.35, 0, None, 9)),
            ),
            Entry("llm", "explained", "Words abo", ()),
        ],
        2: [Entry("rule", "abstained", "No cats", ())],
        3: [Entry("llm", "failed", "", ())],
    }
    assert store.entries_of("i", [2, 7]) == {2: [Entry("rule", "abstained", "No cats", ())]}
    assert len(queries) == 2


def test_the_list_has_each_foremost_score_and_whole_texts(store):
    foremost = store.foremost("i")
    assert foremost == [("rule", "exact", "f1", 1), ("rule", "fuzzy", "auroc", 1)]
    assert [one.key for one in foremost] == ["rule/exact/f1", "rule/fuzzy/auroc"]
    assert [store.scored_by("i", one) for one in foremost] == [
        [(1, 0.5, 0.25, 0, None, 9)],
        [(1, 0.7, 0.35, 0, None, 9)],
    ]
    assert store.scored_by("j", foremost[0]) == [] == store.foremost("j")
    assert store.texts("i") == [(1, "rule", "Active on dogs", True), (1, "llm", "Words about cats and dogs", False)]
    assert store.texts_of("i", [1]) == store.texts("i") and store.texts_of("i", [2, 3]) == []


def test_a_workspace_of_an_earlier_version_is_read_as_it_is_and_brought_up_to_date_by_who_writes(store, monkeypatch):
    path = store.database.path.with_name("old.sqlite")
    monkeypatch.setattr("sparselex.explain.schema.MIGRATIONS", schema.MIGRATIONS[:1])
    ExplanationStore(path).add("i", "c", [explanation(1), explanation(2)])
    monkeypatch.undo()
    path.chmod(0o444)
    before, old = path.read_bytes(), ExplanationStore(path)
    assert old.of_latent("i", 1) == [explanation(1)] and len(old.entries("i")) == 2 and old.scores("i") == []
    check_rows(path)
    assert path.read_bytes() == before
    path.chmod(0o644)
    old.add("i", "c", [explanation(2, text="Active on birds")])
    assert [one.text for one in old.all("i", "rule")] == ["Active on dogs", "Active on birds"]
    for one in (old, store):
        assert one.database.rows("SELECT name FROM sqlite_master WHERE name LIKE 'explanation_%'") == []
    assert integrity(path) == ""


def test_a_new_text_replaces_the_old_one_with_its_scores_and_no_others(store):
    store.add("i", "c2", [explanation(1, text="Active on birds")])
    assert [e.text for e in store.of_latent("i", 1)] == ["Active on birds", "Words about cats and dogs"]
    assert store.scores("i", explainer="rule") == [] == store.judgements("i", 1)
    assert store.failures("i", explainer="llm")
    assert store.statuses("i", "rule", "c") == {2: "abstained"} and store.statuses("i", "rule", "c2") == {
        1: "explained"
    }


def test_what_is_said_again_keeps_its_scores_and_is_of_the_new_configuration(store):
    said, scores = store.of_latent("i", 1)[0], store.scores("i", explainer="rule")
    store.add("i", "c2", [said])
    assert store.of_latent("i", 1)[0] == said and store.scores("i", explainer="rule") == scores != []
    assert store.statuses("i", "rule", "c2") == {1: "explained"}
    store.add("i", "c2", [said.model_copy(update={"predictor": {"another": 1}})])
    assert store.scores("i", explainer="rule") == [], "another rule in the same words is another explanation"


def test_scoring_again_replaces_one_scorers_rows(store):
    store.add_scored("i", "rule", EXACT._replace(config_id="e2"), {1: scored(f1=0.6)})
    assert [(s.scorer, s.value) for s in store.scores("i")] == [("exact", 0.6), ("fuzzy", 0.7)]
    assert store.scored("i", "rule", "exact", "e2") == {1} and store.scored("i", "rule", "exact", "e") == set()
    store.arrange("i", "rule", ["fuzzy", "exact"])
    assert [s.scorer for s in store.scores("i")] == ["fuzzy", "exact"]


def test_a_scorer_that_is_no_longer_named_gives_up_its_place(store):
    store.arrange("i", "rule", ["fuzzy"])
    assert [headline.scorer for headline in store.entries("i")[1][0].headlines] == ["fuzzy", "exact"]
    store.add_scored("i", "rule", Scoring("new", "f1", 0, "n"), {1: scored(scorer="new", f1=0.1)})
    store.arrange("i", "rule", ["new"])
    assert [s.scorer for s in store.scores("i", explainer="rule")] == ["new", "fuzzy", "exact", "exact"]


def test_what_measures_are_is_kept(store):
    store.define("exact", {"f1": "old"})
    store.define("exact", {"f1": "a mean"})
    store.define("fuzzy", {"auroc": "an area"})
    assert store.definitions() == {"exact": {"f1": "a mean"}, "fuzzy": {"auroc": "an area"}}


def test_rows_carry_configuration_and_code_version(store):
    with sqlite3.connect(store.database.path) as db:
        rows = db.execute(
            "SELECT config_id, code_version FROM explanation UNION SELECT config_id, code_version FROM scoring"
        )
        assert {config for config, _ in rows.fetchall()} == {"c", "d", "e", "f"}
        assert not db.execute("SELECT 1 FROM scoring WHERE code_version = ''").fetchall()
    db.close()


OTHER_VALUES = [
    ("explanation", "status", "'x'"),
    ("explanation", "status", "x'ff'"),
    ("explanation", "explainer", "x'41'"),
    ("explanation", "title", "x'ff'"),
    ("explanation", "index_id", "x'ff'"),
    ("explanation", "latent", "'x'"),
    ("explanation", "predictor", "'x'"),
    ("explanation", "predictor", "'[1]'"),
    ("explanation", "predictor", "x'ff'"),
    ("scoring", "failure", "x'ff'"),
    ("score", "value", "'x'"),
    ("score", "value", "1e999"),
    ("score", "ci_low", "x'ff'"),
    ("score", "n", "1e999"),
    ("judgement", "expected", "'x'"),
    ("judgement", "said", "1e999"),
    ("judgement", "position", "'x'"),
    ("metric", "words", "x'ff'"),
]


@pytest.mark.parametrize(("table", "column", "value"), OTHER_VALUES)
def test_a_value_of_another_kind_is_found_and_named(store, table, column, value):
    store.define("exact", {"f1": "a mean"})
    check_rows(store.database.path)
    with store.database.writing() as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute(f"UPDATE OR REPLACE {table} SET {column} = {value}")
    with pytest.raises(UserError, match=r"w\.sqlite is damaged: it holds (?s:.*)move it away"):
        check_rows(store.database.path)


def test_nothing_is_there_before_the_first_writing(tmp_path):
    empty = ExplanationStore(tmp_path / "none.sqlite")
    assert empty.of_latent("i", 1) == empty.scores("i") == [] and empty.entries("i") == {}
    assert not list(tmp_path.iterdir())
