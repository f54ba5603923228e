"""Several answers to one question: in one request where the server draws them, in as many where it does not."""

import random

import pytest

from sparselex.base.figures import Failure
from sparselex.llm.draws import draws
from sparselex.llm.estimate import CountingClient
from sparselex.llm.records import Answer
from tests.llm.test_http import ALL, client_of, question
from tests.support.chat import Said, chat_server, completion, error, last

CAN = ALL.model_copy(update={"n": True})


@pytest.fixture
def database(tmp_path):
    return tmp_path / "sparselex.sqlite"


def drawn(**more):
    return question("draw", **{"temperature": 1.0, "seed": 7, "n": 4} | more)


def several(body):
    """As many answers as are wanted, drawn by the seed."""
    rng = random.Random(body.get("seed"))
    texts = [str(rng.random()) for _ in range(body.get("n", 1))]
    said = completion(texts[0], usage=(10, 2 * len(texts)))
    said["choices"] += [completion(text)["choices"][0] for text in texts[1:]]
    return Said(said)


def one(body):
    """One answer, whatever is wanted."""
    return several({**body, "n": 1})


def test_a_server_that_draws_several_is_asked_once(database):
    with chat_server(several) as server, client_of(server, database, can=CAN) as client:
        answer = client.submit(drawn()).result(20)
        assert len({answer.text, *answer.others}) == 4 and server.asked[0]["n"] == 4
        assert client.submit(drawn()).result(20) == answer and len(server.asked) == 1
        assert client.ledger.total().answer_tokens == 8 and client.ledger.total().requests == 1
        client.submit(drawn(n=3)).result(20)
        client.submit(drawn(n=1)).result(20)
        assert "n" not in server.asked[2] and len(server.asked) == 3


def test_one_that_does_not_is_asked_for_each(database):
    with chat_server(one) as server, client_of(server, database) as client:
        answer = client.submit(drawn()).result(20)
        assert len({answer.text, *answer.others}) == 4 and len({body["seed"] for body in server.asked}) == 4
        assert client.ledger.total().requests == 4 and (answer.n_prompt_tokens, answer.n_answer_tokens) == (40, 8)
        assert client.submit(drawn()).result(20) == answer and len(server.asked) == 4
    with client_of(server, database, replay=True) as client:
        assert client.submit(drawn()).result(20) == answer
    counting = CountingClient(client.config, database, lambda request: Answer(text="x", n_answer_tokens=5))
    assert counting.submit(drawn()).result() == answer and counting.ledger.total().cached == 4
    made_up = counting.submit(drawn(seed=8)).result()
    assert len(made_up.others) == 3 and counting.ledger.total().requests == 4


def test_too_few_are_a_counted_failure(database):
    with chat_server(one) as server, client_of(server, database, can=CAN) as client:
        client.submit(question("first")).result(20)
        said = client.submit(drawn()).result(20)
        assert isinstance(said, Failure) and "4 answers were wanted, and 1 came" in said.reason
        assert client.ledger.total().failures == 1 and client.stopped is None


def test_a_draw_that_fails_fails_the_question(database):
    bad = draws(drawn())[2].seed
    refusing = lambda body: error(400, "no") if body.get("seed") == bad else one(body)
    with chat_server(refusing) as server, client_of(server, database) as client:
        assert isinstance(client.submit(drawn()).result(20), Failure)
        server.answer = one
        assert len(client.submit(drawn()).result(20).others) == 3
        # What was paid for is not paid again.
        assert len(server.asked) == 5


@pytest.mark.parametrize(("answer", "can"), [(several, True), (one, False)], ids=["several", "one"])
def test_the_probe_finds_who_draws_several(database, answer, can):
    with chat_server(answer) as server, client_of(server, database, can=None) as client:
        assert client.capabilities().n is can


def test_seeds_of_draws_are_apart():
    seeds = [one.seed for seed in range(50) for one in draws(drawn(seed=seed, n=16))]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("more", [{"temperature": 0.0}, {"n": 0}, {"n": 129}])
def test_several_answers_are_drawn(more):
    with pytest.raises(ValueError):
        drawn(**more)


def test_the_first_draw_is_that_of_the_question(database):
    with chat_server(one) as server, client_of(server, database) as client:
        alone = client.submit(drawn(n=1)).result(20)
        assert client.submit(drawn()).result(20).text == alone.text and len(server.asked) == 4
        assert {last(body) for body in server.asked} == {"draw"}
