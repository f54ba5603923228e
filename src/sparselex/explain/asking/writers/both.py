"""An explanation by what a latent is active on and what it makes the model say, in one question."""

from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import fenced, prompt, variant
from sparselex.explain.asking.writers.effects import Effects
from sparselex.explain.asking.writers.examples import NOTHING_SHOWN
from sparselex.explain.asking.writers.output import seen, sides
from sparselex.explain.asking.writers.passages import WITH_STRENGTHS, Passages
from sparselex.explain.asking.writers.sentences import THOUGHTS, asking, said_of, unsaid
from sparselex.explain.evidence import Evidence
from sparselex.llm.records import Capabilities, Talk

VERSION = "both.v1"
"""The prompt."""


class Both:
    """One sentence for each latent, from passages and effects together: the ensemble that did best on both sides in
    published figures. Without effects it says so and goes by passages."""

    explained = "an explanation by a language model that has seen passages and effects"

    def __init__(self, evidence: Evidence, config: AskConfig, subject: Opens | None = None):
        self.passages, self.config = Passages(evidence.train, config), config
        self.effects = Effects(evidence.train, config, subject)

    def talk(self, latent: int, can: Capabilities) -> Talk[Told]:
        """Asks, and once more where the answer cannot be read."""
        windows, said = self.passages.active(latent), f"{variant(VERSION, can)}, {seen(self.effects, latent)}"
        if not windows:
            return unsaid(latent, NOTHING_SHOWN, said)
        pair, effects, config = self.passages.pair(windows), sides(self.effects, latent), self.config
        system = prompt(VERSION).substitute(
            opening=pair[0],
            closing=pair[1],
            strengths=WITH_STRENGTHS if config.strengths else "",
            thoughts=THOUGHTS if config.thoughts else "",
        )
        shown = fenced([self.passages.text(window, pair) for window in windows], effects)
        request = asking(system, f"{shown}\n\n{effects or 'Nothing is known of its effects.'}", config, can)
        return (yield from said_of(latent, request, said))
