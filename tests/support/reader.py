"""A scripted language model that reads as well as it judges: it tells log-probabilities of given text, names intruders,
simulates activations and writes passages, by the characters that a description names."""

import json
import re
from collections import Counter

from sparselex.llm.records import Answer, Capabilities, Request, Token
from tests.support.judge import ScriptedModel, draw, passages

_NOTE = re.compile(r"Note: ([^\n]*)\nText:$")
_SIMULATED = re.compile(r"Description: ([^\n]*)\nText:\n$")

KNOWN, OTHER, LIKELIER = -1.0, -3.0, 2.0
"""Nats of a character that the note names, of any other, and the difference."""


def named(description: str) -> set[str]:
    """The characters that a description names; those of the word that it says is contained."""
    if description.startswith("contains the word"):
        return set(json.loads(description.removeprefix("contains the word ")))
    return set(description.rpartition(" ")[2]) if description.startswith("any of the characters") else set()


class ReadingModel(ScriptedModel):
    """Answers at once.

    Args:
        of: the characters of the latent whose intruders it tells; it does not look at explanations there. Where there
            are none, that passage is the intruder whose marked words no others have.
        slips: share of intruders that it names wrongly.
        omits: share of the passages it writes for a word that do not hold it, the first ones of each answer.
        repeats: a word that it writes into every passage, whatever is asked.
    """

    def __init__(
        self,
        *errors: float,
        of: str = "",
        slips: float = 0.0,
        omits: float = 0.0,
        repeats: str = "",
        continuations: bool = True,
        **more,
    ):
        super().__init__(*errors, **more)
        self.of, self.slips, self.omits, self.repeats = set(of), slips, omits, repeats
        self.continuations = continuations

    def capabilities(self) -> Capabilities:
        return Capabilities(schema_answers=True, logprobs=self.probabilities, continuations=self.continuations)

    def answer(self, request: Request) -> Answer:
        if request.continuation:
            tokens = {"surprisal": self._surprised, "intervention": self._told, "simulation": self._simulated}
            return Answer(text=request.continuation, tokens=tokens[request.purpose](request), n_prompt_tokens=50)
        if request.purpose == "intruder":
            return Answer(text=json.dumps({"odd": self._odd(request)}))
        if request.purpose == "generation":
            return Answer(text=json.dumps(self._written(request)))
        if request.purpose == "simulation":
            return Answer(text=json.dumps(self._listed(request)))
        return super().answer(request)

    def _surprised(self, request: Request) -> tuple[Token, ...]:
        found = _NOTE.search(request.messages[0].content)
        assert found, request
        chars = named(found[1])
        return tuple(Token(char, KNOWN if char in chars else OTHER, ()) for char in request.continuation)

    def _told(self, request: Request) -> tuple[Token, ...]:
        """A note is likelier by a nat for every character of it in the last eight of the passage."""
        passage = request.messages[0].content.rpartition("Passage: ")[2].partition("\nTurned up")[0]
        chars = named(request.continuation.removesuffix('"'))
        gain = sum(char in chars for char in passage[-8:])
        return (Token(request.continuation, -20.0 + gain, ()),)

    def _simulated(self, request: Request) -> tuple[Token, ...]:
        found = _SIMULATED.search(request.messages[0].content)
        assert found, request
        chars, tokens, before = named(found[1]), list[Token](), ""
        for char in request.continuation:
            digits: tuple[tuple[str, float], ...] = ()
            if char == "?" and before == "\t":
                active = tokens[-2].text in chars
                digits = (("9", -0.1), ("0", -3.0)) if active else (("0", -0.1), ("x", -3.0))
            tokens.append(Token(char, -1.0, digits))
            before = char
        return tuple(tokens)

    def _listed(self, request: Request) -> dict[str, int]:
        content = request.messages[1].content
        chars = named(json.loads(content.split("\n")[0].removeprefix("Description: ")))
        lines = [line.partition(": ") for line in passages(request)[0].split("\n")]
        return {number: 9 if char in chars else 0 for number, _, char in lines}

    def _odd(self, request: Request) -> int:
        texts = passages(request)
        runs = [set(re.findall(r"<<(.+?)>>", text, re.DOTALL)) for text in texts]
        marks = (
            [set("".join(one)) for one in runs]
            if self.of
            else [{word for run in one for word in run.split()} for one in runs]
        )
        kind = self.of or {word for word, n in Counter(word for one in marks for word in one).items() if n > 2}
        odd = next((n for n, one in enumerate(marks, 1) if not one & kind), 1)
        return odd % 5 + 1 if draw(*texts) < self.slips else odd

    def _written(self, request: Request) -> dict[str, str]:
        system, user = (message.content for message in request.messages)
        n = int(re.search(r"Write (\d+) short", system)[1])
        said = json.loads(user.removeprefix("Description: "))
        is_word = said.startswith("contains the word")
        own = [json.loads(said.removeprefix("contains the word "))] if is_word else sorted(named(said))
        left_out = round(self.omits * n) if is_word else 0
        words = lambda number: ["passage", str(number), self.repeats, *(own if number > left_out else ())]
        return {str(number): " ".join(filter(None, words(number))) for number in range(1, n + 1)}
