"""Detection: does the description fit the passage? (Paulo et al. 2024, section 3; ours differs in its negatives.)"""

import numpy as np

from sparselex.base.figures import Better
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing, Drawn
from sparselex.explain.asking.judging import DEFINITIONS, Item, question
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.trial import trial
from sparselex.explain.asking.words import plain, variant
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation
from sparselex.explain.windows import activations
from sparselex.llm.records import Capabilities, Talk

VERSION = "detection.v1"
"""The prompt."""


class Detection:
    """The judge reads windows without marks and says which ones the explanation fits. Silent windows are drawn at
    random; those that hold the latent's tokens, or where its neighbours are active, have measures of their own."""

    definitions = {name: words for name, words in DEFINITIONS.items() if name != "wrong_specificity"}
    headline = "balanced_accuracy"
    better: Better = "higher"

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig):
        self.drawing = Drawing(evidence, held_out, config)
        self.ask = question(VERSION, "detection", {}, config)

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Judge the latent's windows by its explanation, and by another's."""
        drawn = self.drawing.draw(explanation.latent, ("token", "neighbour"))
        items, said = self.items(explanation.latent, drawn), variant(VERSION, can, votes=True)
        return (yield from trial("detection", said, self.ask, self.drawing, drawn, items, explanation, another, can))

    def items(self, latent: int, drawn: Drawn) -> list[Item]:
        """The windows that were drawn, as the judge reads them."""
        drawing, column = self.drawing, self.drawing.column(latent)
        tokens, found = drawing.test.tokens, list[Item]()
        for number, kind, strong in zip(drawn.numbers.tolist(), drawn.kinds, drawn.strong.tolist(), strict=True):
            ranks = drawing.windows.ranks(number)
            values = activations(column, ranks)
            place = int(values.argmax()) if values.any() else len(ranks) // 2
            text = plain(drawing.test.vocabulary, tokens.tokens[ranks.start : ranks.stop].tolist())
            position = int(tokens.positions[ranks.start + place])
            found.append(Item(number, kind, strong, position, float(np.max(values)), text))
        return found
