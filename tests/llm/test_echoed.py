"""Log-probabilities of a given text from servers, as each of them writes these, and from those that cannot."""

import json

import pytest

from sparselex.base.figures import Failure
from sparselex.llm.echoed import read_echo
from sparselex.llm.records import Answer, Capabilities, Message, Request
from sparselex.llm.tokens import first_behind, starts_of
from tests.llm.test_http import ALL, client_of
from tests.support.chat import Said, chat_server, error, logprob, pieces, scored

CAN = ALL.model_copy(update={"continuations": True})
BEFORE, BEHIND = "The words are: red", " green, bl\u00fce\n"


@pytest.fixture
def database(tmp_path):
    return tmp_path / "sparselex.sqlite"


def reading(before=BEFORE, behind=BEHIND, **more):
    return Request(messages=(Message("user", before),), continuation=behind, max_tokens=1, purpose="read", **more)


def expected(before=BEFORE, behind=BEHIND, begins=""):
    """Text and log-probability of each token of the continuation, one after the other."""
    found, so_far = [], begins
    for piece in pieces(before + behind):
        if len(so_far) + len(piece) > len(begins + before):
            found.append((piece, logprob(piece, so_far)))
        so_far += piece
    return found


def strict(body):
    """A server that insists on writing something."""
    return scored(body) if body["max_tokens"] else error(400, "max_tokens must be at least 1")


def breaking(body):
    """One that breaks where it may write nothing."""
    return scored(body) if body["max_tokens"] else error(500, "Internal Server Error")


def without_offsets(body):
    said = scored(body)
    del said.body["choices"][0]["logprobs"]["text_offset"]
    return said


SERVERS = {
    "plain": (scored, ""),
    "begins every text": (lambda body: scored(body, begins="<s>"), "<s>"),
    "writes": (strict, ""),
    "breaks": (breaking, ""),
    "no offsets": (without_offsets, ""),
}


@pytest.mark.parametrize(("complete", "begins"), SERVERS.values(), ids=SERVERS)
def test_tokens_are_those_of_the_continuation(database, complete, begins):
    with chat_server(complete=complete) as server, client_of(server, database, can=CAN) as client:
        answer = client.submit(reading(top_logprobs=2)).result(20)
        assert answer.text == BEHIND
        assert [(t.text, t.logprob) for t in answer.tokens] == expected(begins=begins)
        assert all([text for text, _ in token.alternatives] == [token.text, "else"] for token in answer.tokens)
        assert answer.n_prompt_tokens == len(pieces(BEFORE + BEHIND)) + bool(begins) and not answer.n_answer_tokens
        # A token that begins before the border and ends behind it belongs to what stands behind.
        inside = client.submit(reading("The wor", "ds are")).result(20)
        assert [token.text for token in inside.tokens] == [" words", " are"] and inside.tokens[0].alternatives == ()
        first = client.submit(reading("", "all of it")).result(20)
        assert [token.text for token in first.tokens] == ([*pieces("all of it")] if begins else [" of", " it"])


def test_it_is_one_question_like_any_other(database):
    with chat_server(complete=scored) as server:
        with client_of(server, database, can=CAN) as client:
            first = client.submit(reading()).result(20)
            assert client.submit(reading()).result(20) == first and len(server.asked) == 1
            account = client.ledger.accounts()["read"]
            n_tokens = len(pieces(BEFORE + BEHIND))
            assert (account.requests, account.cached, account.prompt_tokens, account.answer_tokens) == (
                1,
                1,
                n_tokens,
                0,
            )
            assert account.cached_tokens == n_tokens
            client.submit(reading(BEFORE + BEHIND[:3], BEHIND[3:])).result(20)
            assert len(server.asked) == 2
        with client_of(server, database, can=None, replay=True) as client:
            assert client.submit(reading()).result(20) == first
            assert isinstance(client.submit(reading("other")).result(20), Failure)
        with client_of(server, database, can=None, budget_tokens=2) as client:
            assert "budget of 2 tokens" in client.submit(reading("other")).result(20).reason
        assert len(server.asked) == 2


def table(**columns):
    return {"choices": [{"text": "x", "logprobs": columns}]}


UNABLE = {
    "no such page": error(404, "no such page"),
    "refuses": error(400, "echo is not supported"),
    "no log-probabilities": Said({"choices": [{"text": BEFORE + BEHIND, "logprobs": None}]}),
    "of the answer alone": Said(table(tokens=[" end"], token_logprobs=[-1.0])),
    "short": Said(table(tokens=[BEFORE, BEHIND], token_logprobs=[-1.0])),
    "nothing": Said(table(tokens=[BEFORE, BEHIND], token_logprobs=[-1.0, float("nan")])),
    "a chat": Said({"choices": [{"message": {"role": "assistant", "content": "red"}}]}),
}


