"""Several answers to one question where they are asked for one by one."""

from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock

from sparselex.base.figures import Failure
from sparselex.llm.records import Answer, Request

_FACTOR, _MOST = 1_000_003, 2**31
"""Seeds of the draws for one seed lie far from those for the next, and are numbers that every server takes."""


def draws(request: Request) -> list[Request]:
    """The question once for each answer that is wanted, each with a seed of its own; the first has that of the
    question. One that wants a single answer is itself."""
    if request.n == 1:
        return [request]
    seed = request.seed or 0
    others = [((seed + 1) * _FACTOR + number) % _MOST for number in range(1, request.n)]
    return [request.model_copy(update={"n": 1, "seed": one}) for one in (seed, *others)]


def one_of(answers: Sequence[Answer | Failure]) -> Answer | Failure:
    """The answers to those as the answer to the one question, or the first failure among them. Tokens of the prompt
    are added up: each draw has read it."""
    if failed := next((one for one in answers if isinstance(one, Failure)), None):
        return failed
    first, *others = [one for one in answers if isinstance(one, Answer)]
    counted = {
        "n_prompt_tokens": sum(one.n_prompt_tokens for one in (first, *others)),
        "n_answer_tokens": sum(one.n_answer_tokens for one in (first, *others)),
    }
    return first.model_copy(update={"others": tuple(one.text for one in others), **counted}) if others else first


def when_all(parts: "Sequence[Future[Answer | Failure]]") -> "Future[Answer | Failure]":
    """Done with the last of them, and with the error of the first that has one."""
    done: Future[Answer | Failure] = Future()
    left, lock = [len(parts)], Lock()

    def one_more(_: "Future[Answer | Failure]") -> None:
        with lock:
            left[0] -= 1
            is_last = not left[0]
        if is_last:
            error = next((error for part in parts if (error := part.exception())), None)
            done.set_exception(error) if error else done.set_result(one_of([part.result() for part in parts]))

    for part in parts:
        part.add_done_callback(one_more)
    return done
