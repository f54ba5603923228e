"""What servers can do is found by asking, also where they leave out in silence what they cannot."""

import json
import random

import pytest

from sparselex.base.errors import UserError
from sparselex.llm.cache import AnswerCache
from sparselex.llm.config import LLMConfig
from sparselex.llm.connection import Reply
from sparselex.llm.estimate import CountingClient
from sparselex.llm.probe import context_of
from sparselex.llm.records import Answer, Capabilities
from sparselex.llm.talks import hold
from tests.llm.test_http import asked, client_of, question
from tests.llm.test_talks import talk, wanted
from tests.support.chat import Said, chat_server, completion, echo, error


@pytest.fixture
def database(tmp_path):
    return tmp_path / "sparselex.sqlite"


def able(*abilities, otherwise="ignored", status=400):
    """A server that can do these things, and leaves out or refuses the others."""

    def answer(body):
        wants = {name for name, field in FIELDS.items() if field in body}
        if otherwise == "refused" and (missing := wants - set(abilities)):
            return error(status, f"{missing} is not supported")
        text, logprobs = "Hello!", None
        if "seed" in wants:
            text = str(random.Random(body["seed"]).random() if "seed" in abilities else random.random())
        if "form" in wants and "form" in abilities:
            properties = body["response_format"]["json_schema"]["schema"]["properties"]
            text = json.dumps({name: one["enum"][0] for name, one in properties.items()})
        if "logprobs" in wants and "logprobs" in abilities:
            top = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -3.0}]
            logprobs = {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": top}]}
        return Said(completion(text, logprobs=logprobs))

    return answer


FIELDS = {"form": "response_format", "logprobs": "logprobs", "seed": "seed"}
SUBSETS = [(), ("form",), ("logprobs",), ("seed",), ("form", "logprobs", "seed")]


@pytest.mark.parametrize("otherwise", ["ignored", "refused"])
@pytest.mark.parametrize("abilities", SUBSETS, ids="+".join)
def test_what_a_server_can_do_is_found_once(database, abilities, otherwise):
    with chat_server(able(*abilities, otherwise=otherwise)) as server:
        server.models = Said({"data": [{"id": "other", "max_model_len": 1}, {"id": "m", "max_model_len": 4096}]})
        wanted = Capabilities(
            schema_answers="form" in abilities, logprobs="logprobs" in abilities, seed="seed" in abilities, n_ctx=4096
        )
        for _ in range(2):
            with client_of(server, database, can=None) as client:
                assert client.capabilities() == wanted
                assert client.ledger.total().failures <= 8
        # A refused seed is left out, and asked without.
        assert len(server.asked) <= (9 if otherwise == "ignored" else 12)


def test_a_hiccup_is_not_remembered(database):
    broken = lambda body: error(500, "crashed") if "response_format" in body else able("seed", "logprobs")(body)
    with chat_server(broken) as server:
        with client_of(server, database, can=None) as client:
            assert client.capabilities() == Capabilities(logprobs=True, seed=True) and client.stopped is None
        server.answer = able("form", "seed", "logprobs")
        with client_of(server, database, can=None) as client:
            assert client.capabilities().schema_answers


def test_the_first_question_finds_out(database):
    with chat_server(able("seed")) as server, client_of(server, database, can=None) as client:
        asked(client, "a", form={"type": "object"})
        assert "response_format" not in server.asked[-1] and len(server.asked) > 4


def test_a_model_that_answers_nothing_is_an_error(database):
    with (
        chat_server(lambda body: error(400, "no model m")) as server,
        client_of(server, database, can=None) as client,
        pytest.raises(UserError, match="no model m"),
    ):
        client.capabilities()


LISTS = {
    "vllm": ([{"id": "m", "max_model_len": 4096}], 4096),
    "llama.cpp": ([{"id": "file.gguf", "meta": {"n_ctx_train": 8192}}], 8192),
    "hosted": ([{"id": "m", "context_length": 10}, {"id": "n", "context_length": 11}], 10),
    "not listed": ([{"id": "a", "n_ctx": 3}, {"id": "b", "n_ctx": 4}], None),
    "silent": ([{"id": "m"}], None),
    "nonsense": ([{"id": "m", "n_ctx": "many"}], None),
    "numbers": ([3], None),
    "none": (None, None),
}


@pytest.mark.parametrize(("listed", "size"), LISTS.values(), ids=LISTS)
def test_the_context_is_what_the_list_of_models_says(listed, size):
    assert context_of(Reply(200, {}, json.dumps({"data": listed}).encode()), "m") == size
    assert context_of(Reply(404, {}, b""), "m") is None and context_of(None, "m") is None


def test_a_run_is_counted_without_asking(database):
    config = LLMConfig(
        url="http://127.0.0.1:9/v1",
        model="m",
        budget_requests=1,
        usd_per_million_prompt=1.0,
        usd_per_million_answer=2.0,
    )
    client = CountingClient(config, database, lambda request: Answer(text="x", n_answer_tokens=5))
    found = dict(hold(client, ((n, talk(n, [2, 1])) for n in range(10)), most_open=3))
    assert found == {n: [["x", "x"], ["x"]] for n in range(10)} and client.stopped is None
    total = client.ledger.total()
    assert (total.requests, total.answer_tokens, total.cached) == (30, 150, 0)
    assert total.prompt_tokens == 30 * (3 + 4)  # of "0 0 0": three words, and four for the message
    assert total.usd == pytest.approx((210 + 300) / 1e6)
    client.submit(question("0 0 0", max_tokens=9)).result()
    assert client.ledger.total().cached == 1


def test_what_is_at_hand_is_not_counted(database):
    with chat_server(echo) as server, client_of(server, database) as client:
        dict(hold(client, [(0, talk(0, [2, 1]))], most_open=1))
    counting = CountingClient(client.config, database, lambda request: Answer(text="invented"))
    assert dict(hold(counting, [(0, talk(0, [2, 1]))], most_open=1)) == {0: wanted(0, [2, 1])}
    assert (counting.ledger.total().cached, counting.ledger.total().requests) == (3, 0)
    assert AnswerCache(database).capabilities(server.url, "m") == counting.capabilities()
