"""Nothing that was paid for is lost: over a killed process, one that is interrupted, a budget."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from sparselex.base.errors import UserError
from sparselex.llm.cache import AnswerCache, Kept, Writer, request_key
from sparselex.llm.config import LLMConfig
from sparselex.llm.records import Answer, Capabilities, Message, Request
from tests.llm.test_http import asked, client_of, question
from tests.support.chat import Said, chat_server, completion, echo, last

RUN = """
import json, sys
from sparselex.llm.config import LLMConfig
from sparselex.llm.http import HTTPClient
from sparselex.llm.records import Message, Request
from sparselex.llm.talks import hold

def talk(name):
    for number in range(3):
        text = f"{name} {number}"
        (answer,) = yield [Request(messages=(Message("user", text),), max_tokens=9)]
        print(json.dumps(text), flush=True)

config = LLMConfig(url=sys.argv[1], model="m", concurrency=8)
try:
    with HTTPClient(config, sys.argv[2]) as client:
        for _ in hold(client, ((n, talk(n)) for n in range(40)), most_open=16):
            pass
        print(client.ledger.total().model_dump_json())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture
def database(tmp_path):
    return tmp_path / "sparselex.sqlite"


def begun(server, database):
    """A process of its own that asks 120 questions."""
    AnswerCache(database).keep_capabilities(server.url, "m", Capabilities())
    command = [sys.executable, "-c", RUN, server.url, str(database)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 30, 77])
def test_a_killed_process_pays_for_no_answer_twice(database, after):
    with chat_server(lambda body: Said(echo(body).body, after_s=0.01)) as server:
        with begun(server, database) as process:
            seen = [json.loads(process.stdout.readline()) for _ in range(after)]
            process.send_signal(signal.SIGKILL)
            seen += [json.loads(line) for line in process.stdout if line.endswith("\n")]
        with begun(server, database) as process:
            *_, total = process.stdout
        again = {prompt for prompt, n in Counter(server.prompts).items() if n > 1}
        # What anybody saw is on the disk; what was still open or on its way to the disk may be asked again.
        assert not again & set(seen) and len(again) <= 2 * 8
        assert set(server.prompts) == {f"{n} {number}" for n in range(40) for number in range(3)}
        assert json.loads(total)["failures"] == 0 and len(server.asked) == 120 + len(again)


@pytest.mark.slow
def test_an_interrupted_process_ends_at_once_with_every_answer(database):
    answers = lambda body: Said(how="never") if last(body).endswith(" 2") else echo(body)
    with chat_server(answers) as server:
        with begun(server, database) as process:
            seen = [json.loads(process.stdout.readline()) for _ in range(16)]
            until = time.monotonic() + 20
            while server.n_open == 0 and sum(prompt.endswith(" 2") for prompt in server.prompts) < 8:
                assert time.monotonic() < until
                time.sleep(0.02)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read().split("\n")
            assert rest[-2] == "interrupted" and process.wait(10) == 0
            assert time.monotonic() - began < 3
        seen += [json.loads(line) for line in rest[:-2]]
        cache = AnswerCache(database)
        request = lambda text: Request(messages=(Message("user", text),), max_tokens=9)
        assert all(cache.get(request_key("m", request(text))) for text in seen)


def test_an_answer_is_on_the_disk_before_anybody_sees_it(database):
    found = []
    with chat_server() as server:
        with client_of(server, database) as client:
            for n in range(20):
                future = client.submit(question(str(n)))
                future.add_done_callback(lambda _, n=n: found.append(stored(database, question(str(n)))))
            future.result(5)
        assert len(found) == 20 and None not in found


def stored(database, request):
    return AnswerCache(database).get(request_key("m", request))


def test_an_answer_that_comes_after_the_end_is_written_as_well(database):
    cache, told = AnswerCache(database), []
    writer = Writer(cache, "m")
    writer.keep(Kept(b"a", Answer(text="a"), told.append))
    writer.close()
    writer.keep(Kept(b"b", Answer(text="b"), told.append))
    assert told == [None, None] and (cache.get(b"a").text, cache.get(b"b").text) == ("a", "b")


