"""Fuzzing: are the right tokens marked? (Paulo et al. 2024, section 3; both kinds of wrong marks.)"""

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from sparselex.base.figures import Better
from sparselex.base.intervals import Floats
from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig, Negative
from sparselex.explain.asking.drawing import Drawing, Drawn
from sparselex.explain.asking.judging import DEFINITIONS, VOTES, Item, Kind, by_votes, question
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.trial import trial
from sparselex.explain.asking.words import marked, marks, plain, variant
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation
from sparselex.explain.windows import activations
from sparselex.llm.records import Capabilities, Talk

VERSION = "fuzzing.v1"
"""The prompt."""

_MARKED = 0.3
"""Share of a window's largest activation from which a token is marked."""

_LEFT_OUT = tuple(f"{kind}_specificity" for kind in get_args(Negative))


class Fuzzing:
    """The judge reads windows with tokens marked and says whether the explanation fits the marks: the active ones of an
    active window; as many random ones of a silent window; and, the harder kind, silent ones of an active window."""

    definitions = {name: words for name, words in DEFINITIONS.items() if name not in _LEFT_OUT}
    headline = "balanced_accuracy"
    better: Better = "higher"
    known = VOTES

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.drawing, self.config = Drawing(evidence, held_out, config), config

    def lacks(self, can: Capabilities) -> str:
        """Nothing: whoever answers can vote."""
        return ""

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Judge the latent's windows by its explanation, and by another's."""
        drawn = self.drawing.draw(explanation.latent, ("wrong",))
        pair, items = self.items(explanation.latent, drawn)
        ask = question(VERSION, "fuzzing", {"opening": pair[0], "closing": pair[1]}, self.config)
        said, weigh = variant(VERSION, can, votes=True), by_votes(ask, self.config)
        return (yield from trial("fuzzing", said, weigh, self.drawing, drawn, items, explanation, another, can))

    def items(self, latent: int, drawn: Drawn) -> tuple[tuple[str, str], list[Item]]:
        """The marks, and the windows that were drawn with tokens between them."""
        drawing, column = self.drawing, self.drawing.column(latent)
        tokens, vocabulary = drawing.test.tokens, drawing.test.vocabulary
        rng = generator(self.config.seed, "marked", latent)
        ranges = [drawing.windows.ranks(number) for number in drawn.numbers.tolist()]
        texts = [tokens.tokens[ranks.start : ranks.stop].tolist() for ranks in ranges]
        values = [activations(column, ranks) for ranks in ranges]
        pair = marks(plain(vocabulary, text) for text in texts)
        counts = [len(_strong(one)) for one in values if one.any()] or [1]
        found = list[Item]()
        rows = zip(drawn.numbers.tolist(), drawn.kinds, drawn.strong.tolist(), ranges, texts, values, strict=True)
        for number, kind, strong, ranks, text, acts in rows:
            which = places_marked(kind, acts, counts, rng)
            if not len(which):  # every token is active: none of them is wrong
                kind, which = "active", _strong(acts)
            place = int(acts.argmax()) if kind == "active" else int(which[0])
            shown = marked(vocabulary, text, frozenset(which.tolist()), pair)
            position = int(tokens.positions[ranks.start + place])
            found.append(Item(number, kind, strong, position, float(acts[which].max()), shown))
        return pair, found


def _strong(values: Floats) -> NDArray[np.int64]:
    return np.flatnonzero(values >= _MARKED * values.max())


def places_marked(kind: Kind, values: Floats, counts: Sequence[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Places of the tokens to be marked of a window with these activations: the active ones, or silent ones, as many
    as one of the active windows has, of which `counts` says how many are marked in each."""
    if kind == "active":
        return _strong(values)
    silent = np.flatnonzero(values == 0)
    n = min(len(silent), int(rng.choice(counts)))
    return np.sort(rng.choice(silent, n, replace=False)) if n else silent[:0]
