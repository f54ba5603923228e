"""Plain text that servers write on, and those that do not."""

import pytest

from sparselex.base.figures import Failure
from sparselex.llm.records import Answer, Capabilities, Message, Request
from tests.llm.test_http import ALL, client_of
from tests.support.chat import Said, chat_server, written_on

CAN = ALL.model_copy(update={"plain": True})
TEXT = "Text: a | b\nMeaning: `"


@pytest.fixture
def database(tmp_path):
    return tmp_path / "sparselex.sqlite"


def plain(text=TEXT, **more):
    return Request(messages=(Message("user", text),), **{"max_tokens": 9, "plain": True, "stop": "\n"} | more)


def test_it_is_sent_as_it_is_and_what_came_is_kept(database):
    with chat_server(complete=written_on(lambda body: "a` or `b`")) as server:
        for _ in range(2):
            with client_of(server, database, can=CAN) as client:
                answer = client.submit(plain(seed=3)).result()
                assert answer.text == "a` or `b`" and not answer.cut and answer.n_answer_tokens == 1
        (body,) = server.asked
        wanted = {"prompt": TEXT, "max_tokens": 9, "temperature": 0.0, "seed": 3, "stop": ["\n"], "model": "m"}
        assert body == wanted


@pytest.mark.parametrize(
    ("said", "reason", "text", "cut"),
    [("a`\nText: b", "length", "a`", False), ("a` and", "length", "a` and", True), ("", "stop", "", False)],
)
def test_an_answer_ends_where_it_is_to_whatever_the_server_does(database, said, reason, text, cut):
    with (
        chat_server(complete=written_on(lambda body: said, reason)) as server,
        client_of(server, database, can=CAN) as client,
    ):
        answer = client.submit(plain()).result()
        assert (answer.text, answer.cut) == (text, cut)


@pytest.mark.parametrize("body", ["[]", {"choices": []}, {"choices": [{"text": 5}]}, {"choices": [{"message": {}}]}])
def test_what_has_no_text_is_a_failure(database, body):
    with (
        chat_server(complete=lambda asked: Said(body)) as server,
        client_of(server, database, can=CAN) as client,
    ):
        client.submit(Request(messages=(Message("user", "x"),), max_tokens=1)).result()
        assert "no text that goes on" in client.submit(plain()).result().reason and len(server.asked) == 2


def test_an_error_of_another_host_within_a_good_answer_is_waited_out(database):
    said = [Said({"error": {"code": 503, "message": "busy"}}), written_on(lambda body: "a`")({"prompt": "x"})]
    with (
        chat_server(complete=lambda body: said.pop(0)) as server,
        client_of(server, database, can=CAN) as client,
    ):
        client.submit(Request(messages=(Message("user", "x"),), max_tokens=1)).result()
        assert client.submit(plain()).result().text == "a`" and not said


def test_the_probe_finds_who_writes_on(database):
    for number, (complete, can) in enumerate(
        [(written_on(lambda body: " seven"), True), (written_on(lambda body: body["prompt"] + " seven"), False)]
    ):
        with (
            chat_server(complete=complete) as server,
            client_of(server, database.with_name(f"{number}.sqlite"), can=None) as client,
        ):
            assert client.capabilities().plain is can and client.capabilities().continuations


def test_where_nobody_does_nothing_is_sent(database):
    with chat_server() as server, client_of(server, database, can=ALL) as client:
        found = client.submit(plain()).result()
        assert isinstance(found, Failure) and found.reason.endswith("writes on from no plain text") and not server.asked
        assert client.ledger.total().failures == 1


def test_several_are_asked_one_by_one(database):
    with (
        chat_server(complete=written_on(lambda body: f"{body['seed']}`")) as server,
        client_of(server, database, can=CAN.model_copy(update={"n": True})) as client,
    ):
        answer = client.submit(plain(n=3, temperature=0.7, seed=1)).result()
        assert isinstance(answer, Answer) and len({answer.text, *answer.others}) == 3 == len(server.asked)


def test_plain_text_is_one_message_and_nothing_else():
    for wrong in ({"choices": ("a", "b")}, {"form": {"type": "object"}}, {"continuation": "x"}):
        with pytest.raises(ValueError, match="plain text is one message"):
            plain(**wrong)
    with pytest.raises(ValueError, match="ends at a given one"):
        Request(messages=(Message("user", "x"),), max_tokens=1, stop="\n")
    assert Capabilities().plain is False
