"""Every judge before a model whose answers are known: scores are what follows from these, nulls are at chance."""

import re
import sqlite3

import numpy as np
import pytest

from sparselex.explain.asking.ask import ask
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judges.intervention import Intervention
from sparselex.explain.asking.judges.simulation import _read_at_once
from sparselex.explain.asking.known import Known, Tried
from sparselex.explain.asking.known_words import Words
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.explain import explain
from sparselex.explain.store import ExplanationStore
from sparselex.llm.records import Answer, Token
from sparselex.llm.talks import hold
from tests.support.planted import N_CTX, with_neighbours
from tests.support.reader import LIKELIER, ReadingModel

SMALL = AskConfig(window=8, active=20, silent=20, hard=6, null_share=1.0, check=0, intruders=20)

CHARS = "".join(chr(95 + token) for token in (5, 9))


@pytest.fixture(scope="module")
def index():
    return with_neighbours()


@pytest.fixture
def walk(index, tmp_path):
    def run(model, *judges, **options):
        config = SMALL.model_copy(update={"judges": judges, **options})
        return ask(index, config, model, tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id})

    return run


@pytest.fixture
def scores_of(tmp_path):
    def read(latent, judge):
        store = ExplanationStore(tmp_path / "w.sqlite")
        return {s.metric: s for s in store.scores("planted", latent=latent, explainer="llm") if s.scorer == judge}

    return read


def judged_of(tmp_path, latent, judge):
    found = ExplanationStore(tmp_path / "w.sqlite").judgements("planted", latent)
    return {one.position: one for one in found if one.scorer == judge}


def test_surprisal_is_the_gain_in_nats(walk, scores_of, tmp_path):
    model = ReadingModel()
    walk(model, "surprisal")
    scores = scores_of(0, "surprisal")
    for metric in ("auroc", "balanced_accuracy", "recall", "specificity"):
        assert scores[metric].value == 1, "windows with the characters gain, and no others"
    assert scores["auroc"].null < 0.8 and scores["empty"].value == 0.5
    seen = {one.position: one for one in AskedStore(tmp_path / "w.sqlite").seen("planted", 0)}
    said = judged_of(tmp_path, 0, "surprisal")
    odds = {position: one.said / (1 - one.said) for position, one in said.items()}
    counts = {position: sum(char in CHARS for char in one.text) for position, one in seen.items()}
    most, least = max(counts, key=counts.get), min(counts, key=counts.get)
    gap = (counts[most] - counts[least]) * LIKELIER
    assert np.log(odds[most] / odds[least]) == pytest.approx(gap, abs=1e-6)


def test_a_server_without_log_probabilities_is_told_of_once(walk, scores_of):
    found = walk(ReadingModel(continuations=False), "surprisal", "detection")
    said = "Nothing was scored by surprisal: the server tells no log-probabilities of given text"
    assert found.unfit == said and found.n_unscored == 0 and found.n_left == 0
    (figure,) = [one for one in found.figures if one.name == "explain/llm/surprisal/auroc"]
    assert figure.value is None and "log-probabilities" in figure.failure
    assert scores_of(0, "detection")["auroc"].value == 1 and not scores_of(0, "surprisal")


def test_intruders_are_told_from_what_is_marked(walk, scores_of):
    walk(ReadingModel(of=CHARS), "intruder")
    scores = scores_of(0, "intruder")
    assert scores["accuracy"].value == 1 and scores["accuracy"].n == 20
    assert scores["accuracy_weak"].n + scores["accuracy_strong"].n == 20
    assert scores["accuracy"].null < 0.5, "without a latent there is no intruder"
    assert scores_of(3, "intruder")["accuracy"].value < 0.6, "noise has nothing in common"


@pytest.mark.parametrize("slips", [0.3, 0.6])
def test_wrong_intruders_are_what_is_measured(walk, scores_of, slips):
    walk(ReadingModel(of=CHARS, slips=slips), "intruder", intruders=100)
    score = scores_of(0, "intruder")["accuracy"]
    assert score.ci_low < 1 - slips < score.ci_high and score.value == pytest.approx(1 - slips, abs=0.12)


def test_the_intruder_stands_anywhere_and_is_of_no_other_kind(walk):
    model = ReadingModel(of=CHARS)
    walk(model, "intruder")
    asked = [one for one in model.asked if one.purpose == "intruder"]
    named = [int(model.answer(one).text[8]) for one in asked if "<<" in one.messages[1].content]
    assert set(named) == {1, 2, 3, 4, 5}


