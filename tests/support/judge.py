"""A scripted language model: it explains by the characters that are marked most, and judges by what it reads, with
known error rates. It works on texts in which characters are tokens."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from sparselex.llm.records import Answer, Capabilities, Message, Request, Token
from tests.support.chat import Said, completion

_FENCED = re.compile(r"\[([0-9a-f]+) (\d+)\]\n(.*?)\n\[/\1 \2\]", re.DOTALL)
_LISTED = re.compile(r'^\d+\. (".*")$', re.MULTILINE)
_RAISED = re.compile(r"^Likelier next tokens[^:]*: (.*)\.$", re.MULTILINE)
_QUOTED = re.compile("`([^`]+)`")
_MARKED = re.compile(r"<<(.+?)>>", re.DOTALL)


def passages(request: Request) -> list[str]:
    """The passages of a question."""
    return [text for _, _, text in _FENCED.findall(request.messages[1].content)]


def snippets(request: Request) -> list[str]:
    """The quoted snippets of a question that lists them, one a line."""
    return [json.loads(text) for text in _LISTED.findall(request.messages[1].content)]


def description(request: Request) -> str:
    """The description that passages are held against."""
    return json.loads(request.messages[1].content.split("\n")[0].removeprefix("Description: "))


def draw(*words: str) -> float:
    """A number between 0 and 1 that depends on these words alone."""
    return int.from_bytes(hashlib.sha256("\x1f".join(words).encode()).digest()[:4], "big") / 2**32


class ScriptedModel:
    """Answers like a server would, at once.

    Args:
        miss: share of passages that fit which it says do not.
        alarm: share of passages that do not fit which it says do.
        probabilities: whether it gives log-probabilities of its votes.
        best: how many characters an explanation names.
    """

    def __init__(self, miss: float = 0.0, alarm: float = 0.0, *, probabilities: bool = False, best: int = 2):
        self.miss, self.alarm, self.probabilities, self.best = miss, alarm, probabilities, best
        self.model, self.stopped, self.asked = "scripted", None, list[Request]()

    def capabilities(self) -> Capabilities:
        return Capabilities(schema_answers=True, logprobs=self.probabilities)

    def submit(self, request: Request) -> "Future[Answer]":
        self.asked.append(request)
        done: Future[Answer] = Future()
        done.set_result(self.answer(request))
        return done

    def answer(self, request: Request) -> Answer:
        """What it says."""
        text = self.explained(request) if request.purpose == "explain" else self.votes(request)
        answer = Answer(text=text, n_prompt_tokens=100, n_answer_tokens=10)
        return answer.model_copy(update={"tokens": self._tokens(text)}) if request.top_logprobs else answer

    def explained(self, request: Request) -> str:
        """The characters that are marked most, or where no text is shown, those that become likelier."""
        if (asked := request.messages[-1].content).endswith("Meaning: `"):
            marks = _QUOTED.findall(asked.split("\n")[-2])[: self.best]
            return f"{'`, `'.join(marks)}`: any of the characters {''.join(sorted(marks))}"
        texts = [*passages(request), *snippets(request)]
        counted = Counter(char for text in texts for run in _MARKED.findall(text) for char in run)
        if not texts:
            raised = [char for row in _RAISED.findall(request.messages[1].content) for char in json.loads(f"[{row}]")]
            counted = Counter(char for tokens in raised for char in tokens)
        chars = "".join(sorted(char for char, _ in counted.most_common(self.best)))
        return json.dumps({"explanation": f"any of the characters {chars}"})

    def votes(self, request: Request) -> str:
        """Whether each passage fits, but for its errors."""
        said, found = description(request), {}
        for number, text in enumerate(passages(request), 1):
            vote = self.fits(said, text, request)
            flip = draw(request.purpose, said, text) < (self.miss if vote else self.alarm)
            found[str(number)] = int(vote != flip)
        return json.dumps(found)

    def fits(self, said: str, text: str, request: Request) -> bool:
        """Whether a passage has what the description names, or all of its marks are that."""
        if said.startswith("contains the word"):
            return json.loads(said.removeprefix("contains the word ")).lower() in text.lower()
        chars = set(said.rpartition(" ")[2])
        if request.purpose == "fuzzing":
            return all(chars & set(run) for run in _MARKED.findall(text))
        return bool(chars & set(text))

    def _tokens(self, text: str) -> tuple[Token, ...]:
        """Its answer character by character; a vote is as sure as 0.9 to 0.1."""
        other = {"0": "1", "1": "0"}
        return tuple(
            Token(char, -0.105, ((char, -0.105), (other[char], -2.303)))
            if char in other and text[place - 2 : place] == ": "
            else Token(char, 0.0, ())
            for place, char in enumerate(text)
        )


class Drawing(ScriptedModel):
    """Of which several explanations may be drawn: draw by draw the characters that it names; nothing that can be read
    where these are empty, and where `right` those that are marked most."""

    RIGHT = "right"

    def __init__(self, draws: tuple[str, ...], *, several: bool = True, **more: Any):
        super().__init__(**more)
        self.draws, self.several = draws, several

    def capabilities(self) -> Capabilities:
        return super().capabilities().model_copy(update={"n": self.several})

    def answer(self, request: Request) -> Answer:
        if len(request.messages) > 2:  # asked again it says no more
            return Answer(text="I cannot help with that.")
        if request.n == 1:
            return super().answer(request)
        first, *others = [self.drawn(request, chars) for chars in self.draws[: request.n]]
        return Answer(text=first, others=tuple(others), n_prompt_tokens=100, n_answer_tokens=10 * request.n)

    def drawn(self, request: Request, chars: str) -> str:
        """One draw."""
        if chars == self.RIGHT:
            return self.explained(request)
        return json.dumps({"explanation": f"any of the characters {chars}"}) if chars else "I cannot help with that."


class Varied(ScriptedModel):
    """Explains in other words by each seed."""

    def explained(self, request: Request) -> str:
        said = json.loads(super().explained(request))["explanation"]
        return json.dumps({"explanation": f"in draw {request.seed} {said}"})


_ASKED = {
    "You find out": "explain",
    "You judge whether marked places": "fuzzing",
    "You judge whether passages": "detection",
    "You write passages": "generation",
    "You find the odd one": "intruder",
    "You say of every token": "simulation",
}
"""How a system message begins, and what is asked for."""


def purpose_of(system: str) -> str:
    """What a question with this system message is asked for; empty for one of the probe."""
    return next((purpose for begins, purpose in _ASKED.items() if system.startswith(begins)), "")


def over_http(model: ScriptedModel) -> Callable[[dict[str, Any]], Said]:
    """What a server answers behind which this model is."""

    def answer(body: dict[str, Any]) -> Said:
        messages = tuple(Message(one["role"], one["content"]) for one in body["messages"])
        purpose = purpose_of(messages[0].content)
        if not purpose:
            return Said(completion("no"))
        request = Request(messages=messages, max_tokens=100, purpose=purpose, seed=body.get("seed"))
        return Said(completion(model.answer(request).text, usage=(100, 10)))

    return answer
