"""What was asked and what it cost, by purpose, and the budget."""

from collections import Counter
from threading import Lock
from typing import Any, NamedTuple

from sparselex.base.config import Config
from sparselex.llm.config import LLMConfig
from sparselex.llm.records import Answer, Request

_TOKENS_OF_A_MESSAGE = 4
"""Tokens that mark where a message begins and ends, and who speaks."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its bytes, and at least as many as it has words."""
    return max(-(-len(text.encode("utf-8", "replace")) // 4), len(text.split()))


def estimated_prompt_tokens(request: Request) -> int:
    """About how many tokens are read for a question: those of its messages and four for each of them; of plain text
    those of the text."""
    if request.continuation or request.plain:
        return estimated_tokens(request.text)
    return sum(estimated_tokens(message.content) + _TOKENS_OF_A_MESSAGE for message in request.messages)


class Account(Config):
    """What was asked for one purpose."""

    requests: int = 0
    """Requests that were answered, or whose answer was lost on the way: both may be charged."""

    cached: int = 0
    """Questions whose answer was at hand."""

    failures: int = 0
    """Questions that came to nothing."""

    retries: int = 0
    """Times that a question was asked again."""

    prompt_tokens: int = 0
    """Tokens that were read; about as many, where a server does not count them or the answer was lost."""

    answer_tokens: int = 0
    """Tokens that were written, likewise."""

    cached_tokens: int = 0
    """Tokens of prompts and answers that were at hand."""

    usd: float = 0.0
    """US dollars, by the prices that were given; 0 without them."""


class Reserved(NamedTuple):
    """Tokens that an open question is expected to cost."""

    prompt_tokens: int = 0
    answer_tokens: int = 0
    requests: int = 1


class Ledger:
    """The account of one run. Threads may write to it at once."""

    def __init__(self, config: LLMConfig):
        self._config, self._lock = config, Lock()
        self._sums: dict[str, Counter[str]] = {}
        self._open: Counter[Reserved] = Counter()
        self._stopped: str | None = None

    @property
    def stopped(self) -> str | None:
        """Why nothing more is asked, or None."""
        return self._stopped

    def stop(self, why: str) -> None:
        """Nothing more is to be asked; the first reason stands."""
        self._stopped = self._stopped or why

    def reserve(self, request: Request) -> Reserved | str:
        """Set aside what a question will probably cost before it is sent, or say which budget that is too much for.

        Its answer is taken to be as long as those for the same purpose were, and before there are any as long as it
        may be: so a budget is overrun at most by what is open, and by that only where answers are longer than usual.
        """
        with self._lock:
            wanted = Reserved(estimated_prompt_tokens(request), self._usual_answer(request))
            if over := self._too_much_with(wanted):
                return over
            self._open[wanted] += 1
            return wanted

    def answered(self, request: Request, reserved: Reserved, answer: Answer) -> None:
        """What was set aside was spent as the server says, or as was expected where it does not say."""
        written = _written(request, answer)
        with self._lock:
            self._release(reserved)
            self._spend(request, answer.n_prompt_tokens or reserved.prompt_tokens, written)
            self._of(request)["answers"] += request.n

    def lost(self, request: Request, reserved: Reserved) -> None:
        """The answer did not arrive: its question was read, and who is to pay for that nobody says."""
        with self._lock:
            self._release(reserved)
            self._spend(request, reserved.prompt_tokens, 0)

    def refused(self, reserved: Reserved) -> None:
        """The server refused to answer: nothing is charged."""
        with self._lock:
            self._release(reserved)

    def cached(self, request: Request, answer: Answer) -> None:
        """The answer was at hand."""
        n_tokens = answer.n_prompt_tokens or estimated_prompt_tokens(request)
        with self._lock:
            self._of(request)["cached"] += 1
            self._of(request)["cached_tokens"] += n_tokens + _written(request, answer)

    def retried(self, request: Request) -> None:
        """A question is asked again."""
        with self._lock:
            self._of(request)["retries"] += 1

    def failed(self, request: Request) -> None:
        """A question came to nothing."""
        with self._lock:
            self._of(request)["failures"] += 1

    def accounts(self) -> dict[str, Account]:
        """What was asked so far, by purpose."""
        with self._lock:
            return {purpose: self._account(sums) for purpose, sums in sorted(self._sums.items())}

    def total(self) -> Account:
        """All purposes together."""
        with self._lock:
            return self._account(sum(self._sums.values(), Counter()))

    def to_json(self) -> dict[str, Any]:
        """The accounts by purpose, their sum, and why nothing more was asked."""
        by_purpose = {purpose: account.to_json() for purpose, account in self.accounts().items()}
        return {"total": self.total().to_json(), "by_purpose": by_purpose, "stopped": self.stopped}

    def __str__(self) -> str:
        """A short table, a purpose a line."""
        columns = ("purpose", *Account.model_fields)
        rows = [(purpose or "other", account) for purpose, account in self.accounts().items()]
        cells = [(name, *self._cells(account)) for name, account in [*rows, ("total", self.total())]]
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in (columns, *cells)]
        return "\n".join([*lines, *([f"stopped: {self.stopped}"] if self.stopped else [])])

    def _cells(self, account: Account) -> list[str]:
        """An account in words; of money nothing where no price is known."""
        values = account.to_json() | ({} if self.has_prices else {"usd": None})
        return ["no price" if value is None else _cell(value) for value in values.values()]

    @property
    def has_prices(self) -> bool:
        """Whether money can be counted."""
        return None not in (self._config.usd_per_million_prompt, self._config.usd_per_million_answer)

    def _of(self, request: Request) -> Counter[str]:
        return self._sums.setdefault(request.purpose, Counter())

    def _usual_answer(self, request: Request) -> int:
        sums = self._of(request)
        if request.continuation:
            return 0
        each = -(-sums["answer_tokens"] // sums["answers"]) if sums["answers"] else request.max_tokens
        return each * request.n

    def _release(self, reserved: Reserved) -> None:
        self._open[reserved] -= 1
        if not self._open[reserved]:
            del self._open[reserved]

    def _spend(self, request: Request, prompt_tokens: int, answer_tokens: int) -> None:
        sums = self._of(request)
        sums["requests"] += 1
        sums["prompt_tokens"] += prompt_tokens
        sums["answer_tokens"] += answer_tokens

    def _too_much_with(self, wanted: Reserved) -> str:
        """Which budget does not suffice for what was spent, what is open and what is wanted; empty if all do."""
        config = self._config
        if config.budget_requests is None and config.budget_tokens is None and config.budget_usd is None:
            return ""
        spent = sum(self._sums.values(), Counter())
        n_open = [(*reserved, n) for reserved, n in self._open.items()]
        prompts, answers, requests = (
            spent[name] + sum(one[place] * one[3] for one in n_open) + wanted[place]
            for place, name in enumerate(("prompt_tokens", "answer_tokens", "requests"))
        )
        if config.budget_requests is not None and requests > config.budget_requests:
            return f"the budget of {config.budget_requests:,} requests is spent"
        if config.budget_tokens is not None and prompts + answers > config.budget_tokens:
            return f"the budget of {config.budget_tokens:,} tokens does not suffice for one more question"
        if config.budget_usd is not None and self._usd(prompts, answers) > config.budget_usd:
            return f"the budget of {config.budget_usd:g} US dollars does not suffice for one more question"
        return ""

    def _usd(self, prompt_tokens: int, answer_tokens: int) -> float:
        of_prompt, of_answer = self._config.usd_per_million_prompt or 0, self._config.usd_per_million_answer or 0
        return (prompt_tokens * of_prompt + answer_tokens * of_answer) / 1e6

    def _account(self, sums: Counter[str]) -> Account:
        counts = {name: sums[name] for name in Account.model_fields if name != "usd"}
        return Account(**counts, usd=self._usd(sums["prompt_tokens"], sums["answer_tokens"]))


def _written(request: Request, answer: Answer) -> int:
    """Tokens of an answer; about as many where the server does not count them, and none of a text that was given."""
    about = 0 if request.continuation else sum(map(estimated_tokens, (answer.text, *answer.others)))
    return answer.n_answer_tokens or about


def _cell(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
