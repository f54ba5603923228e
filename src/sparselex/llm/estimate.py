"""What a run would cost, found by going through it without asking anybody."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from sparselex.base.figures import Failure
from sparselex.llm.cache import AnswerCache, request_key
from sparselex.llm.config import LLMConfig
from sparselex.llm.draws import draws, when_all
from sparselex.llm.ledger import Ledger
from sparselex.llm.records import Answer, Capabilities, Request, Token
from sparselex.llm.wire import fitted


class CountingClient:
    """A client that sends nothing: what is in the database at `database_path` is answered from there, all else by
    `invent`, which makes a typical answer to a question up.

    Its `ledger` then says what would be asked: `requests` and their tokens are what is to be paid, `cached` what is at
    hand. Tokens are estimated: of a text a quarter of its bytes, and at least as many as it has words; four more for
    each message. Budgets do not stop it.
    """

    def __init__(self, config: LLMConfig, database_path: Path | str, invent: Callable[[Request], Answer]):
        self.model, self._invent = config.model, invent
        self._cache = AnswerCache(database_path)
        unbound = {"budget_requests": None, "budget_tokens": None, "budget_usd": None}
        self.ledger = Ledger(config.model_copy(update=unbound))
        known = self._cache.capabilities(config.url, config.model)
        # Of a server that was never asked all is assumed: what it is told is then as long as it can be.
        self._capabilities = known or Capabilities(
            schema_answers=True, logprobs=True, seed=True, continuations=True, plain=True
        )
        self._counted: dict[bytes, Answer] = {}

    @property
    def stopped(self) -> None:
        """It never stops."""
        return None

    def capabilities(self) -> Capabilities:
        """What the server was found to be able to do; everything where it was never asked."""
        return self._capabilities

    def submit(self, request: Request) -> "Future[Answer | Failure]":
        """Count a question and answer it at once."""
        if request.n > 1 and (request.plain or not self._capabilities.n):
            return when_all([self.submit(one) for one in draws(request)])
        asked = fitted(request, self._capabilities)
        key = request_key(self.model, asked)
        answer = self._cache.get(key) or self._counted.get(key)
        if answer:
            self.ledger.cached(request, answer)
        else:
            answer = self._counted[key] = self._made_up(asked)
            reserved = self.ledger.reserve(asked)
            assert not isinstance(reserved, str)
            self.ledger.answered(asked, reserved, answer)
        future: Future[Answer | Failure] = Future()
        future.set_result(answer)
        return future

    def _made_up(self, request: Request) -> Answer:
        if request.continuation:
            return _read(request)
        answer = self._invent(request)
        others = answer.others or (answer.text,) * (request.n - 1)
        return answer.model_copy(update={"others": others, "n_answer_tokens": answer.n_answer_tokens * request.n})


def _read(request: Request) -> Answer:
    """Of a text that is only read: a token for each word, all alike."""
    tokens = tuple(Token(word, -1.0, ()) for word in request.continuation.split(" "))
    return Answer(text=request.continuation, tokens=tokens)