class Mumbling(ReadingModel):
    def answer(self, request):
        return Answer(text="either") if request.purpose == "intruder" else super().answer(request)


def test_an_intruder_that_is_not_named_is_a_failure_and_no_miss(walk, scores_of, tmp_path):
    found = walk(Mumbling(), "intruder")
    assert found.n_unscored == 4 and not scores_of(0, "intruder")
    failures = ExplanationStore(tmp_path / "w.sqlite").failures("planted", scorer="intruder")
    assert "none was answered: the judge names no passage: 'either'" in failures[0].reason


@pytest.mark.parametrize("continuations", [True, False])
def test_simulation_is_the_correlation_over_all_tokens(walk, scores_of, index, tmp_path, continuations):
    model = ReadingModel(continuations=continuations)
    walk(model, "simulation")
    scores, latent = scores_of(0, "simulation"), 0
    high = 9 / (1 + np.exp(-2.9)) if continuations else 9
    rows, said, true = {one.position: one for one in AskedStore(tmp_path / "w.sqlite").seen("planted", latent)}, [], []
    flat = index.tokens.reshape(-1)
    for position in rows:
        row = position // N_CTX * N_CTX
        start = next(s for s in (row, row + 8) if s <= position < s + 8)
        places = [p for p in range(start, start + 8) if index.counted[p]]
        said += [high if flat[p] in (5, 9) else 0 for p in places]
        true += [index.acts[p, latent] for p in places]
    assert scores["correlation"].value == pytest.approx(np.corrcoef(said, true)[0, 1], abs=1e-9)
    assert scores["correlation"].n == len(said) and scores["unanswered"].value == 0
    assert abs(scores["correlation"].null) < 0.5 and scores["lookup"].value > 0.99
    assert scores_of(3, "simulation")["correlation"].value < 0.6
    variant = AskedStore(tmp_path / "w.sqlite").of_latent("planted", 0)[1].variant
    assert ("all at once" in variant) == continuations


def test_sequential_judging_asks_less_and_covers_the_truth(walk, scores_of):
    whole, early = ReadingModel(0.1, 0.1), ReadingModel(0.1, 0.1)
    walk(whole, "detection", active=40, silent=40, hard=0)
    windows = {}
    for model, options in ((whole, {}), (early, {"looks": 5, "close": 0.2})):
        model.asked.clear()
        walk(model, "detection", active=40, silent=40, hard=0, per_request=1, seed=1 + len(options), **options)
        windows[len(options)] = sum(one.purpose == "detection" for one in model.asked)
    assert windows[2] < 0.8 * windows[0]
    score = scores_of(0, "detection")["balanced_accuracy"]
    assert score.ci_low < 0.9 < (score.ci_high or 1) and score.n < 80


class Edited(ReadingModel):
    """Whose readings are changed before they are sent."""

    def __init__(self, edit):
        super().__init__()
        self.edit = edit

    def answer(self, request):
        answer = super().answer(request)
        return self.edit(request, answer) if request.continuation else answer


def test_who_says_the_same_of_every_token_foretells_nothing(walk, scores_of):
    alike = (("3", -0.3), ("0", -1.7))

    def flat(request, answer):
        tokens = [one._replace(alternatives=alike) if one.alternatives else one for one in answer.tokens]
        return answer.model_copy(update={"tokens": tuple(tokens)})

    found = walk(Edited(flat), "simulation")
    (figure,) = [one for one in found.figures if one.name == "explain/llm/simulation/correlation"]
    assert figure.value == 0 and figure.n == 4, "a latent of which nothing is foretold counts in the median"
    assert {scores_of(latent, "simulation")["correlation"].value for latent in range(4)} == {0}


def test_a_token_of_no_probability_is_not_measured(walk, scores_of):
    at = [0]

    def now_and_then(request, answer):
        at[0] += 1
        first, *rest = answer.tokens
        return answer if at[0] % 10 else answer.model_copy(update={"tokens": (Token(first.text, -9999.0, ()), *rest)})

    walk(Edited(now_and_then), "surprisal")
    scores = scores_of(0, "surprisal")
    assert scores["auroc"].value == 1 and 0 < scores["unanswered"].value < 0.3


def test_what_is_in_no_token_of_its_own_is_said_to_be_missing(walk, tmp_path):
    whole = lambda request, answer: answer.model_copy(update={"tokens": (Token(answer.text, -3.0, ()),)})
    assert walk(Edited(whole), "simulation").n_unscored == 4
    with sqlite3.connect(tmp_path / "w.sqlite") as db:
        said = {reason for (reason,) in db.execute("SELECT failure FROM scoring WHERE scorer = 'simulation'")}
    assert len(said) == 1 and "no digit from 0 to 9" in said.pop()


