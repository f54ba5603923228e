"""Conversations held at once: each gets its own answers, none waits for another, and all of them end."""

import random
import threading
import time
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.base.figures import Failure
from sparselex.llm.records import Answer, Capabilities, Message, Request
from sparselex.llm.talks import hold
from tests.llm.test_http import client_of
from tests.support.chat import Said, chat_server, completion, echo, error, last


@pytest.fixture
def database(tmp_path):
    return tmp_path / "sparselex.sqlite"


def question(text):
    return Request(messages=(Message("user", text),), max_tokens=9, purpose="talk")


def talk(name, rounds):
    """Asks so many questions in each round and gives back all that it was told."""
    heard = []
    for number, n in enumerate(rounds):
        answers = yield [question(f"{name} {number} {place}") for place in range(n)]
        heard.append([answer.text if isinstance(answer, Answer) else "failed" for answer in answers])
    return heard


def wanted(name, rounds):
    return [[f"You said: {name} {number} {place}" for place in range(n)] for number, n in enumerate(rounds)]


class Shuffled:
    """A client that answers in an order of its own, from another thread."""

    model, stopped = "m", None

    def __init__(self, order):
        self.order, self.waiting, self.n_open, self.most_open = order, [], 0, 0
        self.changed, self.ended = threading.Condition(), False
        self.thread = threading.Thread(target=self.answer)
        self.thread.start()

    def capabilities(self):
        return Capabilities()

    def submit(self, request):
        future = Future()
        with self.changed:
            self.waiting.append((request, future))
            self.changed.notify()
        return future

    def answer(self):
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.ended)
                if not self.waiting:
                    return
                request, future = self.waiting.pop(self.order.randrange(len(self.waiting)))
            future.set_result(Answer(text=f"You said: {request.messages[-1].content}"))

    def close(self):
        with self.changed:
            self.ended = True
            self.changed.notify()
        self.thread.join()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=12), st.integers(1, 5), st.integers())
def test_each_gets_exactly_its_own_answers(rounds, most_open, seed):
    client = Shuffled(random.Random(seed))
    try:
        found = dict(hold(client, ((name, talk(name, n)) for name, n in enumerate(rounds)), most_open=most_open))
    finally:
        client.close()
    assert found == {name: wanted(name, n) for name, n in enumerate(rounds)}


def test_over_a_real_server(database):
    rounds = {name: [name % 3 + 1] * (name % 4 + 1) for name in range(60)}
    with chat_server() as server, client_of(server, database) as client:
        found = dict(hold(client, ((name, talk(name, n)) for name, n in rounds.items()), most_open=20))
        assert found == {name: wanted(name, n) for name, n in rounds.items()}
        assert len(server.asked) == sum(map(sum, rounds.values()))


def test_no_more_are_begun_than_may_be_open_and_none_waits_for_the_slowest(database):
    begun = []

    def talks():
        for name in range(30):
            begun.append(name)
            yield name, talk(name, [1])

    slow = lambda body: Said(completion("x"), after_s=0.8 if last(body).startswith("5 ") else 0.0)
    with chat_server(slow) as server, client_of(server, database) as client:
        results = hold(client, talks(), most_open=3)
        names = [next(results)[0]]
        assert len(begun) <= 4
        names += [name for name, _ in results]
        assert sorted(names) == list(range(30)) and names[-1] == 5


def test_failures_are_told_to_who_asked(database):
    refuse = lambda body: error(400, "no") if last(body) == "1 0 0" else echo(body)
    with chat_server(refuse) as server, client_of(server, database) as client:
        found = dict(hold(client, ((name, talk(name, [1, 1])) for name in range(3)), most_open=2))
        assert found[1] == [["failed"], ["You said: 1 1 0"]] and found[2] == wanted(2, [1, 1])


def closing(name, rounds, closed):
    try:
        return (yield from talk(name, rounds))
    finally:
        closed.append(name)


def test_an_error_in_one_closes_the_others_and_is_raised(database):
    closed = []

    def broken():
        yield [question("b")]
        raise KeyError("mine")

    talks = [(n, closing(n, [1, 1, 1], closed)) for n in range(3)]
    slow = lambda body: Said(completion("x"), after_s=0.0 if last(body) == "b" else 0.2)
    with chat_server(slow) as server, client_of(server, database) as client:
        with pytest.raises(KeyError, match="mine"):
            list(hold(client, [*talks, (9, broken())], most_open=10))
        assert sorted(closed) == [0, 1, 2]


def test_who_stops_listening_closes_them_all(database):
    closed = []
    with chat_server() as server, client_of(server, database) as client:
        results = hold(client, ((n, closing(n, [1] * (1 + 40 * n), closed)) for n in range(4)), most_open=4)
        assert next(results)[0] == 0
        results.close()
        assert sorted(closed) == [0, 1, 2, 3]


def test_a_spent_budget_ends_them_with_what_was_paid_for(database):
    with chat_server(lambda body: Said(echo(body).body, after_s=0.01)) as server:
        with client_of(server, database, budget_requests=25) as client:
            closed = []
            talks = ((n, closing(n, [1, 1], closed)) for n in range(1000))
            found = dict(hold(client, talks, most_open=8))
            assert all(found[n] == wanted(n, [1, 1]) for n in found)
            assert len(server.asked) == 25 and client.ledger.total().requests == 25
            assert "25 requests" in client.stopped and 8 <= len(found) <= 12
            assert len(closed) <= 30
            assert isinstance(client.submit(question("later")).result(1), Failure)
        with client_of(server, database) as client:
            talks = ((n, talk(n, [1, 1])) for n in range(20))
            assert len(dict(hold(client, talks, most_open=8))) == 20
            assert len(server.asked) == 40 and len(set(server.prompts)) == 40


def test_our_own_time_is_small(database):
    """Under a millisecond of processor time for a question, all told, were the promise; here of the conversations
    alone, whose answers are at hand."""

    class AtHand(Shuffled):
        def submit(self, request):
            future = Future()
            future.set_result(Answer(text="x"))
            return future

    client = AtHand(random.Random(0))
    try:
        began = time.process_time()
        n = sum(1 for _ in hold(client, ((n, talk(n, [5, 5])) for n in range(300)), most_open=50))
        assert n == 300 and (time.process_time() - began) / 3000 < 0.001
    finally:
        client.close()
