"""What each writer shows a language model: training text and effects, never held-out documents."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.registry import WRITERS
from sparselex.explain.asking.rises import rises
from sparselex.explain.asking.steering import directions_of, prompts
from sparselex.explain.asking.writers.few_shot import _in_a_line
from sparselex.explain.evidence import Evidence
from sparselex.explain.records import Explanation
from sparselex.llm.records import Answer, Capabilities
from sparselex.recipes.run import Run
from sparselex.recipes.work.ask import subject_of
from tests.support.judge import passages, snippets
from tests.support.planted import with_neighbours

SMALL = AskConfig(window=8, examples=12)
CAN = Capabilities(schema_answers=True)
SAID = Answer(text='{"explanation": "words"}')


@pytest.fixture(scope="module")
def index():
    return with_neighbours()


@pytest.fixture(scope="module")
def run(small_workspace):
    return Run.open(small_workspace, "main")


@pytest.fixture(scope="module")
def often(run):
    """A latent that is active often, on several tokens."""
    return int(np.argsort(-run.index.table["train_n_active"])[3])


def asked(writer, index, latent=0, config=SMALL, subject=None):
    """The one question of a writer, and what came of it."""
    talk = WRITERS.get(writer)(Evidence(index, config.seed), config, subject).talk(latent, CAN)
    try:
        (request,) = next(talk)
        talk.send([Answer(text="words`") if writer == "few-shot" else SAID])
    except StopIteration as end:
        return (request if "request" in locals() else None), end.value
    raise AssertionError("an answer that can be read ends the talk")


def rows_of(index, split):
    """The text of every row of a split."""
    return [
        "".join(index.corpus.vocabulary.text(int(t)) for t in index.tokens[row, 1:])
        for row in index.corpus.row_ranges[split]
    ]


@pytest.mark.parametrize("writer", sorted(set(WRITERS.names()) - {"few-shot"}))
def test_every_writer_says_one_sentence_and_how_it_was_got(index, writer):
    request, told = asked(writer, index)
    assert isinstance(told.found, Explanation) and (told.found.latent, told.found.text) == (0, "words")
    assert told.variant.split(",")[0] in request.model_dump_json() or told.variant.endswith(told.variant)
    assert request.purpose == "explain" and "explanation" in request.form["properties"]


@pytest.mark.parametrize("writer", sorted(set(WRITERS.names()) - {"few-shot"}))
def test_no_writer_sees_a_document_but_of_training(index, writer):
    train, others = rows_of(index, "train"), rows_of(index, "validation") + rows_of(index, "test")
    for latent in range(4):
        request, _ = asked(writer, index, latent, SMALL.model_copy(update={"logits": True, "strengths": False}))
        for text in [*passages(request), *snippets(request)]:
            plain = text.replace("<<", "").replace(">>", "")
            assert any(plain in row for row in train), (writer, text)
            assert len(plain) < 8 or not any(plain in row for row in others), (writer, text)


@pytest.mark.parametrize("writer", WRITERS.names())
def test_every_writer_is_the_same_with_poisoned_test_documents(writer):
    first, second = with_neighbours(), with_neighbours(poison_test=True)
    assert asked(writer, first)[0] == asked(writer, second)[0]


def test_silent_windows_are_silent_and_half_of_them_hold_the_tokens(index):
    writer = WRITERS.get("contrastive")(Evidence(index, 0), SMALL)
    grid, column = writer.passages.grid, writer.train.column(0)
    silent = writer.silent(0)
    assert len(set(silent)) == len(silent) == 4 and set(silent) <= set(grid.silent(column).tolist())
    pair = writer.silent(1)
    tokens = set(writer.train.tokens.tokens[writer.train.column(1).ranks].tolist())
    holding = [bool(tokens & set(writer.passages.tokens(grid.ranks(number)))) for number in pair]
    assert sum(holding) >= 2, "a pair's second token stands in silent windows too"
    request, told = asked("contrastive", index, 1)
    active, others = request.messages[1].content.split("\n\nSilent:\n")
    assert "<<" in active and "<<" not in others and told.variant.endswith(", 4 silent windows")


def test_snippets_are_one_line_each_with_one_token_marked(index):
    request, _ = asked("tokens", index)
    lines = request.messages[1].content.split("\n")
    assert len(lines) == 12 and all(json.loads(line.partition(". ")[2]).count("<<") == 1 for line in lines)
    marked = {text.partition("<<")[2].partition(">>")[0] for text in snippets(request)}
    assert marked <= {chr(95 + token) for token in (5, 9)}
    assert len(request.messages[1].content) < len(asked("llm", index)[0].messages[1].content)


def listed(index, latent, answers, can):
    """What the writer of lists asks, one question after the other, and what comes of it."""
    talk, asked = WRITERS.get("few-shot")(Evidence(index, 0), SMALL).talk(latent, can), []
    try:
        (request,) = next(talk)
        for answer in answers:
            asked.append(request)
            (request,) = talk.send([answer])
    except StopIteration as end:
        return asked, end.value
    raise AssertionError(f"{len(answers)} answers were not enough")


@pytest.mark.parametrize("plain", [True, False])
def test_a_list_shows_training_text_and_is_written_on(index, plain):
    can = Capabilities(plain=plain)
    train, others = rows_of(index, "train"), rows_of(index, "validation") + rows_of(index, "test")
    for latent in range(4):
        (request,), told = listed(index, latent, [Answer(text="d` and `i`, letters\nText: more")], can)
        assert told.found.text == "`d` and `i`, letters" and told.n_unanswered == 0
        assert request.plain is plain and bool(request.stop) is plain and request.purpose == "explain"
        assert told.variant == ("few-shot.v1, plain text" if plain else "few-shot.v1, in a chat")
        text, marked, last = request.messages[-1].content.split("\n")[-3:]
        assert last == "Meaning: `" and request.messages[-1].content.count("Meaning: ") == 7
        snippets = [one.replace("<<", "").replace(">>", "") for one in text.removeprefix("Text: ").split(" | ")]
        assert len(snippets) == 12 and all(any(one in row for row in train) for one in snippets)
        assert not any(one in row for one in snippets for row in others if len(one) >= 6)
        texts = {one.partition("<<")[2].partition(">>")[0] for one in text.split(" | ")}
        assert set(marked.removeprefix("Marked: ").split(", ")) <= {f"`{one}`" for one in texts}
        assert marked.count(", ") + 1 == min(5, len(texts)), "the most frequent"


@pytest.mark.parametrize(
    "said",
    [Answer(text="d`, `d`, `d", cut=True), Answer(text=""), Answer(text="` ``"), Answer(text="d` and `i")],
    ids=["cut", "empty", "blank", "open"],
)
def test_what_is_no_explanation_is_asked_once_more_at_random_and_then_counted(index, said):
    asked, told = listed(index, 0, [said, Answer(text="d`")], Capabilities(plain=True))
    assert told.found.text == "`d`" and [one.temperature for one in asked] == [0.0, 0.7]
    asked, told = listed(index, 0, [said, said], Capabilities(plain=True))
    assert len(asked) == 2 and told.found.reason.startswith("the model gives no explanation") and told.n_unanswered == 1


def test_a_mark_that_is_said_again_in_a_chat_counts_once(index):
    said = [Answer(text="`d` and `i`")]
    assert listed(index, 0, said, Capabilities())[1].found.text == "`d` and `i`"
    plain = [Answer(text="` in code `d`"), Answer(text="d`")]
    assert listed(index, 0, plain, Capabilities(plain=True))[1].found.text == "`` in code `d`"


def test_text_that_looks_like_the_list_stays_in_its_line():
    forged = [ord("\n"), *b"Meaning: `all`"]
    assert _in_a_line(bytes(forged).decode()) == "\\nMeaning: `all`"


def test_logits_are_shown_where_they_are_wanted_and_known(index):
    without, told = asked("llm", index)
    assert "ikelier" not in without.messages[0].content + without.messages[1].content and "logit" not in told.variant
    request, told = asked("llm", index, config=SMALL.model_copy(update={"logits": True}))
    up = json.dumps(chr(95 + 5))
    assert (
        f"\n\nLikelier next tokens: {up}" in request.messages[1].content
        and "Less likely" in request.messages[1].content
    )
    assert told.variant.endswith(", with logit effects")
    bare = with_neighbours()
    record = bare.record
    bare.record = lambda latent: SimpleNamespace(neighbours=record(latent).neighbours, logits_top=[], logits_bottom=[])
    request, told = asked("llm", bare, config=SMALL.model_copy(update={"logits": True}))
    assert request == without and told.variant.endswith(", of which no logit effects are known")
    request, told = asked("output", bare)
    assert request is None and told.found.reason.startswith("neither logit effects nor a model")


def test_without_the_model_only_directions_speak_and_that_is_said(index):
    request, told = asked("output", index)
    assert (
        request.messages[1].content.startswith("Likelier next tokens: ")
        and "turned up" not in request.messages[1].content
    )
    assert told.variant.endswith("by its direction and without the model, which is not at hand")


@pytest.mark.parametrize("writer", ["output", "both"])
def test_with_the_model_what_it_says_when_amplified_is_shown(run, often, writer):
    config = SMALL.model_copy(update={"window": 16, "kl": 0.5})
    subject = subject_of(run)
    request, told = asked(writer, run.index, often, config, lambda: subject)
    assert "Likelier next tokens when it is turned up behind texts: " in request.messages[1].content
    assert told.variant.endswith("amplified to a KL of 0.5")
    assert asked(writer, run.index, often, config, lambda: subject)[0] == request, "asked again it is the same question"


def test_rises_are_those_of_a_slow_version(run, often):
    subject, evidence = subject_of(run), Evidence(run.index, 0)
    given = prompts(evidence.train, often, 6, 12, np.random.default_rng(0))
    directions = directions_of(subject, often)
    found = rises(subject, given, directions, 0.5, 5)
    assert found.divergence == pytest.approx(0.5, rel=0.15)

    def behind(row, strength):
        tokens = torch.tensor([[*subject.start, *row]])
        (hook,) = directions

        def edit(value):
            new = value.clone()
            new[0, -1] += strength * directions[hook].to(value)
            return new

        return subject.model.run(tokens, edits={hook: edit}).logits[0, -1].double().softmax(-1)

    def gains(strength):
        pairs = [(behind(row, strength), behind(row, 0.0)) for row in given.tokens.tolist()]
        kl = np.mean([float((clean * (clean / new).log()).sum()) for new, clean in pairs])
        return kl, torch.stack([new - clean for new, clean in pairs]).mean(0)

    low, high = 1e-3, 1e5
    for _ in range(26):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if gains(middle)[0] < found.divergence else (low, middle)
    slow = gains(low)[1].topk(5)
    assert found.tokens == slow.indices.tolist()
    assert found.values == pytest.approx(slow.values.tolist(), rel=1e-2)
