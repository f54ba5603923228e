"""Intruder: can it be told from the marked passages alone which of them is not of this latent? (Paulo and Belrose 2025;
four active passages of one tenth and one silent one. No explanation takes part.)"""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.figures import Better, Failure, Figure
from sparselex.base.intervals import Floats, share_interval
from sparselex.base.seeds import generator
from sparselex.explain.asking.answers import number_in
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing
from sparselex.explain.asking.judges.fuzzing import places_marked
from sparselex.explain.asking.judging import Item, Kind
from sparselex.explain.asking.known import EACH, JUDGE, known_figure
from sparselex.explain.asking.known_words import Word, Words
from sparselex.explain.asking.mistaken import some
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import fenced, marked, marks, plain, prompt, variant
from sparselex.explain.evidence import Evidence, HeldOut, SplitEvidence
from sparselex.explain.records import Explanation, Judgement, Score, Scored
from sparselex.explain.windows import TokenWindows, activations
from sparselex.llm.records import Answer, Capabilities, Message, Request, Talk

VERSION = "intruder.v1"
"""The prompt."""

_SHOWN = 5
"""Passages of a question, one of which is the intruder: chance is a fifth."""

_TENTHS = 10
"""Parts by the largest activation, of one of which the others of a question are."""

_TOKENS = 30
"""Tokens that an answer may have."""

_NUMBERS = tuple(str(number) for number in range(1, _SHOWN + 1))


class _Question(NamedTuple):
    """Passages, and which of them is the intruder."""

    items: list[Item]
    pair: tuple[str, str]
    odd: int
    strong: bool
    """Whether the others are of the stronger half."""


class _Shown(NamedTuple):
    """Windows with what is to be marked in them."""

    split: SplitEvidence
    windows: TokenWindows
    values: Callable[[range], Floats]
    """Of the tokens at these ranks how strongly each is to be marked; 0 for not at all."""

    def question(
        self, others: NDArray[np.int64], odd: int, counts: Sequence[int], strong: bool, rng: np.random.Generator
    ) -> _Question:
        """A question whose intruder `odd` stands at a drawn place among the others."""
        tokens, vocabulary = self.split.tokens, self.split.vocabulary
        place = int(rng.integers(_SHOWN))
        numbers = np.insert(others, place, odd).tolist()
        ranges = [self.windows.ranks(number) for number in numbers]
        texts = [tokens.tokens[ranks.start : ranks.stop].tolist() for ranks in ranges]
        pair, items = marks(plain(vocabulary, text) for text in texts), list[Item]()
        for number, ranks, text in zip(numbers, ranges, texts, strict=True):
            values = self.values(ranks)
            kind: Kind = "active" if values.any() else "silent"
            which = places_marked(kind, values, counts, rng)
            position = int(tokens.positions[ranks.start + int(values.argmax() if values.any() else which[0])])
            shown = marked(vocabulary, text, frozenset(which.tolist()), pair)
            items.append(Item(number, kind, strong, position, float(values.max()), shown))
        return _Question(items, pair, place + 1, strong)


