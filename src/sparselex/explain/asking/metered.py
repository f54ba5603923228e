"""Talks with an account of what they cost."""

from typing import NamedTuple, TypeVar

from sparselex.llm.records import Answer, Talk

Result = TypeVar("Result")


class Spent(NamedTuple):
    """What a talk cost: the same whether its answers were paid for now or lie in the cache. What was not answered, or
    never sent, counts for nothing."""

    n_requests: int
    n_prompt_tokens: int
    n_answer_tokens: int


def metered(talk: Talk[Result]) -> Talk[tuple[Result, Spent]]:
    """The same talk, ending in its result and what it cost."""
    spent, sent = Spent(0, 0, 0), None
    try:
        while True:
            try:
                wanted = next(talk) if sent is None else talk.send(sent)
            except StopIteration as end:
                return end.value, spent
            sent = yield wanted
            answers = [answer for answer in sent if isinstance(answer, Answer)]
            spent = Spent(
                spent.n_requests + len(answers),
                spent.n_prompt_tokens + sum(answer.n_prompt_tokens for answer in answers),
                spent.n_answer_tokens + sum(answer.n_answer_tokens for answer in answers),
            )
    finally:
        talk.close()
