"""Windows of held-out text judged by a language model: what is asked, and what follows from the votes."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from sparselex.base.figures import Failure
from sparselex.base.intervals import LEVEL, Floats, jackknives
from sparselex.explain.asking.answers import chosen, form_of_votes, votes
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.words import fenced, prompt, quoted
from sparselex.explain.measures import auroc
from sparselex.explain.records import Judgement, Score
from sparselex.llm.records import Answer, Capabilities, Message, Request, Talk

Kind = Literal["active", "silent", "token", "neighbour", "wrong", "cofiring", "alike"]
"""What a window is: one where the latent is active; a silent one drawn at random; a silent one that holds a token on
which it is often active; a silent one where a latent with a near direction is active; an active one with the wrong
tokens marked; a silent one where a latent is active that often is together with it; a silent one of like meaning."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_HARD: dict[Kind, str] = {kind: f"{kind}_specificity" for kind in KINDS if kind not in ("active", "silent")}

DEFINITIONS = {
    "balanced_accuracy": "mean of recall and specificity: 0.5 for whoever says the same of every window",
    "auroc": "chance that an active window gets a higher probability of fitting than a silent one drawn at random, "
    "ties counting half; of bare votes where the server gives no probabilities",
    "recall": "share of active windows, as many from each tenth of them by size, that are said to fit",
    "specificity": "share of silent windows drawn at random that are said not to fit",
    "precision": "share of the windows said to fit in which the latent is active, as it were if windows came at the "
    "natural base rate",
    "recall_weak": "recall of the weaker half of the active windows",
    "recall_strong": "recall of the stronger half of the active windows",
    "token_specificity": "share of the silent windows said not to fit that hold a token on which the latent is often "
    "active",
    "neighbour_specificity": "share of the silent windows said not to fit in which a latent with a near decoder "
    "direction is active",
    "wrong_specificity": "share of active windows with silent tokens marked that are said not to fit",
    "cofiring_specificity": "share of the silent windows said not to fit in which a latent is active that is often "
    "active on the same tokens",
    "alike_specificity": "share of the silent windows said not to fit whose meaning is nearest to that of active "
    "training windows under a sentence encoder",
    "empty": "AUROC of the same judge on the same windows when it is given an empty description",
    "lookup": "AUROC on the same windows of a table without a language model: the largest mean training activation of "
    "the tokens in each window",
    "unanswered": "share of windows of which the judge said nothing that could be read, asked twice",
}
"""What every judge measures; which of these it has depends on the windows that it draws."""

_TOKENS, _TOKENS_EACH = 20, 8
"""Tokens that an answer may have, and more for each vote."""

_SURE = 1e-9
"""How near to 0 or 1 a probability is taken to be at most."""


VOTES = "votes"
"""By what most judges are tried: whoever votes rightly on the one votes rightly on the other."""


class Item(NamedTuple):
    """One window to be judged."""

    window: int
    """Its number."""

    kind: Kind

    strong: bool
    """Of an active one, whether it is of the stronger half."""

    position: int
    """Position in the corpus that stands for it: its largest activation, or its middle."""

    expected: float
    """The largest activation in it."""

    text: str
    """As the judge reads it."""

    tokens: tuple[int, ...] = ()
    """Its tokens, where they are wanted one by one."""


class Judged(NamedTuple):
    """Windows and what was said of them."""

    items: Sequence[Item]
    said: Floats
    """`[n]`, from 0 (does not fit) to 1; NaN where nothing could be read."""

    absolute: bool = True
    """Whether a half parts what fits from what does not; else the order alone tells something."""

    log_odds: Floats | None = None
    """`[n]`, the same before it was squeezed between 0 and 1, where far ends would come to lie on each other."""

    @property
    def order(self) -> Floats:
        """`[n]`, by what the windows are ordered."""
        return self.said if self.log_odds is None else self.log_odds

    def settled(self) -> "Judged":
        """The same with a half that means something: where as many windows are above it as there are active ones, if
        what was said has none."""
        return self if self.absolute else self._replace(said=_halved(self), absolute=True)

    def then(self, more: "Judged") -> "Judged":
        """These and more of them."""
        log_odds = None if more.log_odds is None else np.append(self.order, more.log_odds)
        return Judged([*self.items, *more.items], np.append(self.said, more.said), more.absolute, log_odds)


Weigh = Callable[[str, Sequence[Item], Capabilities], Talk[tuple[Judged, str]]]
"""`(description, items, capabilities)`: how well a description fits each window, and why of some nothing was said."""

Ask = Callable[[str, Sequence[str], Capabilities], Request]
"""`(description, passages, capabilities)`: the question whether they fit."""

CHOICES = ("Yes", "No")
"""Between which a judge chooses of which only the probabilities of answers are wanted."""


