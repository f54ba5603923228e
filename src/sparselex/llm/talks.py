"""Many conversations at once over one client, with no barrier between them."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

from sparselex.base.figures import Failure
from sparselex.llm.records import Answer, Client, Request, Result, Talk

Key = TypeVar("Key")


def hold(client: Client, talks: Iterable[tuple[Key, Talk[Result]]], *, most_open: int) -> Iterator[tuple[Key, Result]]:
    """Hold conversations, at most `most_open` at once, and give the result of each as soon as it is there, in whatever
    order.

    A new one is taken from `talks` whenever fewer are open. When the client stops, no new one is taken; those whose
    questions were all answered may still end with that, all others are closed without a result. An error in one closes
    the others and is raised, and so is one that ends the client's run.
    """
    with_results = _Held(client, iter(talks), most_open)
    try:
        yield from with_results.run()
    finally:
        with_results.close()


class _Round(Generic[Key, Result]):
    """A conversation that waits for the answers to what it asked last."""

    def __init__(self, key: Key, talk: Talk[Result]):
        self.key, self.talk = key, talk
        self.futures: list[Future[Answer | Failure]] = []
        self.n_missing = 0


class _Held(Generic[Key, Result]):
    def __init__(self, client: Client, talks: Iterator[tuple[Key, Talk[Result]]], most_open: int):
        self._client, self._talks, self._most_open = client, talks, most_open
        self._open: dict[int, _Round[Key, Result]] = {}
        # Of the round whose answer has come, once for each answer: counted by one thread, so without a lock.
        self._answered: SimpleQueue[_Round[Key, Result]] = SimpleQueue()

    def run(self) -> Iterator[tuple[Key, Result]]:
        more = True
        while more or self._open:
            while more and len(self._open) < self._most_open and not self._client.stopped:
                if more := (taken := next(self._talks, None)) is not None:
                    yield from self._begin(*taken)
            if not self._open:
                return
            turn = self._answered.get()
            turn.n_missing -= 1
            if not turn.n_missing:
                yield from self._go_on(turn, [future.result() for future in turn.futures])

    def close(self) -> None:
        """End what is open."""
        open_talks, self._open = [turn.talk for turn in self._open.values()], {}
        for talk in open_talks:
            talk.close()

    def _begin(self, key: Key, talk: Talk[Result]) -> Iterator[tuple[Key, Result]]:
        turn = _Round(key, talk)
        self._open[id(turn)] = turn
        yield from self._go_on(turn, None)

    def _go_on(
        self, turn: _Round[Key, Result], answers: Sequence[Answer | Failure] | None
    ) -> Iterator[tuple[Key, Result]]:
        """Tell a conversation what was answered (None begins it), and ask what it asks next."""
        stopped = self._client.stopped is not None
        if stopped and any(isinstance(answer, Failure) for answer in answers or ()):
            return self._leave(turn)
        try:
            requests = next(turn.talk) if answers is None else turn.talk.send(answers)
            while not requests:
                requests = turn.talk.send(())
        except StopIteration as ended:
            del self._open[id(turn)]
            yield turn.key, ended.value
            return
        if stopped:
            return self._leave(turn)
        self._ask(turn, requests)

    def _leave(self, turn: _Round[Key, Result]) -> None:
        """What it asks is not asked any more: it has no result."""
        del self._open[id(turn)]
        turn.talk.close()

    def _ask(self, turn: _Round[Key, Result], requests: Sequence[Request]) -> None:
        turn.n_missing, turn.futures = len(requests), [self._client.submit(request) for request in requests]
        for future in turn.futures:
            future.add_done_callback(lambda _: self._answered.put(turn))
