"""The client over real connections: what goes wrong on the way is asked again, counted, or ends the run."""

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sparselex.base.errors import UserError
from sparselex.base.figures import Failure
from sparselex.llm.cache import AnswerCache
from sparselex.llm.config import LLMConfig
from sparselex.llm.connection import Host
from sparselex.llm.http import HTTPClient
from sparselex.llm.records import Answer, Capabilities, Message, Request
from sparselex.llm.retry import LONGEST_S, hint_s, wait_s
from tests.support.chat import Said, chat_server, completion, echo, error, last

ALL = Capabilities(schema_answers=True, logprobs=True, seed=True)


@pytest.fixture
def database(tmp_path):
    return tmp_path / "sparselex.sqlite"


def client_of(server, database, *, can=ALL, **more):
    """A client that knows what the server can do and hardly waits."""
    config = LLMConfig(**{"url": server.url, "model": "m", "retry_wait_s": 0.01, "timeout_s": 5.0, **more})
    if can is not None:
        AnswerCache(database).keep_capabilities(config.url, config.model, can)
    return HTTPClient(config, database)


def question(text="hello", **more):
    return Request(**{"messages": (Message("user", text),), "max_tokens": 50, "purpose": "test", **more})


def asked(client, *texts, **more):
    """What comes of questions that are asked at once."""
    futures = [client.submit(question(text, **more)) for text in texts]
    return [future.result(20) for future in futures]


def texts(found):
    return [one.text if isinstance(one, Answer) else one.reason for one in found]


def failing(times, said, then=echo):
    """The first `times` answers to each question are `said`."""
    counts, lock = {}, threading.Lock()

    def answer(body):
        with lock:
            counts[last(body)] = counts.get(last(body), 0) + 1
        return said if counts[last(body)] <= times else then(body)

    return answer


def after_first(answer):
    """The question `first` is answered, so that the server is known to be one."""
    return lambda body: echo(body) if last(body) == "first" else answer(body)


def test_a_question_is_answered_and_kept(database):
    with chat_server() as server, client_of(server, database) as client:
        (answer,) = asked(client, "hello")
        assert (answer.text, answer.n_prompt_tokens, answer.n_answer_tokens) == ("You said: hello", 7, 3)
        assert asked(client, "hello") == [answer] and len(server.asked) == 1
        assert server.asked[0] == {
            "model": "m",
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 50,
            "temperature": 0.0,
        }
        assert "authorization" not in {name.lower() for name in server.headers[0]}


def test_everything_that_was_wanted_is_sent(database):
    form = {"type": "object"}
    with chat_server() as server, client_of(server, database) as client:
        asked(client, "a", form=form, top_logprobs=4, seed=9)
        (body,) = server.asked
        assert body["response_format"]["json_schema"]["schema"] == form
        assert (body["logprobs"], body["top_logprobs"], body["seed"]) == (True, 4, 9)


def test_what_the_server_cannot_do_is_not_sent_and_a_seed_still_asks_anew(database):
    with chat_server() as server, client_of(server, database, can=Capabilities()) as client:
        asked(client, "a", form={"type": "object"}, top_logprobs=4, seed=9)
        asked(client, "a", seed=9)
        asked(client, "a", seed=10)
        assert len(server.asked) == 2
        assert not {"response_format", "logprobs", "seed"} & set().union(*server.asked)


TRANSIENT = {
    "500": error(500, "oops"),
    "503": error(503, "loading"),
    "529": error(529, "overloaded"),
    "429": error(429, "slow down", retry_after="0"),
    "half a body": Said(completion("x" * 1000), how="half"),
    "dropped": Said(how="dropped"),
    "no JSON": Said(b"<html>Bad gateway</html>"),
    "a list": Said([1, 2]),
    "no choices": Said({"choices": []}),
    "an error within": Said({"error": {"code": 502, "message": "host down"}}),
    "deep": Said(b"[" * 100_000),
}


@pytest.mark.parametrize("said", TRANSIENT.values(), ids=TRANSIENT)
def test_what_may_be_a_hiccup_is_asked_again(database, said):
    with chat_server(failing(2, said)) as server, client_of(server, database) as client:
        assert texts(asked(client, "a", "b", "c")) == ["You said: a", "You said: b", "You said: c"]
        assert len(server.asked) == 9
        total = client.ledger.total()
        assert (total.retries, total.failures) == (6, 0)