def question(version: str, purpose: str, values: dict[str, str], config: AskConfig) -> Ask:
    """How one judge asks: by the prompt `version`, whose names take `values`."""

    def ask(description: str, passages: Sequence[str], can: Capabilities) -> Request:
        n = len(passages)
        if can.choices:
            system = prompt(f"{version.replace('.', '-one.', 1)}").substitute(values, description=quoted(description))
            # Small models forget what stands before a passage, and hear what stands behind it.
            asked = f"{fenced(passages, system)}\n\nThe description: {quoted(description)}. Does it fit? Yes or No?"
            messages = Message("system", system), Message("user", asked)
            return Request(messages=messages, max_tokens=1, choices=CHOICES, purpose=purpose)
        example = "{" + ", ".join(f'"{number}": 0' for number in range(1, min(n, 2) + 1)) + (", …}" if n > 2 else "}")
        said = quoted(description)
        return Request(
            messages=(
                Message("system", prompt(version).substitute(values, example=example)),
                Message("user", f"Description: {said}\n\n{fenced(passages, said)}"),
            ),
            max_tokens=_TOKENS + _TOKENS_EACH * n,
            form=form_of_votes(n) if can.schema_answers else None,
            top_logprobs=5 if can.logprobs else 0,
            seed=config.seed if can.seed else None,
            purpose=purpose,
        )

    return ask


def by_votes(ask: Ask, config: AskConfig) -> Weigh:
    """Weighing by asking `ask` and hearing votes."""
    return lambda description, items, can: judged(ask, description, items, config.per_request, can)


