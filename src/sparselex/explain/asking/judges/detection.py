"""Detection: does the description fit the passage? (Paulo et al. 2024, section 3; ours differs in its negatives.)"""

from sparselex.base.figures import Better
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing
from sparselex.explain.asking.judging import DEFINITIONS, VOTES, by_votes, question
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.trial import trial
from sparselex.explain.asking.words import variant
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation
from sparselex.llm.records import Capabilities, Talk

VERSION = "detection.v1"
"""The prompt."""


class Detection:
    """The judge reads windows without marks and says which ones the explanation fits. Silent windows are drawn at
    random; those that hold the latent's tokens, or where its neighbours are active, have measures of their own."""

    definitions = {name: words for name, words in DEFINITIONS.items() if name != "wrong_specificity"}
    headline = "balanced_accuracy"
    better: Better = "higher"
    known = VOTES

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.drawing = Drawing(evidence, held_out, config)
        self.weigh = by_votes(question(VERSION, "detection", {}, config), config)

    def lacks(self, can: Capabilities) -> str:
        """Nothing: whoever answers can vote."""
        return ""

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Judge the latent's windows by its explanation, and by another's."""
        drawn = self.drawing.draw(explanation.latent, self.drawing.config.negatives)
        items, said = self.drawing.items(explanation.latent, drawn), variant(VERSION, can, votes=True)
        return (yield from trial("detection", said, self.weigh, self.drawing, drawn, items, explanation, another, can))