def test_what_tells_questions_apart():
    base = question("a", seed=1)
    others = [
        question("b", seed=1),
        question("a", seed=2),
        question("a", seed=1, max_tokens=51),
        question("a", seed=1, temperature=0.5),
        question("a", seed=1, form={"type": "object"}),
        question("a", seed=1, top_logprobs=2),
        question("a", seed=1, messages=(Message("system", "a"),)),
    ]
    keys = {request_key("m", one) for one in [base, *others]} | {request_key("n", base)}
    assert len(keys) == 9
    assert request_key("m", base) == request_key("m", question("a", seed=1, purpose="other"))


def test_a_damaged_answer_is_said_to_be_one(database):
    cache = AnswerCache(database)
    cache.add("m", [Kept(b"k", Answer(text="x"), print)])
    with cache._database.writing() as db:
        db.execute("UPDATE llm_answer SET answer = '[1]'")
    with pytest.raises(UserError, match="damaged"):
        cache.get(b"k")


def test_a_budget_of_tokens_is_not_overrun(database):
    answer = lambda body: Said(completion("x", usage=(100, 50)), after_s=0.01)
    with chat_server(answer) as server, client_of(server, database, budget_tokens=5000) as client:
        asked(client, *(f"{n} " + "x" * 380 for n in range(100)))
        total = client.ledger.total()
        assert 4500 < total.prompt_tokens + total.answer_tokens <= 5000
        assert "5,000 tokens" in client.stopped and len(server.asked) == total.requests


def test_a_budget_of_dollars(database):
    answer = lambda body: Said(completion("x", usage=(1000, 1000)))
    prices = {"usd_per_million_prompt": 1.0, "usd_per_million_answer": 9.0}
    with chat_server(answer) as server, client_of(server, database, budget_usd=0.1, concurrency=1, **prices) as client:
        asked(client, *map(str, range(50)))
        assert 0.08 <= client.ledger.total().usd <= 0.1 and "0.1 US dollars" in client.stopped
        assert client.ledger.total().failures == 50 - len(server.asked)


def test_the_account_is_printed(database):
    with chat_server() as server, client_of(server, database) as client:
        asked(client, "a", "a")
        asked(client, "a")
        printed = str(client.ledger).splitlines()
        assert [line.split()[0] for line in printed] == ["purpose", "test", "total"]
        assert printed[0].split()[1:] == list(client.ledger.to_json()["total"])
        assert printed[1].split()[1:3] == ["1", "2"]


ADDRESSES = {
    "ftp://h/v1": "begin",
    "h/v1": "begin",
    "http://u:pass@h/v1": "password",
    "http://h/v1?key=pass": "query",
    "http://h/v1#pass": "fragment",
    "http://h:x/v1": "none",
    "http://h/v 1": "blanks",
}


@pytest.mark.parametrize(("url", "said"), ADDRESSES.items())
def test_addresses_are_checked_at_the_door(url, said):
    with pytest.raises(UserError, match=said) as caught:
        LLMConfig.parse({"url": url, "model": "m"})
    assert "pass@" not in str(caught.value) and "=pass" not in str(caught.value)


@pytest.mark.parametrize("name", ["sk-abcdef", "abcdef123", "", "A" * 65])
def test_a_key_in_place_of_its_variable_is_not_shown(name):
    with pytest.raises(UserError) as caught:
        LLMConfig.parse({"url": "http://h/v1", "model": "m", "key_env": name})
    assert not name or name not in str(caught.value)


def test_configurations_that_mean_nothing_are_refused():
    with pytest.raises(UserError, match="prices"):
        LLMConfig.parse({"url": "http://h/v1", "model": "m", "budget_usd": 3})
    assert LLMConfig(url=" http://h/v1/chat/completions ", model="m").url == "http://h/v1"


def test_a_slow_disk_lets_few_answers_gather(database, monkeypatch):
    """What a kill could cost: those that are open and those on their way to the disk."""
    written, most_at_risk = [0], [0]
    add = AnswerCache.add

    def slowly(self, model, kept):
        time.sleep(0.05)
        add(self, model, kept)
        written[0] += len(kept)

    monkeypatch.setattr(AnswerCache, "add", slowly)

    def answer(body):
        most_at_risk[0] = max(most_at_risk[0], len(server.asked) - written[0])
        return echo(body)

    with chat_server(answer) as server, client_of(server, database, concurrency=3) as client:
        assert all(isinstance(found, Answer) for found in asked(client, *map(str, range(60))))
    assert 3 <= most_at_risk[0] <= 2 * 3
