"""An explanation written by a language model from passages of training text."""

from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import fenced, prompt, variant
from sparselex.explain.asking.writers.effects import Effects
from sparselex.explain.asking.writers.passages import WITH_STRENGTHS, Passages
from sparselex.explain.asking.writers.sentences import THOUGHTS, asking, said_of, unsaid
from sparselex.explain.evidence import Evidence
from sparselex.llm.records import Capabilities, Request, Talk

VERSION = "explain.v1"
"""The prompt."""

NOTHING_SHOWN = "none of its active training tokens lies in a window that can be shown"
"""Why there is no explanation by passages."""

_WITH_EFFECTS = (
    " Behind all passages stands what the feature does to the next token: which ones it makes likelier and which less "
    "likely, as lists of quoted tokens. They say more of it where the marked places have little in common but what "
    "follows."
)


class Writer:
    """One sentence for each latent, from windows of training documents with its active tokens marked; where it is
    wanted, with the tokens that it makes likelier."""

    explained = "an explanation by a language model"

    def __init__(self, evidence: Evidence, config: AskConfig, subject: Opens | None = None):
        self.passages, self.config = Passages(evidence.train, config), config
        self.effects = Effects(evidence.train, config, None)

    def talk(self, latent: int, can: Capabilities) -> Talk[Told]:
        """Asks, and once more where the answer cannot be read."""
        first, said = self.request(latent, can), variant(VERSION, can)
        if self.config.logits:
            said += ", with logit effects" if self.effects.direct(latent) else ", of which no logit effects are known"
        if first is None:
            return unsaid(latent, NOTHING_SHOWN, said)
        return (yield from said_of(latent, first, said))

    def request(self, latent: int, can: Capabilities) -> Request | None:
        """What is asked of a latent; None where there is nothing to be shown."""
        windows, config = self.passages.active(latent), self.config
        if not windows:
            return None
        pair, effects = self.passages.pair(windows), self.effects.direct(latent) if config.logits else ""
        system = prompt(VERSION).substitute(
            opening=pair[0],
            closing=pair[1],
            strengths=(WITH_STRENGTHS if config.strengths else "") + (_WITH_EFFECTS if effects else ""),
            thoughts=THOUGHTS if config.thoughts else "",
        )
        shown = fenced([self.passages.text(window, pair) for window in windows], effects)
        return asking(system, f"{shown}\n\n{effects}" if effects else shown, config, can)