@pytest.mark.parametrize("said", TRANSIENT.values(), ids=TRANSIENT)
def test_and_not_without_end(database, said):
    with chat_server(after_first(lambda _: said)) as server, client_of(server, database, retries=2) as client:
        asked(client, "first")
        (failure,) = asked(client, "a")
        assert isinstance(failure, Failure) and failure.subject == "test"
        assert server.prompts.count("a") == 3
        assert "stopped answering" in client.stopped
        assert isinstance(asked(client, "b")[0], Failure) and "b" not in server.prompts


def test_timeouts(database):
    slow = failing(1, Said(how="never"))
    with chat_server(slow) as server, client_of(server, database, timeout_s=0.3) as client:
        assert texts(asked(client, "a")) == ["You said: a"]
        assert server.prompts == ["a", "a"]


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
def test_what_is_refused_for_good_is_asked_once(database, status):
    refuse = after_first(lambda body: error(status, "prompt too long") if last(body) == "long" else echo(body))
    with chat_server(refuse) as server, client_of(server, database) as client:
        asked(client, "first")
        failure, answer = asked(client, "long", "short")
        assert f"answered {status}: prompt too long" in failure.reason and answer.text == "You said: short"
        assert server.prompts.count("long") == 1 and client.stopped is None
        assert client.ledger.total().failures == 1
        asked(client, "long")
        assert server.prompts.count("long") == 2  # a failure is tried again


@pytest.mark.parametrize("said", [error(401, "no"), error(404, "no"), Said(b"hello"), error(307, "no", location="/x")])
def test_a_server_that_refuses_the_first_question_ends_the_run(database, said):
    with chat_server(lambda _: said) as server, client_of(server, database, retries=1) as client:
        with pytest.raises(UserError, match="answers no question"):
            asked(client, *map(str, range(200)))
        assert len(server.asked) <= 2
        with pytest.raises(UserError, match="answers no question"):
            client.submit(question("later"))


def test_nobody_there(database):
    with chat_server() as server:
        pass
    with client_of(server, database, can=None) as client, pytest.raises(UserError, match="nobody answers"):
        client.capabilities()


def test_redirects_are_not_followed(database):
    with chat_server() as other:
        away = error(307, "elsewhere", location=f"{other.url}/chat/completions")
        with chat_server(after_first(lambda _: away)) as server, client_of(server, database) as client:
            asked(client, "first")
            assert "redirect" in asked(client, "a")[0].reason and not other.asked


def test_a_storm_of_429_with_a_hint_is_waited_out(database):
    until = [0.0]

    def answer(body):
        if len(server.asked) == 12:
            until[0] = time.monotonic() + 0.6
        return error(429, "storm", retry_after_ms="300") if time.monotonic() < until[0] else echo(body)

    with chat_server(answer) as server, client_of(server, database) as client:
        wanted = [str(n) for n in range(100)]
        assert texts(asked(client, *wanted)) == [f"You said: {n}" for n in wanted]
        assert len(server.asked) < 160  # those that wait are not sent into the storm
        assert client.ledger.total().requests == 100  # what was refused costs nothing


def test_the_servers_own_limit_is_found(database):
    answer = lambda body: Said(completion("x"), after_s=0.02)
    with chat_server(answer, room=6) as server, client_of(server, database, concurrency=64, retries=50) as client:
        found = asked(client, *(str(n) for n in range(300)))
        assert all(isinstance(one, Answer) for one in found)
        assert server.most_open < 40 and len(server.asked) < 450


def test_more_are_never_open_than_wanted(database):
    answer = lambda body: Said(completion("x"), after_s=0.01)
    with chat_server(answer) as server, client_of(server, database, concurrency=5) as client:
        asked(client, *(str(n) for n in range(60)))
        assert server.most_open == 5


def test_a_server_that_dies_half_way_and_comes_back(database):
    with chat_server() as first, client_of(first, database, retries=30) as client:
        asked(client, *(str(n) for n in range(20)))
        port = first.server_port
        first.die()
        futures = [client.submit(question(f"later {n}")) for n in range(20)]
        time.sleep(0.2)
        with chat_server(port=port) as second:
            assert texts(future.result(20) for future in futures) == [f"You said: later {n}" for n in range(20)]
            assert client.stopped is None and len(second.asked) >= 19


