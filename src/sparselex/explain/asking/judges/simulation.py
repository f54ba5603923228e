"""Simulation: are activations foretold, token by token, by whoever reads the explanation? (Bills et al. 2023; the
baseline of Paulo et al. 2024.) A rule foretells them itself, and nobody is asked."""

import json
from collections.abc import Callable, Iterable, Sequence
from math import exp
from typing import ClassVar, NamedTuple

import numpy as np

from sparselex.base.figures import Better, Failure
from sparselex.base.intervals import Floats, jackknives
from sparselex.explain.asking.answers import numbers_in
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing
from sparselex.explain.asking.judging import Item, Judged
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import fenced, one_line, plain, prompt, quoted, variant
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation, Judgement, Score, Scored
from sparselex.explain.rules import rule_of
from sparselex.explain.surroundings import Surroundings
from sparselex.explain.windows import activations
from sparselex.llm.records import Answer, Capabilities, Message, Request, Talk, Token
from sparselex.llm.tokens import starts_of

VERSION = "simulation.v1"
"""The prompt."""

_MOST = 9
"""The largest strength: one digit, and so one token nearly everywhere."""

_DIGITS = tuple(str(digit) for digit in range(_MOST + 1))

_ALTERNATIVES = 20
"""Alternatives of a token among which digits are looked for."""

_UNKNOWN = "?"

_SAME = 1e-12
"""Variance, as a share of the mean square, up to which values do not vary but are rounded."""

_TOKENS, _TOKENS_EACH = 20, 8
"""Tokens that an answer may have, and more for each number in it."""


class _Window(NamedTuple):
    """A window token by token."""

    tokens: list[str]
    values: Floats
    """`[n]`, what the latent is at each."""

    document: int