@pytest.mark.parametrize("said", UNABLE.values(), ids=UNABLE)
def test_what_a_server_does_not_tell_is_a_counted_failure(database, said):
    with chat_server(complete=lambda body: said) as server:
        with client_of(server, database, can=CAN) as client:
            assert client.submit(Request(messages=(Message("user", "hi"),), max_tokens=5)).result(20).text
            assert isinstance(client.submit(reading()).result(20), Failure)
            assert client.ledger.accounts()["read"].failures == 1 and client.stopped is None
        with client_of(server, database, can=ALL) as client:
            before = len(server.asked)
            assert "tells no log-probabilities" in client.submit(reading()).result(20).reason
            assert client.ledger.accounts()["read"].failures == 1 and len(server.asked) == before


ABLE = {"plain": scored, "writes": strict, "breaks": breaking, "no offsets": without_offsets}


@pytest.mark.parametrize("complete", ABLE.values(), ids=ABLE)
def test_the_probe_finds_who_tells_them(database, complete):
    with chat_server(complete=complete) as server, client_of(server, database, can=None) as client:
        assert client.capabilities().continuations


@pytest.mark.parametrize("said", UNABLE.values(), ids=UNABLE)
def test_the_probe_finds_who_does_not(database, said):
    with chat_server(complete=lambda body: said) as server:
        for _ in range(2):
            with client_of(server, database, can=None) as client:
                assert client.capabilities().model_copy(update={"plain": False}) == Capabilities()
            n_asked, server.asked = len(server.asked), server.asked[:0]
        assert n_asked == 0


def test_alternatives_of_a_given_text_are_asked_for_where_those_of_an_answer_are_not_told(database):
    can = Capabilities(continuations=True)
    with chat_server(complete=scored) as server, client_of(server, database, can=can) as client:
        tokens = client.submit(reading(top_logprobs=2)).result(20).tokens
        assert server.asked[0]["logprobs"] == 2 and all(len(token.alternatives) == 2 for token in tokens)


def test_what_an_earlier_version_found_is_found_anew(database):
    with chat_server(complete=scored) as server, client_of(server, database, can=None) as client:
        earlier = Capabilities(schema_answers=True, logprobs=False, seed=False, choices=False, n_ctx=5)
        with client._cache._database.writing() as db:
            kept = earlier.model_dump_json(exclude={"continuations"})
            db.execute("INSERT INTO llm_capabilities VALUES (?, ?, ?)", (server.url, "m", kept))
        assert client.capabilities().continuations and not client.capabilities().schema_answers


def test_offsets_are_believed_where_tokens_do_not_spell_the_text():
    request = reading("Red ", "GREEN")
    lower = table(tokens=["red", " ", "green"], token_logprobs=[None, -1.0, -2.0], text_offset=[0, 3, 4])
    answer = read_echo(json_of(lower), request, 0)
    assert isinstance(answer, Answer) and [(t.text, t.logprob) for t in answer.tokens] == [("green", -2.0)]
    shifted = table(tokens=["red", " ", "green"], token_logprobs=[None, -1.0, -2.0], text_offset=[0, 6, 7])
    assert not isinstance(read_echo(json_of(shifted), request, 0), Answer)


def json_of(body):
    return json.dumps(body).encode()


SPELLED = {
    "plain": (["a", " b"], "a b", [0, 1]),
    "a blank before": ([" a", " b"], "a b", [0, 1]),
    "parts": (["a", "\ufffd", "\ufffd", "b"], "a\U0001f600b", [0, 1, 1, 2]),
    "bytes": (["a", "bytes:\\xf0\\x9f", "bytes:\\x98\\x80"], "a\U0001f600", [0, 1, 1]),
    "empty": (["a", "", "\u00e9"], "a\u00e9", [0, 1, 1]),
    "other": (["a", "c"], "a b", None),
    "too few": (["a"], "a b", None),
    "too many": (["a", " b", " c"], "a b", None),
}


@pytest.mark.parametrize(("tokens", "text", "starts"), SPELLED.values(), ids=SPELLED)
def test_tokens_stand_where_they_spell_the_text(tokens, text, starts):
    assert starts_of(tokens, text) == starts


def test_parts_of_a_character_at_the_border_stand_behind_it():
    starts = starts_of(["a", "\ufffd", "\ufffd", "b"], "a\U0001f600b")
    assert [first_behind(starts, border, 3) for border in range(4)] == [0, 1, 3, 4]