class Intruder:
    """The judge is shown five passages with tokens marked, one of them without a reason, and names it. It sees no
    explanation: how well it does is how much of one kind a latent is, for this judge."""

    definitions: ClassVar = {
        "accuracy": "share of questions in which the silent passage among four active ones is named; chance is 0.2",
        "accuracy_weak": "the same of those with active passages of the weaker half",
        "accuracy_strong": "the same of those with active passages of the stronger half",
        "unanswered": "share of questions to which nothing was said that could be read, asked twice",
    }
    headline = "accuracy"
    better: Better = "higher"
    known = "intruder"

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.drawing, self.config = Drawing(evidence, held_out, config), config

    def lacks(self, can: Capabilities) -> str:
        """Nothing: whoever answers can name a number."""
        return ""

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Ask of each drawn question which passage is odd; for the null of as many in which none is."""
        latent, said = explanation.latent, variant(VERSION, can)
        questions = self.questions(latent)
        if not questions:
            reason = f"there are fewer than {_SHOWN - 1} test windows in which it is active, or none in which it is not"
            return Told(Failure(subject=f"latent {latent}", reason=reason), said, 0)
        named, why = yield from self.named(questions, can)
        n_unanswered = sum(one is None for one in named)
        if n_unanswered == len(named):
            reason = f"of {len(named)} questions none was answered: {why}"
            return Told(Failure(subject=f"latent {latent}", reason=reason), said, n_unanswered)
        null = None
        if another is not None:
            of_nothing = self.questions(latent, alike=False)
            null = share((yield from self.named(of_nothing, can))[0], [one.odd for one in of_nothing])[0]
        scored = self._scored(explanation, questions, named, null)
        return Told(scored, said, n_unanswered, [one.items[one.odd - 1] for one in questions])

    def trial_on(self, words: Words) -> "_OddWords":
        """Questions whose intruder is known: the passage without a word that the others hold."""
        return _OddWords(self, words)

    def questions(self, latent: int, *, alike: bool = True) -> list[_Question]:
        """Questions of test documents, as many from each tenth as there can be; where they are not to be `alike`, of
        silent passages alone, one of which counts as the intruder."""
        drawing, rng = self.drawing, generator(self.config.seed, "intruder" if alike else "no intruder", latent)
        column = drawing.column(latent)
        shown = _Shown(drawing.test, drawing.windows, lambda ranks: activations(column, ranks))
        active, silent = drawing.windows.active(column), drawing.windows.silent(column)
        n_parts = min(_TENTHS, len(active.numbers) // (_SHOWN - 1))
        order, found = active.numbers[np.argsort(active.peaks, kind="stable")], list[_Question]()
        values = [activations(column, drawing.windows.ranks(int(number))) for number in active.numbers[:50]]
        counts = [int((one >= 0.3 * one.max()).sum()) for one in values] or [1]
        for place in range(self.config.intruders if n_parts else 0):
            part = place % n_parts
            among = order[len(order) * part // n_parts : len(order) * (part + 1) // n_parts] if alike else silent
            others = some(among, _SHOWN - 1, rng)
            odd = some(np.setdiff1d(silent, others), 1, rng)
            if len(others) < _SHOWN - 1 or not len(odd):
                break
            found.append(shown.question(others, int(odd[0]), counts, 2 * part >= n_parts, rng))
        return found

    def named(self, questions: Sequence[_Question], can: Capabilities) -> Talk[tuple[list[int | None], str]]:
        """The passage that is named in each, and why none is; asked once more where nothing can be read."""
        named: list[int | None] = [None] * len(questions)
        why = ""
        for _ in range(2):
            left = [place for place, one in enumerate(named) if one is None]
            answers = yield [self._request(questions[place], can) for place in left]
            for place, answer in zip(left, answers, strict=True):
                if isinstance(answer, Failure):
                    why = answer.reason
                elif (number := _number(answer, can)) is not None:
                    named[place] = number
                else:
                    why = f"the judge names no passage: {answer.text[:120]!r}"
            if None not in named:
                break
        return named, why

    def _request(self, question: _Question, can: Capabilities) -> Request:
        values = {"n": _SHOWN, "opening": question.pair[0], "closing": question.pair[1]}
        text = fenced([item.text for item in question.items])
        if can.choices:
            system = prompt(VERSION.replace(".", "-one.", 1)).substitute(values)
            asked = f"{text}\n\nWhich passage is the odd one out? Its number?"
            messages = Message("system", system), Message("user", asked)
            return Request(messages=messages, max_tokens=1, choices=_NUMBERS, purpose="intruder")
        return Request(
            messages=(Message("system", prompt(VERSION).substitute(values)), Message("user", text)),
            max_tokens=_TOKENS,
            form=_FORM if can.schema_answers else None,
            seed=self.config.seed if can.seed else None,
            purpose="intruder",
        )

    def _scored(
        self, explanation: Explanation, questions: Sequence[_Question], named: Sequence[int | None], null: float | None
    ) -> Scored:
        score = lambda name, chosen: _score(
            explanation.explainer,
            name,
            [named[place] for place in chosen],
            [questions[place].odd for place in chosen],
            null if name == "accuracy" else None,
            len({item.window for place in chosen for item in questions[place].items if item.kind == "active"}),
        )
        every = range(len(questions))
        halves = {
            "accuracy": list(every),
            "accuracy_weak": [place for place in every if not questions[place].strong],
            "accuracy_strong": [place for place in every if questions[place].strong],
        }
        found = [made for name, chosen in halves.items() if (made := score(name, chosen)) is not None]
        unanswered = sum(one is None for one in named) / len(named)
        found.append(_plain(explanation.explainer, "unanswered", unanswered, len(named)))
        judged: dict[int, Judgement] = {}
        for question, number in zip(questions, named, strict=True):
            item = question.items[question.odd - 1]
            said = None if number is None else float(number == question.odd)
            one = Judgement(
                explainer=explanation.explainer, scorer="intruder", position=item.position, expected=0.0, said=said
            )
            judged.setdefault(item.position, one)
        return Scored(found, list(judged.values()))


_FORM = {
    "type": "object",
    "properties": {"odd": {"type": "integer", "enum": list(range(1, _SHOWN + 1))}},
    "required": ["odd"],
    "additionalProperties": False,
}


def share(named: Sequence[int | None], odd: Sequence[int]) -> tuple[float | None, int, int]:
    """The share of answered questions in which the intruder is named, how often it is, and how many those are."""
    there = [one == wanted for one, wanted in zip(named, odd, strict=True) if one is not None]
    return (sum(there) / len(there) if there else None), sum(there), len(there)


def _number(answer: Answer, can: Capabilities) -> int | None:
    if can.choices:
        return int(answer.text) if answer.text in _NUMBERS else None
    return number_in(answer, "odd", range(1, _SHOWN + 1))


def _score(
    explainer: str,
    metric: str,
    named: Sequence[int | None],
    odd: Sequence[int],
    null: float | None,
    n_active: int,
) -> Score | None:
    value, n_right, n = share(named, odd)
    if value is None:
        return None
    # Of a latent that is active in few windows questions show the same ones: they are no more trials than there are
    # fours of these.
    n_apart = min(n, n_active // (_SHOWN - 1))
    low, high = share_interval(n_right * n_apart / n, n_apart)[1:]
    ends = {"ci_low": low, "ci_high": high} if n_apart > 1 else {}
    return _plain(explainer, metric, value, n).model_copy(update={**ends, "null": null})


def _plain(explainer: str, metric: str, value: float, n: int) -> Score:
    return Score(
        explainer=explainer, scorer="intruder", metric=metric, value=value, ci_low=None, ci_high=None, n=n, null=None
    )


class _Named(NamedTuple):
    """What was said of the questions about one word."""

    n_right: int
    n_answered: int
    why: str


class _OddWords:
    """The trial of whoever names intruders: windows that hold a word, which is marked, and one that does not, with as
    many tokens marked."""

    measure, chance, each = "an accuracy", "guessing gives", EACH

    def __init__(self, judge: Intruder, words: Words):
        self.judge, self.words = judge, words

    def talks(self, can: Capabilities) -> list[Talk[_Named]]:
        """The questions of each word that stands in enough windows."""
        drawn = self.words.drawn(generator(self.words.config.seed, "known"))
        asked = [self.questions(word) for word in drawn]
        return [self._talk(questions, can) for questions in asked if questions]

    def figure(self, tried: Sequence[_Named]) -> Figure:
        """The share of questions in which the window without the word is named."""
        sums = np.array([one[:2] for one in tried if one.n_answered], dtype=float).reshape(-1, 2)
        return known_figure(
            f"{JUDGE}_intruder",
            sums,
            lambda s: s[..., 0] / s[..., 1],
            f"accuracy of the judge in {sums[:, 1].sum():,.0f} questions",
            f"which of {_SHOWN} validation windows is the one without the word that is marked in the others",
            [one.why for one in tried],
            null=1 / _SHOWN,
        )

    def questions(self, word: Word) -> list[_Question]:
        """Five, none where the word stands in fewer windows than a question has."""
        rng = generator(self.words.config.seed, "known intruder", word.token)
        tokens = self.words.evidence.tokens.tokens
        values = lambda ranks: (tokens[ranks.start : ranks.stop] == word.token).astype(float)
        shown = _Shown(self.words.evidence, self.words.windows, values)
        if len(word.holding) < _SHOWN - 1 or not len(word.lacking):
            return []
        found = list[_Question]()
        for _ in range(EACH):
            others, odd = some(word.holding, _SHOWN - 1, rng), int(some(word.lacking, 1, rng)[0])
            counts = [int(values(self.words.windows.ranks(number)).sum()) for number in others.tolist()]
            found.append(shown.question(others, odd, counts, False, rng))
        return found

    def _talk(self, questions: Sequence[_Question], can: Capabilities) -> Talk[_Named]:
        named, why = yield from self.judge.named(questions, can)
        return _Named(*share(named, [one.odd for one in questions])[1:], why)
