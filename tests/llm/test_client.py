"""Every client keeps what clients promise, and the check of that finds who does not."""

import json
from concurrent.futures import Future

import pytest

from sparselex.base.figures import Failure
from sparselex.llm.local import LocalClient
from sparselex.llm.records import Answer, Capabilities
from sparselex.recipes.work.ask import speaker_of
from sparselex.testing import check_client
from tests.llm.test_http import client_of, question
from tests.support.chat import Said, chat_server, completion, error, last, scored


@pytest.fixture
def database(tmp_path):
    return tmp_path / "sparselex.sqlite"


def able(body):
    """A server that can do all that is asked for."""
    if len(last(body)) > 4000:
        return error(400, "longer than the context")
    text = f"{last(body)} {body.get('seed')}"
    if "response_format" in body:
        properties = body["response_format"]["json_schema"]["schema"]["properties"]
        text = json.dumps({name: one.get("enum", ["hello"])[0] for name, one in properties.items()})
    top = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -3.0}]
    logprobs = {"content": [{"token": "Yes", "logprob": -0.1, "top_logprobs": top}]} if "logprobs" in body else None
    said = completion(text, logprobs=logprobs)
    said["choices"] += [completion(f"{text} {n}")["choices"][0] for n in range(1, body.get("n", 1))]
    return Said(said)


def test_one_of_a_server_that_can_do_everything(database):
    with chat_server(able, complete=scored) as server:
        server.models = Said({"data": [{"id": "m", "max_model_len": 1000}]})
        with client_of(server, database, can=None) as client:
            found = check_client(client)
            assert found == Capabilities(
                schema_answers=True, logprobs=True, seed=True, n=True, continuations=True, n_ctx=1000
            )


def test_one_of_a_server_that_can_do_nothing(database):
    other = database.with_name("other.sqlite")
    with (
        chat_server() as server,
        client_of(server, database, can=None) as client,
        client_of(server, other, budget_requests=1) as stopped,
    ):
        stopped.submit(question()).result(20)
        stopped.submit(question("other")).result(20)
        assert check_client(client, stopped=stopped) == Capabilities()


def test_one_of_a_model_in_this_process():
    with LocalClient(speaker_of("embedded")) as client:
        found = check_client(client)
        assert found.choices and found.continuations and found.n and found.seed and found.plain


class Wrong:
    """Answers everything, but for one fault."""

    model, stopped = "wrong", None

    def __init__(self, fault):
        self.fault, self.n_asked = fault, 0

    def capabilities(self):
        return Capabilities(continuations=self.fault == "sums", schema_answers=self.fault == "form")

    def submit(self, request):
        self.n_asked += 1
        done = Future()
        done.set_result(self._answer(request))
        return done

    def _answer(self, request):
        if self.fault == "nothing":
            return Failure(subject="x", reason="no")
        if self.fault == "none":
            return None
        if request.continuation:
            if self.fault == "sums":
                words = request.continuation.split(" ")[1:]
                record = [(" " + word, -float(len(words)), ()) for word in words]
                return Answer.model_validate({"text": request.continuation, "tokens": record})
            return Failure(subject="x", reason="no")
        if request.plain and self.fault != "plain":
            return Failure(subject="x", reason="no")
        text = str(self.n_asked) if self.fault == "order" else "{}"
        n = 1 if self.fault == "few" else request.n
        return Answer(text=text, others=("x",) * (n - 1))


FAULTS = {
    "nothing": "a plain question is answered",
    "none": "a failure in place",
    "order": "equal questions have equal answers",
    "few": "as many answers come",
    "form": "keeps to its schema",
    "plain": "cannot be written on is a failure",
    "sums": "add up to that of the whole",
}


@pytest.mark.parametrize(("fault", "promise"), FAULTS.items())
def test_who_does_not_is_found(fault, promise):
    with pytest.raises(AssertionError, match=promise):
        check_client(Wrong(fault))


def test_without_a_fault_nothing_is_found():
    assert check_client(Wrong("")) == Capabilities()