class Simulation:
    """The model that is asked says of every token how active the latent is, from 0 to 9, as far as it can tell from the
    explanation; where the probabilities of digits are told, what it expects. Correlated with the truth over all tokens
    of all windows together."""

    definitions: ClassVar = {
        "correlation": "Pearson correlation of simulated and true activation over all tokens of the windows judged "
        "together, active windows of all sizes and silent ones; 0 where the same is said of all of them",
        "correlation_active": "the same over the active windows alone",
        "lookup": "the same correlation of a table without a language model: the mean training activation of each "
        "token",
        "unanswered": "share of tokens of which nothing was said that could be read",
    }
    headline = "correlation"
    better: Better = "higher"
    known = "simulation"

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.drawing, self.config = Drawing(evidence, held_out, config), config

    def lacks(self, can: Capabilities) -> str:
        """Nothing: without log-probabilities the numbers are written; token by token they are wanted."""
        if self.config.token_by_token and not (can.logprobs or can.choices):
            return "the server tells no probabilities of answers, by which each token is judged"
        return ""

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Have the latent's windows simulated by its explanation, and by another's."""
        latent, how = explanation.latent, self._how(can)
        drawn = self.drawing.draw(latent, ())
        items, windows = self.drawing.items(latent, drawn), self._windows(latent, drawn.numbers.tolist())
        if not {"active", "silent"} <= set(drawn.kinds):
            reason = "there is no window of test documents in which it is active, or none in which it is silent"
            return Told(Failure(subject=f"latent {latent}", reason=reason), how.said, 0)
        rule = rule_of(explanation.predictor)
        if rule is None:
            said, why = yield from self._simulated(how, explanation.text, windows, can)
        else:
            corpus = self.drawing.test.tokens.corpus
            said, why = [rule.predict(Surroundings(corpus, places)) for places in self._positions(drawn.numbers)], ""
        null = None
        if another is not None:
            # Of what no language model says the null is no language model's either: it is held against other windows.
            null = _elsewhere(said) if rule else (yield from self._simulated(how, another, windows, can))[0]
        n_unanswered = int(sum(np.isnan(one).sum() for one in said))
        if all(np.isnan(one).all() for one in said):
            reason = f"nothing was simulated: {why}"
            return Told(Failure(subject=f"latent {latent}", reason=reason), how.said, n_unanswered)
        active = np.array([kind == "active" for kind in drawn.kinds])
        lookup = self.drawing.lookup_tokens(latent, drawn.numbers)
        made = _scores(explanation.explainer, windows, said, null, lookup, active)
        variant_of = how.said if rule is None else "exact: the rule itself says what it expects of every token"
        most = _MOST if rule is None else max(1e-9, float(rule.predictions.max()))
        judged = self._judgements(explanation, items, [one / most for one in said])
        return Told(Scored(made, judged), variant_of, n_unanswered, items)

    def weigh(self, description: str, items: Sequence[Item], can: Capabilities) -> Talk[tuple[Judged, str]]:
        """The largest activation simulated in each window, as a share of the most."""
        evidence = self.drawing.test
        tokens = [[plain(evidence.vocabulary, [token]) for token in item.tokens] for item in items]
        windows = [_Window(one, np.zeros(len(one)), 0) for one in tokens]
        said, why = yield from self._simulated(self._how(can), description, windows, can)
        most = [float(np.nanmax(one)) / _MOST if not np.isnan(one).all() else np.nan for one in said]
        return Judged(items, np.array(most), absolute=False), why

    def _simulated(
        self, how: "_How", description: str, windows: Sequence[_Window], can: Capabilities
    ) -> Talk[tuple[list[Floats], str]]:
        """What is said of every token of each window, NaN where nothing can be read, and why that is so of some."""
        asked = [how.ask(description, window.tokens, self.config, can) for window in windows]
        answers = yield [request for requests in asked for request in requests]
        found, at, why = list[Floats](), 0, ""
        for window, requests in zip(windows, asked, strict=True):
            own = answers[at : at + len(requests)]
            at += len(requests)
            found.append(how.read(window.tokens, own))
            why = why or _why(own, found[-1])
        return found, why

    def _how(self, can: Capabilities) -> "_How":
        if self.config.token_by_token:
            return _How(f"{VERSION.replace('.', '-each.', 1)}, token by token", _each, _read_each)
        if can.continuations:
            return _How(f"{VERSION}, all at once, expected values", _at_once, _read_at_once)
        return _How(variant(VERSION.replace(".", "-list.", 1), can), _list, _read_list)

    def _windows(self, latent: int, numbers: Iterable[int]) -> list[_Window]:
        column, test, found = self.drawing.column(latent), self.drawing.test, list[_Window]()
        for number in numbers:
            ranks = self.drawing.windows.ranks(number)
            tokens = [
                plain(test.vocabulary, [token]) for token in test.tokens.tokens[ranks.start : ranks.stop].tolist()
            ]
            document = int(self.drawing.windows.documents[number])
            found.append(_Window(tokens, activations(column, ranks), document))
        return found

    def _positions(self, numbers: np.ndarray) -> list[np.ndarray]:
        ranges = [self.drawing.windows.ranks(number) for number in numbers.tolist()]
        return [self.drawing.test.tokens.positions[ranks.start : ranks.stop] for ranks in ranges]

    def _judgements(self, explanation: Explanation, items: Sequence[Item], said: Sequence[Floats]) -> list[Judgement]:
        """Of each window the most that was simulated of it, as a share of the most there can be."""
        found: dict[int, Judgement] = {}
        for item, values in zip(items, said, strict=True):
            one = Judgement(
                explainer=explanation.explainer,
                scorer="simulation",
                position=item.position,
                expected=item.expected,
                said=None if np.isnan(values).all() else float(np.nanmax(values)),
            )
            found.setdefault(item.position, one)
        return list(found.values())


def _elsewhere(said: Sequence[Floats]) -> list[Floats]:
    """What is said of each window as if it were said of the next one; NaN where that one is longer."""
    moved = [*said[-1:], *said[:-1]]
    return [
        np.concatenate([other[: len(own)], np.full(max(0, len(own) - len(other)), np.nan)])
        for own, other in zip(said, moved, strict=True)
    ]


class _How(NamedTuple):
    """One way of asking."""

    said: str
    """What it is called in records."""

    ask: Callable[[str, Sequence[str], AskConfig, Capabilities], list[Request]]
    read: Callable[[Sequence[str], Sequence[Answer | Failure]], Floats]


def _why(answers: Sequence[Answer | Failure], found: Floats) -> str:
    """Why of some tokens nothing was read; empty where there is no such one."""
    if not np.isnan(found).any():
        return ""
    failed = (answer.reason for answer in answers if isinstance(answer, Failure))
    return next(failed, "no digit from 0 to 9 is said of a token, nor is one among what might stand there")


def _shown(token: str) -> str:
    """A token on one line, without tabs."""
    return json.dumps(token, ensure_ascii=False)[1:-1]


def _lines(tokens: Sequence[str]) -> str:
    return "".join(f"{_shown(token)}\t{_UNKNOWN}\n" for token in tokens)


def _at_once(description: str, tokens: Sequence[str], config: AskConfig, can: Capabilities) -> list[Request]:
    """One question for a window: what might stand where a strength is not known."""
    note = prompt(VERSION).substitute(description=one_line(description)) + "\n"
    message = Message("user", note)
    return [
        Request(
            messages=(message,),
            max_tokens=1,
            continuation=_lines(tokens),
            top_logprobs=_ALTERNATIVES,
            purpose="simulation",
        )
    ]


def _read_at_once(tokens: Sequence[str], answers: Sequence[Answer | Failure]) -> Floats:
    found, (answer,) = np.full(len(tokens), np.nan), answers
    if isinstance(answer, Failure):
        return found
    starts = _starts([token.text for token in answer.tokens], answer.text)
    if starts is None:
        return found
    at, by_start = 0, dict(zip(starts, answer.tokens, strict=True))
    for place, token in enumerate(tokens):
        at += len(_shown(token)) + 1
        found[place] = _expected(by_start.get(at))
        at += len(_UNKNOWN) + 1
    return found


def _starts(said: Sequence[str], text: str) -> list[int] | None:
    """Where tokens begin in the text, the first of which may begin before it: a line break and the blank of the first
    word can be one token."""
    cuts = ([first[cut:], *said[1:]] for first in said[:1] for cut in range(max(1, len(first))))
    return next((starts for tokens in cuts if (starts := starts_of(tokens, text)) is not None), None)


def _list(description: str, tokens: Sequence[str], config: AskConfig, can: Capabilities) -> list[Request]:
    """One question for a window: a number for each token."""
    n = len(tokens)
    example = "{" + ", ".join(f'"{number}": 0' for number in range(1, min(n, 2) + 1)) + (", …}" if n > 2 else "}")
    names = [str(number) for number in range(1, n + 1)]
    form = {
        "type": "object",
        "properties": {name: {"type": "integer", "minimum": 0, "maximum": _MOST} for name in names},
        "required": names,
        "additionalProperties": False,
    }
    said = quoted(description)
    numbered = "\n".join(f"{number}: {_shown(token)}" for number, token in enumerate(tokens, 1))
    return [
        Request(
            messages=(
                Message("system", prompt(VERSION.replace(".", "-list.", 1)).substitute(example=example)),
                Message("user", f"Description: {said}\n\n{fenced([numbered], said)}"),
            ),
            max_tokens=_TOKENS + _TOKENS_EACH * n,
            form=form if can.schema_answers else None,
            seed=config.seed if can.seed else None,
            purpose="simulation",
        )
    ]


def _read_list(tokens: Sequence[str], answers: Sequence[Answer | Failure]) -> Floats:
    (answer,) = answers
    if isinstance(answer, Failure):
        return np.full(len(tokens), np.nan)
    return np.array(numbers_in(answer, len(tokens), range(_MOST + 1)), dtype=float)


def _each(description: str, tokens: Sequence[str], config: AskConfig, can: Capabilities) -> list[Request]:
    """A question for each token, which shows what stands before it."""
    system = prompt(VERSION.replace(".", "-each.", 1)).substitute(description=quoted(description))
    shown = [fenced(["".join(tokens[: place + 1])], system) for place in range(len(tokens))]
    asked = [
        f"{text}\n\nHow strongly, for its last token {quoted(token)}?"
        for text, token in zip(shown, tokens, strict=True)
    ]
    more = {"choices": _DIGITS} if can.choices else {"top_logprobs": _ALTERNATIVES}
    return [
        Request(messages=(Message("system", system), Message("user", one)), max_tokens=1, purpose="simulation", **more)
        for one in asked
    ]


def _read_each(tokens: Sequence[str], answers: Sequence[Answer | Failure]) -> Floats:
    first = [answer.tokens[0] if isinstance(answer, Answer) and answer.tokens else None for answer in answers]
    return np.array([_expected(token) for token in first])


def _expected(token: Token | None) -> float:
    """The mean of the digits that might stand there, by their probabilities; NaN where there is none among them."""
    mass = dict.fromkeys(_DIGITS, 0.0)
    for text, logprob in set(token.alternatives if token else ()):
        if (digit := text.strip()) in mass:
            mass[digit] += exp(min(0.0, logprob))
    total = sum(mass.values())
    return sum(int(digit) * one for digit, one in mass.items()) / total if total else float("nan")


def _scores(
    explainer: str,
    windows: Sequence[_Window],
    said: Sequence[Floats],
    null: Sequence[Floats] | None,
    lookup: Sequence[Floats],
    active: np.ndarray,
) -> list[Score]:
    score = lambda metric, value, ends, n, at_null: Score(
        explainer=explainer,
        scorer="simulation",
        metric=metric,
        value=value,
        ci_low=ends[0] if np.isfinite(ends[0]) else None,
        ci_high=ends[1] if np.isfinite(ends[1]) else None,
        n=n,
        null=at_null if at_null is not None and np.isfinite(at_null) else None,
    )
    none, found = (float("nan"), float("nan")), list[Score]()
    for metric, chosen in (("correlation", np.ones(len(windows), dtype=bool)), ("correlation_active", active)):
        sums = _sums(windows, said, chosen)
        interval = jackknives(sums, lambda s: {"": correlation(s)}, sums[:, 0])[""].interval(correlation=True)
        if not np.isfinite(interval.value):
            continue
        at_null = float(correlation(_sums(windows, null, chosen).sum(0))) if null is not None else None
        found.append(score(metric, interval.value, interval[1:], int(sums[:, 0].sum()), at_null))
    everywhere = np.ones(len(windows), dtype=bool)
    by_table = _sums(windows, lookup, everywhere).sum(0)
    if np.isfinite(value := float(correlation(by_table))):
        found.append(score("lookup", value, none, int(by_table[0]), None))
    values = np.concatenate(said)
    return [*found, score("unanswered", float(np.isnan(values).mean()), none, len(values), None)]


def _sums(windows: Sequence[_Window], said: Sequence[Floats], chosen: np.ndarray) -> Floats:
    """`[n_documents, 6]`: tokens of which something was said, and sums of that, of what is true, of both squares, and
    of the product."""
    owner = np.unique([window.document for window in windows], return_inverse=True)[1]
    sums = np.zeros((int(owner.max(initial=-1)) + 1, 6))
    for place in np.flatnonzero(chosen).tolist():
        there = ~np.isnan(said[place])
        p, t = said[place][there], windows[place].values[there]
        sums[owner[place]] += [len(p), p.sum(), t.sum(), (p * p).sum(), (t * t).sum(), (p * t).sum()]
    return sums


def correlation(sums: Floats) -> Floats:
    """Pearson's from summed columns `[..., 6]`: 0 where what is said does not vary, which foretells nothing, and NaN
    where what is true does not."""
    n, p, t, pp, tt, pt = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_said, of_true = pp - p * p / n, tt - t * t / n
        found = (pt - p * t / n) / np.sqrt(np.maximum(of_said * of_true, 0))
    found = np.where(of_said > _SAME * pp, found, 0.0)
    return np.asarray(np.where(of_true > _SAME * tt, found, np.nan))