@pytest.mark.parametrize("votes", [True, False])
def test_a_trial_of_which_nothing_is_read_is_no_missing_trial(index, votes):
    known = Known(Words(Evidence(index).validation, SMALL), "surprisal", lambda *_: iter(()), votes=votes)
    figure = known.figure([Tried((0, 0, 0, 0), float("nan"), "it broke")] * 6)
    assert figure.value is None and figure.n == 6 and figure.failure.endswith("could be read: it broke")
    assert known.figure([]).n == 0


def likelier(request, answer):
    """The note is likelier where its word stands in the passage, as it is for whoever understands."""
    passage = request.messages[0].content.rpartition("Passage: ")[2].partition("\nTurned up")[0]
    word = re.search(r'the word [“"]([^”"]*)[”"]', request.continuation)[1]
    return answer.model_copy(update={"tokens": (Token(answer.text, -9.0 + 3 * (word in passage), ()),)})


def unmoved(request, answer):
    return answer.model_copy(update={"tokens": (Token(answer.text, -9.0, ()),)})


@pytest.mark.parametrize(("edit", "auroc"), [(likelier, 1.0), (unmoved, 0.5)])
def test_whoever_reads_interventions_is_tried_on_words_that_stand_in_passages(index, monkeypatch, edit, auroc):
    monkeypatch.setattr(Words, "_is_word", lambda self, token: True)  # every token is a letter
    config = AskConfig(window=8, check=8)
    judge = Intervention(Evidence(index), HeldOut(index), config)
    known = Known(Words(Evidence(index).validation, config), judge.known, judge.weigh, votes=False)
    model = Edited(edit)
    told = dict(hold(model, enumerate(known.talks(model.capabilities())), most_open=8))
    figure = known.figure([told[number] for number in sorted(told)])
    assert figure.name == "explain/llm/judge_intervention" and figure.n == 8 and figure.null == 0.5
    assert figure.value == pytest.approx(auroc)


def test_a_rule_simulates_itself_and_has_a_null_of_its_own(walk, scores_of, index, tmp_path):
    inputs = {"index": index.id}
    explain(index, ExplainConfig(), tmp_path / "w.sqlite", tmp_path / "rules", inputs=inputs)
    model = ReadingModel()
    config = SMALL.model_copy(update={"judges": ("simulation",), "writer": "rule"})
    ask(index, config, model, tmp_path / "w.sqlite", tmp_path / "x", inputs=inputs)
    assert not [one for one in model.asked if one.purpose == "simulation"], "nobody is asked"
    store = ExplanationStore(tmp_path / "w.sqlite")
    scores = {s.metric: s for s in store.scores("planted", latent=0, explainer="rule") if s.scorer == "simulation"}
    assert scores["correlation"].value > 0.95 and abs(scores["correlation"].null) < 0.4


def test_few_windows_make_wide_intervals(walk, scores_of):
    walk(ReadingModel(of=CHARS, slips=0.4), "intruder", intruders=100)
    score = scores_of(0, "intruder")["accuracy"]
    assert score.n == 100 and score.ci_high - score.ci_low > 0.25, "there are some forty windows"


@pytest.mark.parametrize("before", ["", "\n", ":\n"])
def test_a_window_that_begins_with_a_blank_is_simulated_whatever_its_first_token_is(before):
    """Tokenizers join a line break and the blanks behind it, and what is read then begins before the window."""
    tokens = [" in", " May"]
    strengths = [(digit, -0.1 if digit == "7" else -9.0) for digit in "0123456789"]
    texts = [f"{before} in", "\t", "?", "\n", " May", "\t", "?", "\n"]
    said = [Token(text, -1.0, tuple(strengths) if text == "?" else ()) for text in texts]
    answer = Answer(text=" in\t?\n May\t?\n", tokens=tuple(said))
    assert _read_at_once(tokens, [answer]) == pytest.approx([7.0, 7.0], abs=0.05)
    parts = answer.model_copy(update={"tokens": (Token("", -1.0, ()), *said)})
    assert _read_at_once(tokens, [parts]) == pytest.approx([7.0, 7.0], abs=0.05) or before, "a part of a character"
    lost = answer.model_copy(update={"tokens": tuple(said[1:])})
    assert np.isnan(_read_at_once(tokens, [lost])).all()