def test_equal_questions_are_asked_once(database):
    answer = lambda body: Said(completion("x"), after_s=0.1)
    with chat_server(answer) as server, client_of(server, database) as client:
        found = [client.submit(question("same", purpose=purpose)) for purpose in ("a", "b", "a")]
        assert {future.result(5).text for future in found} == {"x"}
        accounts = client.ledger.accounts()
        assert len(server.asked) == 1 and (accounts["a"].requests, accounts["b"].cached) == (1, 1)


@pytest.mark.parametrize("status", [400, 422])
def test_newer_names_are_learned_and_remembered(database, status):
    def answer(body):
        if "max_tokens" in body:
            return error(status, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in body:
            return error(status, "Unsupported value: 'temperature' does not support 0 with this model.")
        return Said(completion(str(body["max_completion_tokens"])))

    with chat_server(answer) as server, client_of(server, database) as client:
        assert texts(asked(client, *"abcdef")) == ["50"] * 6
        assert len(server.asked) == 8 and client.ledger.total().retries == 0


CONTENTS = {
    "null": (completion(None, finish="length"), "", True),
    "empty": (completion(""), "", False),
    "parts": (completion([{"type": "text", "text": "a"}, {"type": "image"}, "b", 3]), "ab", False),
    "half a character": (completion("a\ud800b"), "a?b", False),
    "a number": (completion(17), "", False),
    "zero": (completion("a\0b"), "a\0b", False),
}


@pytest.mark.parametrize(("body", "text", "cut"), CONTENTS.values(), ids=CONTENTS)
def test_answers_of_every_form(database, body, text, cut):
    body["choices"][0]["message"]["reasoning_content"] = "I think"
    with chat_server(lambda _: Said(body)) as server, client_of(server, database) as client:
        (answer,) = asked(client, "a")
        assert (answer.text, answer.cut) == (text, cut)
        assert asked(client, "a") == [answer] and len(server.asked) == 1


def test_log_probabilities_are_read_and_kept(database):
    other = [{"token": "no", "logprob": -2.0}, {"token": "yes", "logprob": -0.1}, {"token": "x", "logprob": -1e999}]
    logprobs = {"content": [{"token": "yes", "logprob": -0.1, "top_logprobs": other}]}
    with chat_server(lambda _: Said(completion("yes", logprobs=logprobs))) as server:
        with client_of(server, database) as client:
            (answer,) = asked(client, "a", top_logprobs=3)
        with client_of(server, database) as client:
            assert asked(client, "a", top_logprobs=3) == [answer]
    assert answer.tokens == (("yes", -0.1, (("yes", -0.1), ("no", -2.0), ("x", -9999.0))),)


@pytest.mark.parametrize("content", [3, [3], [{"token": "a"}], [{"token": "a", "logprob": "nan"}], "ab"])
def test_malformed_log_probabilities_are_none(database, content):
    with (
        chat_server(lambda _: Said(completion("a", logprobs={"content": content}))) as server,
        client_of(server, database) as client,
    ):
        assert asked(client, "a", top_logprobs=3)[0].tokens == ()


def test_too_large_an_answer_is_a_failure(database, monkeypatch):
    monkeypatch.setattr("sparselex.llm.connection.LARGEST_BYTES", 2**20)
    large = after_first(lambda _: Said(completion("x" * 2**21)))
    with chat_server(large) as server, client_of(server, database, retries=0) as client:
        asked(client, "first")
        assert "larger than 1 MiB" in asked(client, "a")[0].reason


KEY = "sk-very/secret+0123456789"


def test_the_key_is_sent_and_never_seen_again(database, monkeypatch, caplog, capfd):
    monkeypatch.setenv("THE_KEY", f"{KEY}\n")
    caplog.set_level("DEBUG")

    def answer(body):
        said = server.headers[-1]["Authorization"]
        return error(400, f"bad header {said}") if last(body) == "bad" else Said(completion(f"hello {said}"))

    with chat_server(answer) as server, client_of(server, database, key_env="THE_KEY") as client:
        good, bad = asked(client, "good"), asked(client, "bad")
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
        shown = [repr(good), repr(bad), repr(client), repr(vars(client)), str(client.ledger), client.config.to_json()]
        assert "bad header" in bad[0].reason
    written = b"".join(path.read_bytes() for path in database.parent.iterdir())
    assert KEY not in str(shown) + caplog.text + "".join(capfd.readouterr()) and KEY.encode() not in written


def test_nor_where_the_run_ends(database, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    refuse = lambda body: error(401, f"invalid key {server.headers[-1]['Authorization'].split()[1]}")
    with chat_server(refuse) as server, client_of(server, database, key_env="THE_KEY") as client:
        with pytest.raises(UserError, match="THE_KEY") as caught:
            client.submit(question()).result(5)
        assert "invalid key" in str(caught.value) and KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "snow☃man-key"])
