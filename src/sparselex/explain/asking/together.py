"""Several talks as one, for whoever needs the results of all of them."""

from collections.abc import Sequence
from typing import TypeVar

from sparselex.base.figures import Failure
from sparselex.llm.records import Answer, Request, Talk

Result = TypeVar("Result")


def at_once(talks: Sequence[Talk[Result]]) -> Talk[list[Result]]:
    """The talks side by side: what all of them ask in a round is asked together. Gives their results in their order."""
    found, wanted = dict[int, Result](), dict[int, Sequence[Request]]()
    try:
        for place, talk in enumerate(talks):
            try:
                wanted[place] = next(talk)
            except StopIteration as end:
                found[place] = end.value
        while wanted:
            answers = iter((yield [question for asked in wanted.values() for question in asked]))
            before, wanted = wanted, {}
            for place, asked in before.items():
                try:
                    wanted[place] = talks[place].send([next(answers) for _ in asked])
                except StopIteration as end:
                    found[place] = end.value
    finally:
        for talk in talks:
            talk.close()
    return [found[place] for place in range(len(talks))]


def going_on(talk: Talk[Result], answers: Sequence[Answer | Failure]) -> Talk[Result]:
    """The rest of a talk whose first questions were asked by somebody else, who has these answers."""
    try:
        sent = answers
        while True:
            sent = yield talk.send(sent)
    except StopIteration as end:
        return end.value
    finally:
        talk.close()
