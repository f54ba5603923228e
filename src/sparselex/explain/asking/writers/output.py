"""An explanation by what a latent makes the model say, and not by what it is active on (Gur-Arieh et al. 2025)."""

from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import prompt, variant
from sparselex.explain.asking.writers.effects import Effects
from sparselex.explain.asking.writers.sentences import THOUGHTS, asking, said_of, unsaid
from sparselex.explain.evidence import Evidence
from sparselex.llm.records import Capabilities, Talk

VERSION = "output.v1"
"""The prompt."""

NO_EFFECTS = "neither logit effects nor a model that could be amplified are at hand"
"""Why there is no explanation by effects."""


class Output:
    """One sentence for each latent, from the tokens that its direction makes likelier and, where the model is at hand,
    those that become likelier when it is amplified behind training text."""

    explained = "an explanation by a language model that has seen its effects"

    def __init__(self, evidence: Evidence, config: AskConfig, subject: Opens | None = None):
        self.effects, self.config = Effects(evidence.train, config, subject), config

    def talk(self, latent: int, can: Capabilities) -> Talk[Told]:
        """Asks, and once more where the answer cannot be read."""
        shown, said = sides(self.effects, latent), f"{variant(VERSION, can)}, {seen(self.effects, latent)}"
        if not shown:
            return unsaid(latent, NO_EFFECTS, said)
        system = prompt(VERSION).substitute(thoughts=THOUGHTS if self.config.thoughts else "")
        return (yield from said_of(latent, asking(system, shown, self.config, can), said))


def sides(effects: Effects, latent: int) -> str:
    """All that is known of a latent's effects."""
    return "\n".join(part for part in (effects.direct(latent), effects.amplified(latent)) if part)


def seen(effects: Effects, latent: int) -> str:
    """Of which effects these are, in words for records."""
    parts = ["by its direction"] if effects.direct(latent) else []
    if effects.amplified(latent):
        parts.append(f"amplified to a KL of {effects.config.kl:g}")
    elif effects.subject() is None:
        parts.append("without the model, which is not at hand")
    return " and ".join(parts) or "without any effect"