def test_a_key_that_is_none_is_refused_unseen(database, monkeypatch, key):
    monkeypatch.setenv("THE_KEY", key)
    with pytest.raises(UserError, match="THE_KEY") as caught:
        HTTPClient(LLMConfig(url="http://127.0.0.1:9/v1", model="m", key_env="THE_KEY"), database)
    assert not key or key not in str(caught.value)


def test_without_httpx_the_extra_is_named(database, monkeypatch):
    monkeypatch.setattr("sparselex.llm.connection.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"sparselex\[llm\]"):
        HTTPClient(LLMConfig(url="http://127.0.0.1:9/v1", model="m"), database)


def test_replay_sends_nothing(database):
    with chat_server() as server:
        with client_of(server, database) as client:
            (answer,) = asked(client, "a")
        with client_of(server, database, replay=True, key_env="NOT_SET") as client:
            found, failure = asked(client, "a", "b")
            assert found == answer and "not in the workspace" in failure.reason
            total = client.ledger.total()
            assert (total.cached, total.failures, total.requests) == (1, 1, 0)
        assert len(server.asked) == 1


def test_nothing_left_to_pay_with_stops(database):
    broke = after_first(lambda _: Said({"error": {"message": "no", "code": "insufficient_quota"}}, 429))
    with chat_server(broke) as server, client_of(server, database) as client:
        asked(client, "first")
        assert all(isinstance(one, Failure) for one in asked(client, *"abcdef"))
        assert "pay" in client.stopped and len(server.asked) < 4


def test_a_database_that_cannot_be_written_ends_the_run(database, monkeypatch):
    refused = UserError("The disk is full.", "room", "make some.")
    with chat_server() as server, client_of(server, database) as client:
        monkeypatch.setattr(AnswerCache, "add", lambda *_: (_ for _ in ()).throw(refused))
        with pytest.raises(UserError, match="disk is full"):
            client.submit(question()).result(5)


def test_closing_is_prompt_and_leaves_nobody_waiting(database):
    hang = after_first(lambda _: Said(how="never"))
    with chat_server(hang) as server:
        client = client_of(server, database, timeout_s=60)
        asked(client, "first")
        futures = [client.submit(question(str(n))) for n in range(5)]
        time.sleep(0.1)
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < 3
        assert all(isinstance(future.result(1), Failure) for future in futures)


def test_the_proxy_of_the_environment_is_used_and_not_at_home(monkeypatch):
    for name in ("HTTP_PROXY", "NO_PROXY", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    host = lambda url: Host(LLMConfig(url=url, model="m"))
    assert (host("http://far/v1").proxy, host("http://127.0.0.1:1/v1").proxy) == ("http://proxy:3128", None)
    monkeypatch.setenv("no_proxy", "far")
    assert host("http://far/v1").proxy is None
    monkeypatch.setenv("http_proxy", "socks5://u:pass@proxy")
    with pytest.raises(UserError, match="HTTP_PROXY") as caught:
        host("http://further/v1")
    assert "pass" not in str(caught.value)


def test_hints_of_every_kind():
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert hint_s({"retry-after": "1.5"}) == 1.5
    assert hint_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert 57 < hint_s({"retry-after": in_a_minute}) < 61
    assert hint_s({"retry-after": "1e9"}) == LONGEST_S and hint_s({"retry-after": "-4"}) == 0
    assert [hint_s({"retry-after": text}) for text in ("", "soon", "nan", "Mon, 99 Foo")] == [None] * 4


def test_waits_grow_are_spread_and_heed_the_hint():
    rng = random.Random(0)
    waits = [[wait_s(attempt, 0.5, None, rng) for _ in range(100)] for attempt in (1, 2, 3, 400)]
    assert [round(max(each)) for each in waits[1:]] == [1, 2, 30] and all(len(set(each)) > 90 for each in waits)
    assert all(2 <= wait_s(1, 0.5, 2.0, rng) <= 3 for _ in range(100))