def judged(
    ask: Ask, description: str, items: Sequence[Item], per_request: int, can: Capabilities
) -> Talk[tuple[Judged, str]]:
    """Ask of every window, and once more of those of which nothing can be read; then what was said, and why something
    was not. Where the probabilities of answers are told by reading, each window is asked about by itself."""
    said, why = np.full(len(items), np.nan), ""
    per_request = 1 if can.choices else per_request
    for _ in range(2):
        left = np.flatnonzero(np.isnan(said)).tolist()
        if not left:
            break
        batches = [left[start : start + per_request] for start in range(0, len(left), per_request)]
        answers = yield [ask(description, [items[place].text for place in batch], can) for batch in batches]
        for batch, answer in zip(batches, answers, strict=True):
            if isinstance(answer, Failure):
                why = answer.reason
                continue
            found = chosen(answer, CHOICES) if can.choices else votes(answer, len(batch))
            for number, vote in found.items():
                said[batch[number - 1]] = vote
            if len(found) < len(batch):
                why = f"the judge leaves {len(batch) - len(found)} of {len(batch)} windows out: {_begun(answer)}"
        # A smaller batch is another question, and an easier one.
        per_request = max(1, per_request // 2)
    # A small model says Yes, or No, to nearly everything: what it knows lies in which windows it says so of more.
    return Judged(items, said, absolute=not can.choices), why


def _halved(found: Judged) -> Floats:
    """Odds multiplied so that as many windows are above a half as there are active ones. Which windows these are goes
    into it nowhere."""
    log_odds = logit(found.said.clip(_SURE, 1 - _SURE)) if found.log_odds is None else found.log_odds
    there = ~np.isnan(log_odds)
    if not there.any():
        return found.said
    share = np.mean([item.kind == "active" for item, known in zip(found.items, there, strict=True) if known])
    return np.asarray(expit(log_odds - np.quantile(log_odds[there], 1 - share)))


def _begun(answer: Answer) -> str:
    return repr(answer.text[:120])


class Nulls(NamedTuple):
    """What the windows of an explanation get without it."""

    another: Judged | None
    """What is said of them by another latent's explanation; None where that was not asked."""

    empty: Floats | None
    """`[n]`, what is said by an empty description; None where that was not asked."""

    lookup: Floats
    """`[n]`, what a table of training activations by token gives each."""


class Counts:
    """What every measure is made of: by document and by what was said, how many windows of each kind there are.

    Args:
        found: the windows and what was said of them.
        documents: `[n]`, the document of each.
        base_rate: share of all windows in which the latent is active.
    """

    def __init__(self, found: Judged, documents: NDArray[np.int64], base_rate: float):
        there = np.flatnonzero(~np.isnan(found.said))
        self.base_rate, items = base_rate, [found.items[place] for place in there.tolist()]
        self.levels, first, level = np.unique(found.order[there], return_index=True, return_inverse=True)
        self._fits = found.said[there][first] > 0.5
        owner, n_documents = np.unique(documents[there], return_inverse=True)[1], len(np.unique(documents[there]))
        kind = np.array([KINDS.index(item.kind) + (len(KINDS) if item.strong else 0) for item in items], dtype=int)
        self._shape = (2 * len(KINDS), len(self.levels))
        cell = (owner * self._shape[0] + kind) * self._shape[1] + level
        n_cells = n_documents * self._shape[0] * self._shape[1]
        counted = np.bincount(cell, minlength=n_cells)
        self.per_document = counted.reshape(n_documents, self._shape[0] * self._shape[1]).astype(float)
        self.sizes: Floats = self.per_document.sum(1)

    def n(self, *groups: str) -> int:
        """Windows of these kinds that were judged; of the active ones also their halves, `weak` and `strong`."""
        whole = self._by_kind(self.per_document.sum(0))
        return int(sum(whole[group].sum() for group in groups))

    def measures(self, sums: Floats) -> dict[str, Floats | np.float64]:
        """Every measure from summed columns; not finite where there is no window for it."""
        by_kind = self._by_kind(sums)
        share = lambda one: one[..., self._fits].sum(-1) / one.sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            recall, alarm = share(by_kind["active"]), share(by_kind["silent"])
            called = recall * self.base_rate
            return {
                "balanced_accuracy": (recall + 1 - alarm) / 2,
                "auroc": auroc(by_kind["active"], by_kind["silent"]),
                "recall": recall,
                "specificity": 1 - alarm,
                "precision": called / (called + alarm * (1 - self.base_rate)),
                "recall_weak": share(by_kind["weak"]),
                "recall_strong": share(by_kind["strong"]),
                **{name: 1 - share(by_kind[kind]) for kind, name in _HARD.items()},
            }

    def _by_kind(self, sums: Floats) -> dict[str, Floats]:
        parts = sums.reshape(*sums.shape[:-1], *self._shape)
        weak, strong = parts[..., : len(KINDS), :], parts[..., len(KINDS) :, :]
        found = {kind: weak[..., place, :] + strong[..., place, :] for place, kind in enumerate(KINDS)}
        return found | {"weak": weak[..., 0, :], "strong": strong[..., 0, :]}


_OF: dict[str, tuple[str, ...]] = {
    "recall": ("active",),
    "recall_weak": ("weak",),
    "recall_strong": ("strong",),
    "specificity": ("silent",),
    **{name: (kind,) for kind, name in _HARD.items()},
}


def scores(
    judge: str,
    explainer: str,
    found: Judged,
    nulls: Nulls,
    documents: NDArray[np.int64],
    base_rate: float,
    *,
    level: float = LEVEL,
) -> list[Score]:
    """Every measure with its interval over documents, and its null where the same windows were judged by another
    latent's explanation; those that cannot be formed are left out.

    Args:
        judge, explainer: names for the records.
        found: what was said by the explanation.
        nulls: what was said of the same windows without it.
        documents: `[n]`, the document of each window.
        base_rate: share of all windows in which the latent is active.
        level: chance that an interval holds the value.
    """
    counts = Counts(found, documents, base_rate)
    at_null = _values(Counts(nulls.another, documents, base_rate)) if nulls.another is not None else {}
    made, told = list[Score](), jackknives(counts.per_document, counts.measures, counts.sizes)
    for name, measure in told.items():
        interval = measure.interval(share=True, level=level)
        if not np.isfinite(interval.value):
            continue
        low, high = interval.ends
        made.append(
            Score(
                explainer=explainer,
                scorer=judge,
                metric=name,
                value=interval.value,
                ci_low=low,
                ci_high=high,
                n=counts.n(*_OF.get(name, ("active", "silent"))),
                null=at_null.get(name),
            )
        )
    return [*made, *_beside(judge, explainer, found, nulls)]


def _beside(judge: str, explainer: str, found: Judged, nulls: Nulls) -> list[Score]:
    """How a table of tokens and an empty description do on the same windows, and how many were not answered."""
    more = {"unanswered": (float(np.isnan(found.said).mean()), len(found.items))}
    kinds = [item.kind for item in found.items]
    for name, values in (("empty", nulls.empty), ("lookup", nulls.lookup)):
        if values is not None and np.isfinite(value := auroc_of(kinds, values)):
            n = int((~np.isnan(values) & np.isin(kinds, ("active", "silent"))).sum())
            more[name] = value, n
    return [
        Score(explainer=explainer, scorer=judge, metric=name, value=value, ci_low=None, ci_high=None, n=n, null=None)
        for name, (value, n) in more.items()
    ]


def auroc_of(kinds: Sequence[Kind], values: Floats) -> float:
    """Chance that an active window has a larger value than a silent one drawn at random; NaN where there are none."""
    there, which = ~np.isnan(values), np.array(kinds)
    levels, level = np.unique(values[there], return_inverse=True)
    counted = [
        np.bincount(level[which[there] == kind], minlength=len(levels)).astype(float) for kind in ("active", "silent")
    ]
    return float(auroc(*counted)) if all(one.sum() for one in counted) else float("nan")


def _values(counts: Counts) -> dict[str, float]:
    found = counts.measures(counts.per_document.sum(0))
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def judgements(judge: str, explainer: str, found: Judged) -> list[Judgement]:
    """What was said of each window, under the position that stands for it; of two that share one the first."""
    made: dict[int, Judgement] = {}
    for item, said in zip(found.items, found.said.tolist(), strict=True):
        one = Judgement(
            explainer=explainer,
            scorer=judge,
            position=item.position,
            expected=item.expected,
            said=None if np.isnan(said) else said,
        )
        made.setdefault(item.position, one)
    return list(made.values())
